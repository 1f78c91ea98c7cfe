//! Pods that are generated as they are sent.

use std::io::Write as _;

use serde_json::{Value, json};

use super::super::bench_live::pod;

/// The image that all containers run, without its digest.
const IMAGE: &str = "registry.example.com/shop/payment-service";

/// A pod of the cluster.
#[derive(Clone, Copy)]
pub(super) struct Pod {
    pub(super) number: usize,
    pub(super) namespace: usize,
    /// The number of its Deployment in its namespace.
    pub(super) workload: usize,
}

/// A pod as JSON, in pieces; the values that differ from pod to pod are written between them.
pub(super) struct Template {
    pieces: Vec<(String, Hole)>,
}

enum Hole {
    Number,
    Namespace,
    /// Of one Deployment of the cluster.
    Workload,
    Version,
    Restarts,
    /// How the container ended before it was restarted.
    LastState,
    /// What the pods of a Deployment run.
    ImageId,
    /// What all pods run beside it.
    SidecarImageId,
    /// A time that differs from pod to pod.
    Time,
    End,
}

impl Template {
    /// Includes what the API server and the kubelet add, so that the pod has a realistic size. The
    /// pods of a Deployment have the same spec; no two have the same status.
    pub(super) fn new() -> Self {
        let mut pod = pod(1);
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["spec"].as_object_mut().map(|spec| spec.remove("schedulingGates"));
        pod["spec"]["nodeName"] = json!("node-@NUMBER@");
        pod["spec"]["containers"][0]["name"] = json!("payment-service-@WORKLOAD@");
        let fields: Vec<Value> = (0..110)
            .map(|n| json!({ format!("f:field-of-a-manager-{n}"): { ".": {}, "f:value": {}, "f:name": {} } }))
            .collect();
        let managed = json!([{ "manager": "kubelet", "operation": "Update", "fieldsV1": fields }]);
        pod["metadata"]["managedFields"] = managed;
        pod["metadata"]["name"] = json!("payment-service-@WORKLOAD@-7d4b9c6f58-@NUMBER@");
        pod["metadata"]["uid"] = json!("9b1deb4d-3b7d-4bad-9bdd-@NUMBER@");
        pod["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "name": "payment-service-@WORKLOAD@-7d4b9c6f58", "uid": "0e6f7a8b-@WORKLOAD@",
            "controller": true, "blockOwnerDeletion": true }]);
        pod["metadata"]["namespace"] = json!("team-@NAMESPACE@");
        pod["metadata"]["resourceVersion"] = json!("@VERSION@");
        pod["metadata"]["creationTimestamp"] = json!("2026-01-01T@TIME@Z");
        pod["status"] = status();
        let text = pod.to_string();
        let text = text.replace("\"@RESTARTS@\"", "@RESTARTS@").replace("\"@LAST@\"", "@LAST@");
        Self { pieces: pieces(&text) }
    }

    pub(super) fn write(&self, to: &mut Vec<u8>, pod: Pod, version: u64, restarts: u64) {
        let Pod { number, namespace, workload } = pod;
        let (hours, minutes, seconds) = (number / 3600 % 24, number / 60 % 60, number % 60);
        for (text, hole) in &self.pieces {
            to.extend_from_slice(text.as_bytes());
            // Writing to memory cannot fail.
            let _ = match hole {
                Hole::Number => write!(to, "{number:06}"),
                Hole::Namespace => write!(to, "{namespace}"),
                Hole::Workload => write!(to, "{namespace}-{workload}"),
                Hole::Version => write!(to, "{version}"),
                Hole::Restarts => write!(to, "{restarts}"),
                Hole::LastState if restarts == 0 => write!(to, "{{}}"),
                // In a future that no `restartWindow` leaves behind.
                Hole::LastState => write!(
                    to,
                    "{{\"terminated\":{{\"exitCode\":137,\"reason\":\"OOMKilled\",\
                     \"finishedAt\":\"2099-01-01T{hours:02}:{minutes:02}:{seconds:02}Z\"}}}}"
                ),
                Hole::ImageId => {
                    write!(to, "{IMAGE}@sha256:{:064x}", namespace * 1_000 + workload + 1)
                }
                Hole::SidecarImageId => write!(to, "{IMAGE}@sha256:{:064x}", 0),
                Hole::Time => write!(to, "{hours:02}:{minutes:02}:{seconds:02}"),
                Hole::End => Ok(()),
            };
        }
    }
}

/// The status of a running pod.
fn status() -> Value {
    let container = |name: &str, image_id: &str| {
        json!({ "name": name, "image": "i", "imageID": image_id, "ready": true, "started": true,
                "containerID": format!("containerd://{name}-@NUMBER@"),
                "restartCount": "@RESTARTS@", "lastState": "@LAST@",
                "state": { "running": { "startedAt": "2026-01-01T@TIME@Z" } } })
    };
    let condition = |name: &str| {
        json!({ "type": name, "status": "True", "lastProbeTime": null,
                "lastTransitionTime": "2026-01-01T@TIME@Z" })
    };
    let conditions =
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    json!({ "phase": "Running", "podIP": "10.0.0.1", "startTime": "2026-01-01T@TIME@Z",
        "conditions": conditions.map(condition),
        "containerStatuses": [container("payment-service-@WORKLOAD@", "@IMAGEID@"),
            container("envoy-proxy", "@SIDECAR@")] })
}

/// The text before each hole, and the hole.
fn pieces(mut rest: &str) -> Vec<(String, Hole)> {
    let mut pieces = Vec::new();
    while let Some((before, hole)) = rest.split_once('@') {
        let (name, after) = hole.split_once('@').unwrap_or((hole, ""));
        let hole = match name {
            "NUMBER" => Hole::Number,
            "NAMESPACE" => Hole::Namespace,
            "WORKLOAD" => Hole::Workload,
            "VERSION" => Hole::Version,
            "LAST" => Hole::LastState,
            "IMAGEID" => Hole::ImageId,
            "SIDECAR" => Hole::SidecarImageId,
            "TIME" => Hole::Time,
            _ => Hole::Restarts,
        };
        pieces.push((before.to_owned(), hole));
        rest = after;
    }
    pieces.push((rest.to_owned(), Hole::End));
    pieces
}
