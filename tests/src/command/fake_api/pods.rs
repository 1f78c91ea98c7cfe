//! Pods that are made as they are sent.

use std::io::Write as _;

use serde_json::{Value, json};

use super::super::bench_live::pod;

/// Deployments in each namespace.
const WORKLOADS: usize = 10;
/// What a pod that restarts too often is at, in the lists.
const TOO_MANY: u64 = 4;

/// Which pods there are.
#[derive(Clone, Copy)]
pub(in crate::command) struct Shape {
    pub(in crate::command) pods: usize,
    /// The pods are dealt out to them one by one.
    pub(in crate::command) namespaces: usize,
    /// One pod in so many has restarted too often; none where this is none.
    pub(in crate::command) failing: Option<usize>,
}

impl Shape {
    /// The number of the pod at that place of a list. Lists go by namespace, as etcd keeps them:
    /// what a client keeps of a namespace's pods is then close together.
    pub(super) fn at(self, place: usize) -> usize {
        let each = self.pods / self.namespaces;
        if place < each * self.namespaces {
            place % each * self.namespaces + place / each
        } else {
            place
        }
    }

    /// How often the pod of that number has restarted, as the lists have it.
    pub(super) fn restarts(self, number: usize) -> u64 {
        let is_failing =
            self.failing.is_some_and(|every| (number / self.namespaces).is_multiple_of(every));
        if is_failing { TOO_MANY } else { 0 }
    }
}

/// A pod as JSON, in pieces between which is put what differs from pod to pod.
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
    /// What the API server and the kubelet add to a pod is there as well, so that it has its size.
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
