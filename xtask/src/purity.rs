//! The arrows between the crates, read from `cargo tree`: the engine stays free of I/O.

use anyhow::{Result, ensure};

use crate::cargo;

/// What a crate may not depend on, directly or not.
const FORBIDDEN: [(&str, &[&str]); 2] = [
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
            "policy-runtime",
        ],
    ),
    // One provider of cryptography, and none that is not Rust.
    ("policyctl", &["aws-lc-rs", "openssl-sys", "policy-runtime", "serde_yaml"]),
];

pub(crate) fn run() -> Result<()> {
    for (package, forbidden) in FORBIDDEN {
        let tree = cargo::output(&[
            "tree",
            "--locked",
            "--package",
            package,
            "--edges=normal",
            "--prefix=none",
            "--format={p}",
        ])?;
        let broken = found(&tree, forbidden);
        ensure!(broken.is_empty(), "{package} depends on {}", broken.join(", "));
        println!("{package} depends on none of {}", forbidden.join(", "));
    }
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
}
