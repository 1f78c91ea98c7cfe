//! Admission as its callers see it: bytes and policies in, answers out.

mod admit;
mod answers;
mod exemptions;
mod head;
mod mutation;
mod own_fields;
mod properties;
mod review;

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::Timestamp;
use crate::policy::CompiledPolicy;

/// A user who is none of the cluster's controllers.
const ANN: &str = "ann@example.com";
const REPLICA_SETS: &str = "system:serviceaccount:kube-system:replicaset-controller";

/// A request as the API server sends it, before its parts are changed.
fn create(object: &Value) -> Value {
    let api_version = object["apiVersion"].as_str().unwrap();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = json!({ "group": group, "version": version, "kind": object["kind"] });
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": kind, "requestKind": kind,
            "resource": { "group": group, "version": version, "resource": "things" },
            "namespace": "production", "name": "web", "operation": "CREATE",
            "userInfo": { "username": ANN, "groups": ["system:authenticated"] },
            "object": object, "oldObject": null, "dryRun": false,
            "options": { "apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions" },
        },
    })
}

fn update(old: &Value, new: &Value) -> Value {
    let mut review = create(new);
    review["request"]["operation"] = json!("UPDATE");
    review["request"]["oldObject"] = old.clone();
    review
}

/// The same by another user.
fn by(user: &str, mut review: Value) -> Value {
    review["request"]["userInfo"]["username"] = json!(user);
    review
}

/// A container with everything that is wanted, but for its image.
fn container(name: &str, image: &str) -> Value {
    json!({
        "name": name, "image": image,
        "livenessProbe": { "exec": {} }, "readinessProbe": { "exec": {} },
        "resources": { "requests": { "cpu": "1" }, "limits": { "memory": "1Gi" } },
    })
}

fn pod(containers: &[Value]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "web", "namespace": "production" },
        "spec": { "containers": containers },
    })
}

/// An object of that kind whose pods are these.
fn workload(api_version: &str, kind: &str, containers: &[Value]) -> Value {
    let template = json!({ "spec": { "containers": containers } });
    let spec = match kind {
        "CronJob" => json!({ "jobTemplate": { "spec": { "template": template } } }),
        _ => json!({ "template": template }),
    };
    json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": "web" }, "spec": spec })
}

fn policy(name: &str, spec: Value) -> NamedPolicy {
    let spec = serde_json::from_value(spec).unwrap();
    NamedPolicy { name: name.into(), rules: Ok(Arc::new(CompiledPolicy::compile(&spec).unwrap())) }
}

/// Denies images that are not pinned, and warns of missing readiness probes.
fn strict() -> NamedPolicy {
    policy(
        "strict",
        json!({ "forbidLatestTag": true, "requireReadinessProbe": true,
        "severityOverrides": { "latestTag": "critical" } }),
    )
}

fn verdict(review: &Value, policies: &[NamedPolicy]) -> AdmissionVerdict {
    verdict_at(0, review, policies)
}

/// The same at that second.
fn verdict_at(second: i64, review: &Value, policies: &[NamedPolicy]) -> AdmissionVerdict {
    let text = review.to_string();
    let review = Review::decode(text.as_bytes()).unwrap();
    let policies = NamespacePolicies { judged: policies.to_vec(), ..NamespacePolicies::default() };
    let now = Timestamp::from_second(second).unwrap();
    admit(review.request.unwrap(), &policies, now, || true).unwrap()
}

/// `latest-tag denied` for each finding.
fn found(verdict: &AdmissionVerdict) -> Vec<String> {
    let each = |(check, decision, count): (_, Decision, _)| {
        std::iter::repeat_n(format!("{check} {}", decision.as_str()), count)
    };
    verdict.counts().flat_map(each).collect()
}
