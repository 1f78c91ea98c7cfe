use k8s_openapi::jiff::Timestamp;
use policy_core::view::{ClusterPolicyView, NamespaceView, PolicyView};
use policy_runtime::watch::Sink as _;
use serde_json::{Value, json};

use super::*;

/// No policies yet, and the sink for those of namespaces. There are no cluster policies.
pub(crate) fn of_namespaces() -> (Policies, PolicySink) {
    let (policies, mut sinks) = Policies::new(ExcludedNamespaces::default());
    sinks.cluster.list_begins();
    sinks.cluster.list_completes();
    sinks.namespaces.list_begins();
    sinks.namespaces.list_completes();
    (policies, sinks.policies)
}

fn policy(name: &str, spec: &Value) -> PolicyView {
    let policy = json!({ "metadata": { "namespace": "shop", "name": name }, "spec": spec });
    serde_json::from_value(policy).unwrap()
}

fn now(policies: &Policies) -> Arc<PolicySet> {
    policies.load().clone().unwrap()
}

fn names(policies: &Policies) -> Vec<String> {
    now(policies).of("shop").judged.iter().map(|policy| policy.name.to_string()).collect()
}

#[test]
fn policies_apply_only_after_the_initial_list() {
    let (policies, mut sink) = of_namespaces();
    sink.list_begins();
    sink.applied(policy("b", &json!({})));
    assert!(policies.load().is_none());
    sink.applied(policy("a", &json!({})));
    sink.list_completes();
    assert_eq!(names(&policies), ["a", "b"]);
    assert_eq!(now(&policies).counts(), (2, 1));
}

#[test]
fn changes_apply_at_once_and_a_list_removes_what_it_lacks() {
    let (policies, mut sink) = of_namespaces();
    sink.list_begins();
    sink.applied(policy("a", &json!({})));
    sink.list_completes();
    sink.applied(policy("b", &json!({})));
    assert_eq!(names(&policies), ["a", "b"]);
    sink.list_begins();
    sink.applied(policy("c", &json!({})));
    sink.undecodable("shop", "b");
    assert_eq!(names(&policies), ["a", "b", "c"], "an incomplete list removes nothing");
    sink.list_completes();
    assert_eq!(names(&policies), ["b", "c"]);
    sink.deleted("shop", "b");
    sink.deleted("shop", "c");
    assert_eq!(now(&policies).counts(), (0, 0));
}

#[test]
fn a_status_changes_nothing_and_a_spec_does() {
    let (policies, mut sink) = of_namespaces();
    sink.list_begins();
    sink.list_completes();
    sink.applied(policy("a", &json!({ "maxRestartCount": 1 })));
    let before = now(&policies);
    sink.applied(policy("a", &json!({ "maxRestartCount": 1 })));
    assert!(Arc::ptr_eq(&before, &now(&policies)));
    sink.applied(policy("a", &json!({ "maxRestartCount": -1 })));
    let invalid: Vec<_> = now(&policies).invalid().collect();
    assert_eq!(invalid, ["shop/a: spec.maxRestartCount: must be 0 or more, not -1"]);
}

/// An enforce policy with these workloads in its status, each with its state.
fn enforcing(name: &str, workloads: &[(&str, &str)], message: &str) -> PolicyView {
    let workload = |(workload, state): &(&str, &str)| {
        json!({ "workload": workload, "state": state, "since": "2026-01-01T00:00:00Z",
            "fields": [format!("web: requests.cpu={}m", name.len())] })
    };
    let workloads: Vec<_> = workloads.iter().map(workload).collect();
    let spec = json!({ "enforcementMode": "enforce" });
    let status = json!({ "message": message, "remediation": { "workloads": workloads } });
    let policy = json!({ "metadata": { "namespace": "shop", "name": name },
        "spec": spec, "status": status });
    serde_json::from_value(policy).unwrap()
}

fn injection(policies: &Policies, workload: &str) -> Option<String> {
    let set = now(policies);
    let found = set.injection("shop", workload)?;
    Some(format!("{} {}", found.policy, found.fields.lines().join(" ")))
}

#[test]
fn injections_follow_the_status_and_the_older_policy_wins() {
    let (policies, mut sink) = of_namespaces();
    sink.list_begins();
    let both = [("Deployment/web", "Injecting"), ("StatefulSet/db", "Patched")];
    sink.applied(enforcing("young", &both, ""));
    sink.list_completes();
    assert_eq!(injection(&policies, "Deployment/web").unwrap(), "shop/young web: requests.cpu=5m");
    assert_eq!(injection(&policies, "StatefulSet/db"), None);
    let before = now(&policies);
    sink.applied(enforcing("young", &both, "something else"));
    assert!(Arc::ptr_eq(&before, &now(&policies)), "the rest of the status does not count");
    sink.applied(enforcing("old", &both[..1], ""));
    assert_eq!(injection(&policies, "Deployment/web").unwrap(), "shop/old web: requests.cpu=3m");
    sink.applied(enforcing("old", &[("Deployment/web", "Reverted")], ""));
    assert!(injection(&policies, "Deployment/web").unwrap().starts_with("shop/young"));
    sink.applied(enforcing("young", &[], ""));
    assert_eq!(injection(&policies, "Deployment/web"), None);
    // In audit mode nothing is filled in, whatever is left in the status.
    sink.applied(enforcing("young", &both, ""));
    let mut audit = enforcing("young", &both, "");
    audit.rules = policy("young", &json!({})).rules;
    sink.applied(audit);
    assert_eq!(injection(&policies, "Deployment/web"), None);
}

