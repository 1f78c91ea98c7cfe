//! `e2e chart-lint`: the chart's own unit tests, and what kube-score says of the objects.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::{Program, Run, root, say};
use serde::Deserialize;

/// A check of kube-score that the chart does not pass, and is not meant to.
struct Accepted {
    check: &'static str,
    /// All objects of these kinds have the finding.
    kinds: &'static [&'static str],
    reason: &'static str,
}

const DEPLOYMENTS: &[&str] = &["Deployment"];
/// The pods of policyctl are hooks.
const PODS: &[&str] = &["Deployment", "Job", "Pod"];

const ACCEPTED: [Accepted; 5] = [
    Accepted {
        check: "container-ephemeral-storage-request-and-limit",
        kinds: PODS,
        reason: "they store nothing: the root file system is read-only, there is no volume to write \
                 to, and the kubelet rotates logs",
    },
    Accepted {
        check: "container-image-pull-policy",
        kinds: PODS,
        reason: "a tag is a version that never changes, and the chart refuses `latest`; so a node \
                 needs no registry to start a pod again (image.pullPolicy)",
    },
    Accepted {
        check: "container-security-context-user-group-id",
        kinds: PODS,
        reason: "the user is 1000, as in the images; nothing is shared with the node that a user of \
                 the same number could reach, as there is neither a volume nor a capability",
    },
    Accepted {
        check: "deployment-has-host-podantiaffinity",
        kinds: DEPLOYMENTS,
        reason: "topologySpreadConstraints spread the pods over nodes, and let a cluster of one node \
                 run them",
    },
    Accepted {
        check: "pod-networkpolicy",
        kinds: PODS,
        reason: "it is a switch (networkPolicy.enabled), as it does nothing, or too much, where the \
                 network plugin or the API server is not as expected",
    },
];

/// One object in the output of kube-score.
#[derive(Deserialize)]
struct Scored {
    type_meta: TypeMeta,
    object_meta: ObjectMeta,
    checks: Option<Vec<Check>>,
}

#[derive(Deserialize)]
struct TypeMeta {
    kind: String,
}

#[derive(Deserialize)]
struct ObjectMeta {
    name: String,
}

#[derive(Deserialize)]
struct Check {
    #[serde(rename = "check")]
    name: CheckName,
    /// 10 has passed.
    grade: u8,
    skipped: bool,
}

#[derive(Deserialize)]
struct CheckName {
    id: String,
}

pub(crate) fn run() -> Result<()> {
    let chart = root().join("charts/kube-devops");
    let unittest = Program::HelmUnittest.path()?;
    let tested = Run::of(Command::new(unittest).arg(&chart), None)?;
    ensure!(tested.code == Some(0), "{}{}", tested.stdout, tested.stderr);
    let counts = tested.stdout.lines().find(|line| line.starts_with("Tests:"));
    say(&format!("helm-unittest: {}", counts.context("helm-unittest has counted nothing")?));
    let scored = score(&chart)?;
    let found: BTreeSet<String> = scored.iter().flat_map(findings).collect();
    let accepted: BTreeSet<String> = ACCEPTED
        .iter()
        .flat_map(|Accepted { check, kinds, .. }| {
            let of_kind = |object: &&Scored| kinds.contains(&object.type_meta.kind.as_str());
            scored.iter().filter(of_kind).map(|object| finding(check, object))
        })
        .collect();
    let new: Vec<_> = found.difference(&accepted).collect();
    ensure!(new.is_empty(), "kube-score finds what is not listed in this command: {new:#?}");
    let gone: Vec<_> = accepted.difference(&found).collect();
    ensure!(gone.is_empty(), "kube-score no longer finds what this command lists: {gone:#?}");
    say(&format!("kube-score: nothing in {} objects but what is accepted:", scored.len()));
    for Accepted { check, reason, .. } in ACCEPTED {
        say(&format!("  {check}: {reason}"));
    }
    Ok(())
}

/// What kube-score says of the default render.
fn score(chart: &Path) -> Result<Vec<Scored>> {
    let mut helm = Command::new(Program::Helm.path()?);
    helm.args(["template", "kube-devops", "--namespace", "kube-devops"]).arg(chart);
    let objects = Run::of(&mut helm, None)?.succeeded()?;
    let mut kube_score = Command::new(Program::KubeScore.path()?);
    // The oldest release that the chart is for.
    kube_score.args(["score", "-", "--output-format=json", "--kubernetes-version=v1.34"]);
    // It exits with 1 where it finds something.
    let scored = Run::of(&mut kube_score, Some(&objects))?;
    serde_json::from_str(&scored.stdout).with_context(|| format!("kube-score says {scored:?}"))
}

fn findings(object: &Scored) -> Vec<String> {
    let checks = object.checks.iter().flatten();
    let is_finding = |found: &&Check| !found.skipped && found.grade < 10;
    checks.filter(is_finding).map(|found| finding(&found.name.id, object)).collect()
}

fn finding(check: &str, object: &Scored) -> String {
    format!("{check} of {} {}", object.type_meta.kind, object.object_meta.name)
}
