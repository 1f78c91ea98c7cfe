//! The injection of an enforce policy as a `MutatingAdmissionPolicy`, for clusters that want no
//! mutating webhook. It needs Kubernetes 1.36, in which
//! `admissionregistration.k8s.io/v1` has the kind
//! (<https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/>).
//!
//! The expressions decide as the planner does where a pod alone is enough for a decision.
//! [`InjectionPolicy::remarks`] says what is beyond them.

mod exempted;

use policy_core::api::{DefaultProbe, DefaultResources};
use policy_core::namespaces::NAME_LABEL;
use policy_core::remediation::{RemediationRules, Windows};
use serde_json::{Value, json};

use crate::metadata::{PLATFORM, labels};
use exempted::Exempted;

/// The longest name of an object.
const LONGEST_NAME: usize = 253;

/// The two objects, and what they cannot express.
#[derive(Debug, Clone, PartialEq)]
pub struct InjectionPolicy {
    /// The `MutatingAdmissionPolicy`.
    pub policy: Value,
    /// Its binding to the namespace.
    pub binding: Value,
    /// What the webhook respects and these objects do not, a sentence each.
    pub remarks: Vec<String>,
}

/// Why there are no such objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotExpressible {
    /// Nothing that a pod lacks has a value.
    #[error(
        "it fills in nothing that a MutatingAdmissionPolicy could: it has no defaultProbe for a \
         probe that it requires, and no requests and no CPU limit in defaultResources"
    )]
    Nothing,
    /// The name of the objects would be too long.
    #[error("the names of its namespace and of itself are too long for the name of the object")]
    NameTooLong,
}

/// The objects for a policy.
///
/// # Errors
/// There is nothing to fill in, or the name is too long.
pub fn injection_policy(
    namespace: &str,
    policy: &str,
    rules: &RemediationRules,
) -> Result<InjectionPolicy, NotExpressible> {
    let name = format!("{PLATFORM}-inject.{namespace}.{policy}");
    if name.len() > LONGEST_NAME {
        return Err(NotExpressible::NameTooLong);
    }
    let mut mutations = Vec::new();
    let mut exempted = Exempted::of(namespace, rules.exemptions.as_deref());
    if let Some(probe) = &rules.probe {
        // The liveness probe first: it depends on the container's own readiness probe.
        if rules.needs_liveness {
            mutations.extend(liveness(probe, &exempted.counts("missing-liveness")));
        }
        if rules.needs_readiness {
            mutations.extend(readiness(probe, &exempted.counts("missing-readiness")));
        }
    }
    if let Some(resources) = rules.resources.as_ref().filter(|_| rules.needs_resources) {
        mutations.extend(amounts(resources, &exempted.counts("missing-resources")));
    }
    if mutations.is_empty() {
        return Err(NotExpressible::Nothing);
    }
    let api_version = "admissionregistration.k8s.io/v1";
    let metadata = json!({ "name": name, "labels": labels(PLATFORM) });
    let rule = json!({ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
        "resources": ["pods"] });
    let apply = |expression: String| {
        json!({ "patchType": "ApplyConfiguration",
            "applyConfiguration": { "expression": expression } })
    };
    let mutations: Vec<Value> = mutations.into_iter().map(apply).collect();
    let of_workload = "object.metadata.?ownerReferences.orValue([]).exists(owner, \
        owner.?controller.orValue(false) && owner.apiVersion == 'apps/v1' && \
        owner.kind in ['ReplicaSet', 'StatefulSet', 'DaemonSet'])";
    let objects = json!({
        "apiVersion": api_version, "kind": "MutatingAdmissionPolicy", "metadata": metadata,
        "spec": {
            "failurePolicy": "Ignore", "reinvocationPolicy": "IfNeeded",
            "matchConstraints": { "resourceRules": [rule] },
            "matchConditions": [{ "name": "pod-of-a-workload", "expression": of_workload }],
            "mutations": mutations,
        },
    });
    let only = json!({ "matchLabels": { NAME_LABEL: namespace } });
    let binding = json!({
        "apiVersion": api_version, "kind": "MutatingAdmissionPolicyBinding", "metadata": metadata,
        "spec": { "policyName": name, "matchResources": { "namespaceSelector": only } },
    });
    let remarks = exempted.remark().into_iter().chain(remarks(rules)).collect();
    Ok(InjectionPolicy { policy: objects, binding, remarks })
}

/// A list of containers, the condition for those of it that run as long as the pod, and the type of
/// its members.
const LISTS: [(&str, &str, &str); 2] = [
    (
        "object.spec.containers",
        "c.?restartPolicy.orValue('Always') == 'Always'",
        "Object.spec.containers",
    ),
    (
        "object.spec.?initContainers.orValue([])",
        "c.?restartPolicy.orValue('') == 'Always'",
        "Object.spec.initContainers",
    ),
];

/// Fills in something in the containers that lack it.
fn fill_in(lacks: &str, fields: impl Fn(&str) -> String) -> [String; 2] {
    LISTS.map(|(list, is_long_running, container)| {
        let field = container.rsplit('.').next().unwrap_or_default();
        format!(
            "Object{{spec: Object.spec{{{field}: {list}.filter(c, {is_long_running} && {lacks})\
             .map(c, {container}{{name: c.name, {}}})}}}}",
            fields(container)
        )
    })
}

