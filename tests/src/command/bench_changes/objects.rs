//! Namespaces with pods, and their policies.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use http::Request;
use kube::Client;
use serde_json::{Value, json};

use super::steps::Step;

/// Each has a policy.
pub(super) const NAMESPACES: usize = 40;
/// Those that the cluster policy selects, which have no other one.
pub(super) const OF_CLUSTER: usize = 20;
const PODS: usize = 10;
/// The only pod of a namespace that violates anything.
pub(super) const VIOLATING: &str = "web-0";
const API: &str = "devops.stochastic.io/v1";
const LABEL: &str = "example.com/judged-by";

/// A policy that is changed.
#[derive(Clone, Copy)]
pub(super) enum Policy {
    /// That of the namespace of that number.
    Namespaced(usize),
    Cluster,
}

impl Policy {
    /// A namespace that it applies to.
    pub(super) fn namespace(self) -> String {
        match self {
            Self::Namespaced(number) => namespace(number),
            Self::Cluster => namespace(NAMESPACES),
        }
    }

    /// What identifies it among all: the namespace, which is empty for the cluster policy.
    pub(super) fn key(self) -> String {
        match self {
            Self::Namespaced(number) => namespace(number),
            Self::Cluster => String::new(),
        }
    }

    /// The violations of all its pods after a step.
    pub(super) fn violations(self, step: Step) -> u64 {
        let violating = match self {
            Self::Namespaced(_) => 1,
            Self::Cluster => OF_CLUSTER as u64,
        };
        if step.is_violation() { violating } else { 0 }
    }

    /// Changes it. Returns its generation.
    pub(super) async fn change(self, client: &Client, step: Step) -> Result<i64> {
        let path = match self {
            Self::Namespaced(_) => format!("namespaces/{}/devopspolicies", self.namespace()),
            Self::Cluster => "clusterdevopspolicies".to_owned(),
        };
        let request = Request::patch(format!("/apis/{API}/{path}/strict"))
            .header("content-type", "application/merge-patch+json")
            .body(json!({ "spec": step.spec() }).to_string().into_bytes())?;
        let changed: Value = client.request(request).await?;
        changed["metadata"]["generation"].as_i64().context("a policy without a generation")
    }
}

fn namespace(number: usize) -> String {
    format!("team-{number}")
}

/// All objects, as one list.
pub(super) fn all() -> Value {
    let mut items = Vec::new();
    for number in 0..NAMESPACES + OF_CLUSTER {
        let (name, is_own) = (namespace(number), number < NAMESPACES);
        let label = if is_own { "itself" } else { "the-platform" };
        items.push(json!({ "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name, "labels": { LABEL: label } } }));
        items.extend((0..PODS).map(|pod| self::pod(&name, pod)));
        if is_own {
            items.push(json!({ "apiVersion": API, "kind": "DevOpsPolicy",
                "metadata": { "name": "strict", "namespace": name }, "spec": Step::LAST.spec() }));
        }
    }
    let mut spec = Step::LAST.spec();
    spec["namespaceSelector"] = json!({ "matchLabels": { LABEL: "the-platform" } });
    items.push(json!({ "apiVersion": API, "kind": "ClusterDevOpsPolicy",
        "metadata": { "name": "strict" }, "spec": spec }));
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

/// A pod of its own, so that it is the same workload at admission as later. Its scheduling gate keeps it
/// from being pending.
fn pod(namespace: &str, number: usize) -> Value {
    let tag = if number == 0 { "latest" } else { "v1.24.3" };
    json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": format!("web-{number}"), "namespace": namespace },
        "spec": { "schedulingGates": [{ "name": "example.com/held" }],
            "containers": [{ "name": "web", "image": format!("registry.example.com/shop/web:{tag}") }] } })
}

/// The violating pod of a namespace, as it is created.
pub(super) fn violating(namespace: &str) -> Value {
    pod(namespace, 0)
}

/// Replaces the file of the watcher's policy at once, as the kubelet does.
pub(super) fn write_profile(file: &Path, step: Step) -> Result<()> {
    let policy = json!({ "apiVersion": API, "kind": "DevOpsPolicy", "metadata": { "name": "profile" },
        "spec": step.spec() });
    let new = file.with_extension("new");
    fs::write(&new, policy.to_string())?;
    Ok(fs::rename(new, file)?)
}
