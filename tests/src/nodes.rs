//! Nodes and their kubelets, simulated by kwok.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::process_kubelet::PLATFORM_LABEL;
use crate::tokens::KWOK;
use crate::{Program, Testbed};

/// The transitions of nodes and pods.
const STAGES: &str = include_str!("stages.yaml");

/// Starts kwok, creates the Nodes, and returns when all are ready.
pub(crate) fn start(testbed: &Testbed, count: u32) -> Result<()> {
    let stages = testbed.folder().join("stages.yaml");
    fs::write(&stages, stages_for(testbed)?)?;
    let kubeconfig = testbed.user_kubeconfig(KWOK, None)?;
    let arguments = [
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--config={}", stages.display()),
        "--manage-all-nodes=true".to_owned(),
        "--server-address=127.0.0.1:0".to_owned(),
        // The controllers mark a node as unreachable 50 s after the last renewal of its lease.
        "--node-lease-duration-seconds=40".to_owned(),
        // Nothing listens there, so `kubectl logs` fails at once.
        "--node-ip=127.0.0.1".to_owned(),
    ];
    let nodes: Vec<Value> = (0..count).map(node).collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": nodes });
    testbed.apply(&list.to_string())?;
    testbed.processes.start(Program::Kwok.name(), &Program::Kwok.path()?, &arguments)?;
    let wait = ["wait", "--for=condition=Ready", "node", "--all", "--timeout=60s"];
    let ready = testbed.kubectl(&wait)?.succeeded();
    ready.map_err(|error| testbed.processes.explain(Program::Kwok.name(), &error))?;
    Ok(())
}

/// The transitions; without those of the pods that are processes.
fn stages_for(testbed: &Testbed) -> Result<String> {
    if !testbed.parts.pods_as_processes {
        return Ok(STAGES.to_owned());
    }
    let [label, platform] = PLATFORM_LABEL;
    let is_simulated = json!({
        "key": format!(".metadata.labels[\"{label}\"]"),
        "operator": "NotIn",
        "values": [platform],
    });
    let mut stages = String::new();
    for stage in STAGES.split("\n---\n") {
        let mut stage: Value = serde_saphyr::from_str(stage)?;
        if stage["spec"]["resourceRef"]["kind"] == "Pod" {
            let conditions = stage["spec"]["selector"]["matchExpressions"].as_array_mut();
            conditions.context("a stage has no matchExpressions")?.push(is_simulated.clone());
        }
        writeln!(stages, "---\n{stage}")?;
    }
    Ok(stages)
}

fn node(number: u32) -> Value {
    let name = format!("node-{number}");
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" },
        },
    })
}