#[test]
fn a_policy_that_is_being_deleted_does_not_apply() {
    let (policies, mut sink) = of_namespaces();
    sink.list_begins();
    sink.applied(policy("a", &json!({})));
    sink.list_completes();
    let mut going = policy("a", &json!({}));
    let deleted = json!("2026-01-01T00:00:00Z");
    going.metadata.deletion_timestamp = serde_json::from_value(deleted).unwrap();
    sink.applied(going);
    assert_eq!(now(&policies).counts(), (0, 0));
}

/// As [`policy`], created at that second.
fn created_at(second: i64, name: &str) -> PolicyView {
    let time = Timestamp::from_second(second).unwrap();
    let metadata =
        json!({ "namespace": "shop", "name": name, "creationTimestamp": time.to_string() });
    serde_json::from_value(json!({ "metadata": metadata, "spec": {} })).unwrap()
}

#[test]
fn the_oldest_policies_are_judged_and_the_others_counted() {
    let (policies, mut sink) = of_namespaces();
    sink.list_begins();
    for second in (0..100).rev() {
        sink.applied(created_at(second, &format!("p-{:03}", 999 - second)));
    }
    sink.list_completes();
    let oldest = |first: i64| -> Vec<_> {
        (first..first + 64).map(|second| format!("p-{:03}", 999 - second)).collect()
    };
    assert_eq!(names(&policies), oldest(0));
    assert_eq!(now(&policies).of("shop").excess, 36);
    assert_eq!(now(&policies).counts(), (100, 1));
    let over_limit: Vec<_> =
        now(&policies).over_limit().map(|(name, excess)| (name.to_string(), excess)).collect();
    assert_eq!(over_limit, [("shop".to_owned(), 36)]);
    sink.applied(created_at(200, "a-younger-one"));
    assert_eq!((names(&policies), now(&policies).of("shop").excess), (oldest(0), 37));
    sink.deleted("shop", "p-999");
    assert_eq!((names(&policies), now(&policies).of("shop").excess), (oldest(1), 36));
    // Deleted and created again, it is the youngest.
    sink.applied(created_at(300, "p-998"));
    assert_eq!(names(&policies), oldest(2));
}

/// What a tenant may cause by many policies: each takes some microseconds, whatever their number.
#[test]
fn many_policies_of_a_namespace_take_no_longer_than_their_number() {
    let (policies, mut sink) = of_namespaces();
    sink.list_begins();
    for second in 0..20_000 {
        sink.applied(created_at(second, &format!("p-{second}")));
    }
    assert!(policies.load().is_none(), "nothing is copied before the list is complete");
    sink.list_completes();
    assert_eq!(now(&policies).of("shop").excess, 20_000 - 64);
    for second in 0..1_000 {
        sink.deleted("shop", &format!("p-{second}"));
    }
    assert_eq!(now(&policies).of("shop").judged.len(), 64);
}

#[test]
fn a_reason_is_kept_short() {
    let (policies, mut sink) = of_namespaces();
    sink.list_begins();
    sink.applied(policy("a", &json!({ "enforcementMode": "x".repeat(1 << 20) })));
    sink.list_completes();
    let invalid: Vec<_> = now(&policies).invalid().collect();
    assert!(invalid[0].starts_with("shop/a: the policy cannot be read: "), "{}", invalid[0]);
    assert!(invalid[0].len() < 1100, "{}", invalid[0].len());
}

fn fleet(name: &str, spec: &Value) -> ClusterPolicyView {
    serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).unwrap()
}

fn namespace(name: &str, labels: &Value) -> NamespaceView {
    serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels } })).unwrap()
}

/// The names of what applies to a namespace, in the order in which it is judged.
fn applying(policies: &Policies, namespace: &str) -> Vec<String> {
    let set = now(policies);
    set.of(namespace).judged.iter().map(|policy| policy.name.to_string()).collect()
}