/// The TCP ports that a container declares. Without one the port would be a guess.
const PORTS: &str = "c.?ports.orValue([]).filter(p, p.?protocol.orValue('TCP') == 'TCP')";

/// The field of a probe, and the condition that no exemption is about it.
type Field<'a> = (&'static str, &'a str);

fn probe(
    (name, counts): Field<'_>,
    default: &DefaultProbe,
    delay: &str,
    failures: &str,
) -> [String; 2] {
    let DefaultProbe { tcp_port, period_seconds, .. } = default;
    let lacks = format!("!has(c.{name}) && {PORTS}.size() > 0{counts}");
    fill_in(&lacks, |container| {
        let probe = format!("{container}.{name}");
        let port = format!(
            "{PORTS}.exists(p, p.containerPort == {tcp_port}) ? {tcp_port} : \
             {PORTS}[0].containerPort"
        );
        format!(
            "{name}: {probe}{{tcpSocket: {probe}.tcpSocket{{port: {port}}}, \
             initialDelaySeconds: {delay}, periodSeconds: {period_seconds}, \
             failureThreshold: {failures}}}"
        )
    })
}

fn readiness(default: &DefaultProbe, counts: &str) -> [String; 2] {
    probe(("readinessProbe", counts), default, &default.initial_delay_seconds.to_string(), "3")
}

/// At least three times as patient as the container's own readiness probe.
fn liveness(default: &DefaultProbe, counts: &str) -> [String; 2] {
    let DefaultProbe { initial_delay_seconds: delay, period_seconds: period, .. } = default;
    let own = |field: &str, default: &str| format!("c.?readinessProbe.?{field}.orValue({default})");
    let greater = |one: String, other: &str| format!("({one} > {other} ? {one} : {other})");
    let patience = format!("{} * {} * 3", own("periodSeconds", "10"), own("failureThreshold", "3"));
    let failures = format!("(({patience} + {period} - 1) / {period})");
    let failures = format!("has(c.readinessProbe) ? {} : 9", greater(failures, "9"));
    let delay = greater(own("initialDelaySeconds", "0"), &delay.to_string());
    probe(("livenessProbe", counts), default, &delay, &failures)
}

/// Requests, and a CPU limit where the policy names one. No memory limit: what a container uses is
/// beyond an expression.
fn amounts(resources: &DefaultResources, counts: &str) -> Vec<String> {
    let DefaultResources { cpu_request, cpu_limit, memory_request, .. } = resources;
    let has = |list: &str, resource: &str| {
        format!("('{resource}' in c.?resources.?{list}.orValue({{}}))")
    };
    let set = |list: &'static str, resource: &'static str, lacks: &str, amount: &str| {
        fill_in(&format!("{lacks}{counts}"), |container| {
            format!("resources: {container}.resources{{{list}: {{'{resource}': '{amount}'}}}}")
        })
    };
    let mut mutations = Vec::new();
    // As the API server does: a limit sets the request that is absent.
    let cpu_request = cpu_request.as_ref().or(cpu_limit.as_ref());
    for (resource, amount) in [("cpu", cpu_request), ("memory", memory_request.as_ref())] {
        if let Some(amount) = amount {
            let lacks = format!("!{} && !{}", has("requests", resource), has("limits", resource));
            mutations.extend(set("requests", resource, &lacks, &amount.to_string()));
        }
    }
    if let Some(limit) = cpu_limit {
        let request = "quantity(string(c.resources.requests['cpu']))";
        let lacks = format!(
            "!{} && (!{} || {request}.compareTo(quantity('{limit}')) <= 0)",
            has("limits", "cpu"),
            has("requests", "cpu")
        );
        mutations.extend(set("limits", "cpu", &lacks, &limit.to_string()));
    }
    mutations
}

fn remarks(rules: &RemediationRules) -> Vec<String> {
    let mut remarks = vec![
        "It fills in for every workload of the namespace. The webhook does so only for workloads \
         that the operator has decided on: it keeps away from those that autoscalers compute with, \
         that a LimitRange would refuse, and that the operator patches itself.",
        "The annotation devops.stochastic.io/remediation, which opts a workload or a namespace out, \
         is not respected: delete the binding instead.",
        "A failing pod does not switch it off, and nothing is taken back. A bad value shows at the \
         next drain or scale-up.",
        "Pods get no annotation that says what was filled in.",
        "Other policies of the namespace are not known to it: the mutations of all apply, in the \
         order of their names.",
    ];
    if rules.probe.is_some() && (rules.needs_liveness || rules.needs_readiness) {
        remarks.push(
            "A container that declares no TCP port gets no probe, as its port would be a guess.",
        );
    }
    if rules.resources.as_ref().is_some_and(|resources| resources.memory_limit.is_some()) {
        remarks.push(
            "memoryLimit is left out: a limit below what a container uses kills it, and the use \
             (metrics.k8s.io) is beyond an expression.",
        );
    }
    if rules.windows != Windows::default() {
        remarks.push("remediation.windows are not respected: it applies at any time.");
    }
    remarks.into_iter().map(str::to_owned).collect()
}
