//! Pods that are generated as they are sent.

use std::io::Write as _;

use serde_json::{Value, json};

use super::super::bench_live::pod;

/// Deployments in each namespace.
const WORKLOADS: usize = 10;
/// The restarts of a failing pod in a list.
const TOO_MANY: u64 = 4;

/// The pods of the cluster.
#[derive(Clone, Copy)]
pub(in crate::command) struct Shape {
    pub(in crate::command) pods: usize,
    /// Pod 0 is in the first, pod 1 in the second, and so on in turn.
    pub(in crate::command) namespaces: usize,
    /// One pod in this many restarts too often.
    pub(in crate::command) failing: Option<usize>,
}

impl Shape {
    /// The number of the pod at a position of a list. Lists are ordered by namespace, as those of
    /// etcd are, so that a client stores the pods of a namespace close together.
    pub(super) fn at(self, place: usize) -> usize {
        let each = self.pods / self.namespaces;
        if place < each * self.namespaces {
            place % each * self.namespaces + place / each
        } else {
            place
        }
    }

    /// The restarts of a pod in a list.
    pub(super) fn restarts(self, number: usize) -> u64 {
        let is_failing =
            self.failing.is_some_and(|every| (number / self.namespaces).is_multiple_of(every));
        if is_failing { TOO_MANY } else { 0 }
    }
}

/// A pod as JSON, in pieces; the values that differ from pod to pod are written between them.
pub(super) struct Template {
    pieces: Vec<(String, Hole)>,
    namespaces: usize,
}

enum Hole {
    Number,
    Namespace,
    Workload,
    Version,
    Restarts,
    End,
}

impl Template {
    /// Includes what the API server and the kubelet add, so that the pod has a realistic size.
    pub(super) fn new(namespaces: usize) -> Self {
        let mut pod = pod(1);
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["spec"].as_object_mut().map(|spec| spec.remove("schedulingGates"));
        let fields: Vec<Value> = (0..110)
            .map(|n| json!({ format!("f:field-of-a-manager-{n}"): { ".": {}, "f:value": {}, "f:name": {} } }))
            .collect();
        let managed = json!([{ "manager": "kubelet", "operation": "Update", "fieldsV1": fields }]);
        pod["metadata"]["managedFields"] = managed;
        pod["metadata"]["name"] = json!("payment-service-@WORKLOAD@-7d4b9c6f58-@NUMBER@");
        pod["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "name": "payment-service-@WORKLOAD@-7d4b9c6f58", "uid": "0e6f7a8b", "controller": true }]);
        pod["metadata"]["namespace"] = json!("team-@NAMESPACE@");
        pod["metadata"]["resourceVersion"] = json!("@VERSION@");
        pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        let container = |name: &str| {
            json!({ "name": name, "image": "i", "imageID": "i", "ready": true,
                    "restartCount": "@RESTARTS@", "state": { "running": {} } })
        };
        pod["status"] = json!({ "phase": "Running",
            "containerStatuses": [container("payment-service"), container("envoy-proxy")] });
        let text = pod.to_string().replace("\"@RESTARTS@\"", "@RESTARTS@");
        Self { pieces: pieces(&text), namespaces }
    }

    pub(super) fn write(&self, to: &mut Vec<u8>, number: usize, version: u64, restarts: u64) {
        for (text, hole) in &self.pieces {
            to.extend_from_slice(text.as_bytes());
            // Writing to memory cannot fail.
            let _ = match hole {
                Hole::Number => write!(to, "{number:06}"),
                Hole::Namespace => write!(to, "{}", number % self.namespaces),
                Hole::Workload => write!(to, "{}", number / self.namespaces % WORKLOADS),
                Hole::Version => write!(to, "{version}"),
                Hole::Restarts => write!(to, "{restarts}"),
                Hole::End => Ok(()),
            };
        }
    }
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
            _ => Hole::Restarts,
        };
        pieces.push((before.to_owned(), hole));
        rest = after;
    }
    pieces.push((rest.to_owned(), Hole::End));
    pieces
}
