//! `cargo xtask demo`: the product on the example application, line by line.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::cargo;

/// What a line of the analysis means, by the words that it begins with.
const NOTES: [(&str, &str); 21] = [
    ("Workload Pods Analyzed", "a pod template counts as one pod, whatever its replicas"),
    ("Images using :latest", "no digest, and the tag is missing or latest"),
    ("Missing liveness probes", "sidecars need them too; jobs do not"),
    ("Missing readiness probes", "an empty probe counts as missing"),
    ("Missing resource limits", "cpu request, memory request or memory limit"),
    ("Restart severity score", "12 restarts, of which 5 count"),
    ("Pending pods", "waiting for longer than 300 s"),
    ("Cluster Health Score", "100 - (5 + 3 + 2*2 + 6*5 + 4) / 6 pods, rounded down"),
    ("Cluster Status", "80 and more; Stable from 60, Degraded from 40, else Critical"),
    ("Compliant pods", "what the mean hides: five of six have a finding"),
    ("Coverage", "a document that cannot be read would be named here"),
    ("Skipped", "a Namespace makes no pods; kube-system is never scored"),
    ("NAMESPACE", "the same numbers for each namespace"),
    ("7 findings", "severities do not change the score; policies set them"),
    ("billing  CronJob", "the workload to change, and where it is written"),
    ("    105", "line 105: the container has no memory limit; weight 0, so it costs nothing"),
    ("    118", "from the pod's status, which a manifest rarely has"),
    ("    134", "about the pod, so the line is the object's"),
    ("     50", "nginx:latest is whatever the registry has today"),
    ("     76", "an init container with restartPolicy Always is a sidecar"),
    ("     83", "readinessProbe: {} probes nothing"),
];

const MORE: [(&str, &[&str], i32); 3] = [
    ("The ready-made policies:", &["bundle", "list"], 0),
    (
        "What a pipeline asks; exit code 1 says that something is of severity high or worse:",
        &["analyze", "-f", "deploy/examples", "--bundle", "restricted", "--fail-on", "high"],
        1,
    ),
    ("A policy to commit or to apply:", &["bundle", "apply", "baseline", "--namespace", "shop"], 0),
];

pub(crate) fn run() -> Result<()> {
    println!("Building policyctl (the first time this takes a minute or two) ...");
    let policyctl = cargo::build("policyctl", &[])?;
    println!("\nA small shop in three namespaces, judged by the built-in profile:\n");
    let analysis = policyctl_output(&policyctl, &["analyze", "-f", "deploy/examples"], 0)?;
    for (beginning, _) in NOTES {
        let is_there = analysis.lines().any(|line| line.starts_with(beginning));
        ensure!(is_there, "the demo explains a line that is not printed: {beginning}");
    }
    for line in analysis.lines() {
        println!("{line}");
        if let Some((_, note)) = NOTES.iter().find(|(beginning, _)| line.starts_with(beginning)) {
            println!("  {:>27}# {note}", "");
        }
    }
    for (explanation, arguments, code) in MORE {
        println!("\n{explanation}\n");
        print!("{}", policyctl_output(&policyctl, arguments, code)?);
        println!("\n(exit code {code})");
    }
    println!("\nNow on your own manifests: cargo run --package policyctl -- analyze -f FOLDER");
    Ok(())
}

/// Shows the command, runs it, and gives what it printed.
fn policyctl_output(policyctl: &Path, arguments: &[&str], code: i32) -> Result<String> {
    println!("$ policyctl {}", arguments.join(" "));
    let output = std::process::Command::new(policyctl)
        .args(arguments)
        .current_dir(cargo::root())
        .output()?;
    ensure!(output.status.code() == Some(code), "policyctl ended with {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
