//! Tests of the planner: what a user would get, from objects as an API server has them.

mod fill;
mod give_way;
mod inject;
mod patch;
mod plan;

use serde_json::{Value, json};

use super::*;
use crate::api::DevOpsPolicySpec;
use crate::policy::CompiledPolicy;

/// The rules of the policies, the oldest first: `a`, `b` and so on.
pub(super) fn rules(policies: &[&str]) -> NamespaceRules {
    let compiled: Vec<CompiledPolicy> = policies
        .iter()
        .map(|spec| {
            let mut spec: DevOpsPolicySpec = serde_json::from_str(spec).unwrap();
            spec.enforcement_mode = crate::api::EnforcementMode::Enforce;
            CompiledPolicy::compile(&spec).unwrap()
        })
        .collect();
    let names = ["a", "b", "c"];
    let all = names.into_iter().zip(compiled.iter().filter_map(CompiledPolicy::remediation));
    NamespaceRules::of(all, crate::Timestamp::UNIX_EPOCH)
}

pub(super) const PROBES: &str = r#"{"requireLivenessProbe": true, "requireReadinessProbe": true,
    "defaultProbe": {"tcpPort": 8080}}"#;
pub(super) const RESOURCES: &str = r#"{"defaultResources": {"cpuRequest": "100m",
    "memoryRequest": "128Mi", "memoryLimit": "256Mi"}}"#;

/// A healthy Deployment of two pods that a client-side owner has applied.
pub(super) fn deployment(containers: Value) -> Value {
    let mut workload = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "u-1", "resourceVersion": "7",
            "managedFields": [{
                "manager": "kubectl-client-side-apply", "operation": "Update",
                "fieldsV1": { "f:spec": { "f:template": { "f:spec": {} } } },
            }],
        },
        "spec": {
            "replicas": 2,
            "revisionHistoryLimit": 10,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" },
            },
            "template": { "metadata": { "labels": { "app": "web" } }, "spec": {} },
        },
        "status": { "readyReplicas": 2 },
    });
    workload["spec"]["template"]["spec"]["containers"] = containers;
    workload
}

/// A container with an image and empty resources, as the API server has them, and these fields.
pub(super) fn container(name: &str, more: &Value) -> Value {
    let mut container = json!({ "name": name, "image": "nginx:1", "resources": {} });
    super::fields::merge(&mut container, more);
    container
}

pub(super) fn web() -> Value {
    container("web", &json!({ "ports": [{ "containerPort": 8080, "protocol": "TCP" }] }))
}

pub(super) fn installed() -> NamespaceFacts {
    NamespaceFacts { has_mutating_webhook: true, ..NamespaceFacts::default() }
}

pub(super) fn peaks(bytes: &str) -> MemoryPeaks {
    let mut peaks = MemoryPeaks::default();
    peaks.observe(&json!({ "containers": [{ "name": "web", "usage": { "memory": bytes } }] }));
    peaks
}

pub(super) fn read(workload: &Value) -> Target {
    Target::read(workload).unwrap()
}

/// The plan for a workload under these policies, with nothing else known.
pub(super) fn plan_of(workload: &Value, policies: &[&str]) -> Plan {
    plan_in(&installed(), workload, policies, None)
}

/// The same where the namespace and the memory use are known.
pub(super) fn plan_in(
    namespace: &NamespaceFacts,
    workload: &Value,
    policies: &[&str],
    peaks: Option<&MemoryPeaks>,
) -> Plan {
    let (rules, target) = (rules(policies), read(workload));
    plan(&PlanInput { rules: &rules, namespace, target: &target, peaks, memory: None }).plan
}

/// The lines of a plan that fills in.
pub(super) fn lines(plan: &Plan) -> Vec<String> {
    match plan {
        Plan::Patch { fields, .. } | Plan::InjectAtAdmission { fields, .. } => fields.lines(),
        other => panic!("{other:?}"),
    }
}

pub(super) fn code(plan: &Plan) -> &'static str {
    match plan {
        Plan::Propose { reason, .. } | Plan::NotPatchable { reason } => reason.code(),
        Plan::Withhold { withheld } => withheld[0].reason.code(),
        other => panic!("{other:?}"),
    }
}

/// What an API server has after the apply: the body merged in, and an entry of ours.
pub(super) fn applied(workload: &Value, body: &Value) -> Value {
    let mut after = workload.clone();
    let mut owned = json!({});
    for list in super::owned::LISTS {
        for part in body["spec"]["template"]["spec"][list].as_array().into_iter().flatten() {
            let live = after["spec"]["template"]["spec"][list].as_array_mut().unwrap();
            let container = live.iter_mut().find(|live| live["name"] == part["name"]).unwrap();
            super::fields::merge(container, part);
            for name in ["livenessProbe", "readinessProbe"] {
                if part[name].is_object() {
                    container[name]["timeoutSeconds"] = 1.into();
                    container[name]["successThreshold"] = 1.into();
                }
            }
            let key = super::owned::container_key(part["name"].as_str().unwrap());
            owned["f:spec"]["f:template"]["f:spec"][format!("f:{list}")][key] = fields_v1(part);
        }
    }
    let annotations = &body["metadata"]["annotations"];
    super::fields::merge(&mut after["metadata"]["annotations"], annotations);
    owned["f:metadata"]["f:annotations"] = fields_v1(annotations);
    after["metadata"]["managedFields"].as_array_mut().unwrap().push(json!({
        "manager": "policy-operator", "operation": "Apply", "fieldsType": "FieldsV1",
        "fieldsV1": owned,
    }));
    after
}

fn fields_v1(value: &Value) -> Value {
    let mut fields = json!({});
    for (key, below) in value.as_object().into_iter().flatten() {
        fields[format!("f:{key}")] = fields_v1(below);
    }
    if value["name"].is_string() {
        fields["."] = json!({});
    }
    fields
}
