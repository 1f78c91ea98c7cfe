//! Checks the dependencies between the crates by `cargo tree`: the engine has no I/O, and no service
//! depends on another.

use anyhow::{Result, ensure};

use crate::cargo;

/// The crates that a crate must not depend on, directly or indirectly.
const FORBIDDEN: [(&str, &[&str]); 6] = [
    (
        "policy-core",
        &[
            "tokio",
            "hyper",
            "rustls",
            "kube-client",
            "kube-runtime",
            "kube",
            "metrics",
            "figment",
            "tracing",
            "tracing-subscriber",
            "clap",
            // Renderers: the report model is data, and policyctl makes text of it. (anstyle is in
            // the tree of serde-saphyr's feature `deserialize`.)
            "quick-xml",
            "textwrap",
            "policy-runtime",
            "policy-manifests",
        ],
    ),
    ("policy-manifests", &["tokio", "hyper", "kube-client", "kube-runtime", "rustls", "metrics"]),
    // Names and texts: whoever queries the metrics needs nothing that exports them.
    ("policy-metrics", &["metrics", "serde", "policy-core", "policy-runtime"]),
    // Talking to API servers, not what is said.
    ("policy-kube", &["policy-core", "policy-manifests", "policy-runtime", "clap"]),
    // How a service lives, not what it is about.
    ("policy-runtime", &["policy-core", "policy-manifests"]),
    ("policyctl", &["policy-runtime", "serde_yaml"]),
];

/// The services, which must not depend on each other.
const SERVICES: [&str; 3] = ["policy-watcher", "policy-operator", "policy-webhook"];
/// A service neither installs itself nor has a command line to call.
const NOT_FOR_SERVICES: [&str; 2] = ["policyctl", "policy-manifests"];

/// Crates that nothing may depend on, on any platform or in any test: ring is the one provider of
/// cryptography.
const NOWHERE: [&str; 2] = ["aws-lc-rs", "openssl-sys"];

pub(crate) fn run() -> Result<()> {
    for (package, forbidden) in FORBIDDEN {
        check(package, forbidden)?;
    }
    let members = cargo::members()?;
    for service in SERVICES.into_iter().filter(|service| members.iter().any(|m| m == service)) {
        check(service, &forbidden_for(service))?;
    }
    let all = ["--workspace", "--edges=normal,build,dev", "--target=all"];
    refuse("something", &tree(&all)?, &NOWHERE)?;
    println!("nothing depends on {}", NOWHERE.join(" or "));
    Ok(())
}

/// The crates that a service must not depend on, with all other services.
fn forbidden_for(service: &str) -> Vec<&'static str> {
    let others = SERVICES.into_iter().filter(|other| *other != service);
    NOT_FOR_SERVICES.into_iter().chain(others).collect()
}

fn check(package: &str, forbidden: &[&str]) -> Result<()> {
    refuse(package, &tree(&["--package", package, "--edges=normal"])?, forbidden)?;
    println!("{package} depends on none of {}", forbidden.join(", "));
    Ok(())
}

fn tree(options: &[&str]) -> Result<String> {
    cargo::output(&[&["tree", "--locked", "--prefix=none", "--format={p}"], options].concat())
}

fn refuse(who: &str, tree: &str, forbidden: &[&str]) -> Result<()> {
    let broken = found(tree, forbidden);
    ensure!(broken.is_empty(), "{who} depends on {}", broken.join(", "));
    Ok(())
}

fn found<'a>(tree: &str, forbidden: &[&'a str]) -> Vec<&'a str> {
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    forbidden.iter().copied().filter(|name| names.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_crate_is_found_and_a_longer_name_is_not() {
        let tree = "policy-core v0.1.0\nkube-core v5.0.0\ntokio v1.54.0\nhyper-util v0.1.0\n";
        assert_eq!(found(tree, &["kube", "tokio", "hyper"]), ["tokio"]);
    }

    #[test]
    fn a_service_may_know_itself_and_no_other() {
        let forbidden = forbidden_for("policy-watcher");
        assert_eq!(
            forbidden,
            ["policyctl", "policy-manifests", "policy-operator", "policy-webhook"]
        );
        refuse("a", "policy-watcher v0.1.0\n", &forbidden).unwrap();
        let error = refuse("a", "b v1.0.0\npolicy-webhook v0.1.0\n", &forbidden).unwrap_err();
        assert_eq!(error.to_string(), "a depends on policy-webhook");
    }
}
