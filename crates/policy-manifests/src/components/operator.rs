//! The operator reads pods and policies; it writes policy status, audit results and Events.

use policy_core::api::FINALIZER;

use super::Component;
use crate::Rule;
use crate::account_limit::{AccountLimit, are_equal};
use crate::run::Port;

const GROUP: &str = "devops.stochastic.io";
const POLICIES: [&str; 2] = ["devopspolicies", "clusterdevopspolicies"];

/// Evaluates every policy and writes its status.
pub const OPERATOR: Component = Component {
    name: "policy-operator",
    port: Port { number: 9090, is_tls: false },
    service_port: 9090,
    cluster: &[
        // Cluster policies select namespaces by their labels.
        Rule::new("", &["pods", "namespaces"], &["watch"]),
        // Of Deployments whether their rollouts are stuck, for the notes of a status, and their labels.
        Rule::new("apps", &["deployments"], &["watch"]),
        // The labels of workloads, from which exemptions select. Watched once a policy has such an
        // exemption.
        Rule::new("apps", &["statefulsets", "daemonsets", "replicasets"], &["watch"]),
        Rule::new("batch", &["jobs", "cronjobs"], &["watch"]),
        Rule::new("", &["replicationcontrollers"], &["watch"]),
        // The check drain-blocked: the budgets, and the pods that one of them selects.
        Rule::new("policy", &["poddisruptionbudgets"], &["watch"]),
        Rule::new("", &["pods"], &["list"]),
        // `patch` is only for the finalizer; RBAC cannot restrict a rule to a field, so an admission
        // policy does.
        Rule::new(GROUP, &POLICIES, &["watch", "patch"]),
        Rule::new(GROUP, &["devopspolicies/status", "clusterdevopspolicies/status"], &["patch"]),
        Rule::new(GROUP, &["policyauditresults"], &["watch", "create", "delete"]),
        // `patch` raises the count of a repeated Event.
        Rule::new("events.k8s.io", &["events"], &["create", "patch"]),
    ],
    own_namespace: &[Rule::create_lease(), Rule::hold_lease(&["policy-operator"])],
    limit: Some(limit),
    others: Vec::new,
};

/// The operator's account may change nothing of a policy but its own finalizer. The status is another
/// resource, and a change of it changes nothing else. So a stolen token of the operator changes no
/// policy's spec, and removes no other finalizer.
fn limit() -> AccountLimit {
    let both = ["object", "oldObject"];
    let metadata = ["metadata.?labels", "metadata.?annotations", "metadata.?ownerReferences"];
    let others = format!("metadata.?finalizers.orValue([]).filter(name, name != '{FINALIZER}')");
    AccountLimit {
        name: OPERATOR.name,
        component: OPERATOR.name,
        resources: (GROUP, &POLICIES),
        rules: vec![
            (are_equal(&["?spec"], both), "the operator may not change the spec of a policy"),
            (are_equal(&metadata, both), "the operator may not change the metadata of a policy"),
            (are_equal(&[&others], both), "the operator may only add and remove its own finalizer"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_writes_only_its_own_kinds_and_events() {
        for rule in OPERATOR.cluster {
            let writes = rule.verbs.iter().any(|verb| !["list", "watch"].contains(verb));
            let is_ours = rule.group == GROUP || rule.group == "events.k8s.io";
            assert!(!writes || is_ours, "{rule:?}");
        }
        assert!(OPERATOR.own_namespace.iter().any(|rule| rule.names == [OPERATOR.name]));
    }
}