/// A namespace `shop` with the label and a policy, one `lab` without both, and these cluster
/// policies.
fn cluster(fleet_policies: &[(&str, Value)]) -> (Policies, Sinks) {
    let (policies, mut sinks) = Policies::new(ExcludedNamespaces::with(["sandbox".to_owned()]));
    sinks.policies.list_begins();
    sinks.policies.applied(policy("own", &json!({})));
    sinks.policies.list_completes();
    sinks.namespaces.list_begins();
    sinks.namespaces.applied(namespace("shop", &json!({ "tier": "web" })));
    sinks.namespaces.applied(namespace("lab", &json!({})));
    sinks.namespaces.list_completes();
    assert!(policies.load().is_none(), "a cluster policy may be missing");
    sinks.cluster.list_begins();
    for (name, spec) in fleet_policies {
        sinks.cluster.applied(fleet(name, spec));
    }
    sinks.cluster.list_completes();
    (policies, sinks)
}

#[test]
fn a_cluster_policy_applies_where_it_selects_and_beside_what_is_there() {
    let web = json!({ "namespaceSelector": { "matchLabels": { "tier": "web" } } });
    let (policies, mut sinks) = cluster(&[("web", web.clone()), ("all", json!({}))]);
    let (all, web_name) = ("ClusterDevOpsPolicy/all", "ClusterDevOpsPolicy/web");
    assert_eq!(applying(&policies, "shop"), [all, web_name, "own"]);
    assert_eq!(applying(&policies, "lab"), [all]);
    assert_eq!(applying(&policies, "just-made"), [all], "not watched yet");
    for excluded in ["sandbox", "kube-system"] {
        assert!(applying(&policies, excluded).is_empty(), "{excluded}");
    }
    assert_eq!(now(&policies).counts(), (1, 1));
    // The labels of a namespace change, then it is gone, then the policies are.
    sinks.namespaces.applied(namespace("lab", &json!({ "tier": "web" })));
    assert_eq!(applying(&policies, "lab"), [all, web_name]);
    sinks.namespaces.deleted("", "lab");
    assert_eq!(applying(&policies, "lab"), [all]);
    sinks.cluster.applied(fleet("all", &json!({ "excludedNamespaces": ["shop"] })));
    assert_eq!(applying(&policies, "shop"), [web_name, "own"]);
    sinks.cluster.deleted("", "web");
    assert_eq!(applying(&policies, "shop"), ["own"]);
}

#[test]
fn the_priority_decides_the_order_and_namespaces_displace_no_cluster_policy() {
    let (policies, mut sinks) = cluster(&[("low", json!({ "priority": -1 })), ("a", json!({}))]);
    sinks.cluster.applied(fleet("z", &json!({ "priority": 5 })));
    for number in 0..MAX_PER_NAMESPACE {
        sinks.policies.applied(policy(&format!("p-{number:02}"), &json!({})));
    }
    let names = applying(&policies, "shop");
    let first = ["z", "a", "low"].map(|name| format!("ClusterDevOpsPolicy/{name}"));
    assert_eq!((names.len(), &names[..3]), (MAX_PER_NAMESPACE, &first[..]));
    assert_eq!(now(&policies).of("shop").excess, 4);
    sinks.cluster.applied(fleet("a", &json!({ "priority": 9 })));
    assert_eq!(applying(&policies, "shop")[0], "ClusterDevOpsPolicy/a");
}

#[test]
fn a_cluster_policy_that_is_invalid_harms_only_itself() {
    let (policies, mut sinks) =
        cluster(&[("bad", json!({ "priority": 2000 })), ("all", json!({}))]);
    let invalid: Vec<_> = now(&policies).invalid().collect();
    let reason = "ClusterDevOpsPolicy/bad: spec.priority: must be -1000 to 1000, not 2000";
    assert_eq!(invalid, [reason]);
    let judged = now(&policies).of("shop").judged.iter().filter(|p| p.rules.is_ok()).count();
    assert_eq!(judged, 2);
    // One that cannot be decoded any more stays as it was.
    sinks.cluster.list_begins();
    sinks.cluster.undecodable("", "all");
    sinks.namespaces.list_begins();
    sinks.namespaces.undecodable("", "shop");
    sinks.namespaces.list_completes();
    sinks.cluster.list_completes();
    assert_eq!(applying(&policies, "shop"), ["ClusterDevOpsPolicy/all", "own"]);
}

#[test]
fn a_status_of_a_cluster_policy_copies_nothing() {
    let (policies, mut sinks) = cluster(&[("all", json!({}))]);
    let before = now(&policies);
    sinks.cluster.applied(fleet("all", &json!({})));
    sinks.namespaces.applied(namespace("lab", &json!({})));
    assert!(Arc::ptr_eq(&before, &now(&policies)));
    sinks.namespaces.applied(namespace("lab-2", &json!({})));
    let set = now(&policies);
    let of = |name: &str| Arc::clone(&set.namespaces[name]);
    assert_eq!(of("lab").policies.judged.len(), of("lab-2").policies.judged.len());
}
