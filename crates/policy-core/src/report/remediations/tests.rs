use serde_json::json;

use super::*;

const NOW: &str = "2026-05-01T12:00:00Z";

fn policy(name: &str, spec: &Value, status: &Value) -> Value {
    json!({
        "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
        "metadata": { "namespace": "shop", "name": name }, "spec": spec, "status": status,
    })
}

fn entry(workload: &str, state: &str) -> Value {
    json!({ "workload": workload, "uid": "1", "state": state, "since": NOW,
        "fields": ["web: requests.cpu=100m"] })
}

fn report(policies: &[Value]) -> RemediationReport {
    let source = Source::Cluster {
        context: "c".to_owned(),
        server: "https://127.0.0.1".to_owned(),
        namespace: None,
    };
    RemediationReport::of(source, policies, NOW.parse().unwrap())
}

#[test]
fn policies_and_workloads_are_sorted_and_audit_mode_is_left_out() {
    let enforce = json!({ "enforcementMode": "enforce" });
    let status = |workloads: Value| json!({ "remediation": { "workloads": workloads } });
    let found = report(&[
        policy("new", &enforce, &status(json!([entry("StatefulSet/db", "Proposed")]))),
        policy("audit", &json!({}), &json!({})),
        policy("was", &json!({}), &status(json!([entry("Deployment/web", "Patched")]))),
        policy("fresh", &enforce, &Value::Null),
    ]);
    let names: Vec<&str> = found.policies.iter().map(|policy| policy.name.as_str()).collect();
    assert_eq!(names, ["fresh", "new", "was"]);
    let workloads = found.workloads.iter().map(|w| (w.workload.as_str(), w.policy.as_str()));
    assert_eq!(
        workloads.collect::<Vec<_>>(),
        [("Deployment/web", "was"), ("StatefulSet/db", "new")]
    );
    assert!(found.not_read.is_empty());
}

#[test]
fn a_policy_says_whether_it_remediates_and_when() {
    let spec = json!({ "enforcementMode": "enforce", "remediation": { "method": "patch",
        "windows": [{ "schedule": "0 22 * * *", "durationSeconds": 3600 }] } });
    let condition = json!({ "type": "Remediating", "status": "False", "reason": "BreakerOpen",
        "message": "two were taken back", "lastTransitionTime": NOW });
    let status = json!({ "conditions": [condition],
        "remediation": { "workloadsOmitted": 7, "reverts": [NOW] } });
    let found = report(&[policy("p", &spec, &status)]);
    let policy = serde_json::to_value(&found.policies[0]).unwrap();
    assert_eq!(
        policy,
        json!({
            "namespace": "shop", "name": "p", "mode": "enforce", "method": "patch",
            "nextWindow": "2026-05-01T22:00:00Z",
            "remediating": { "status": "False", "reason": "BreakerOpen",
                "message": "two were taken back" },
            "workloadsOmitted": 7, "reverts": [NOW],
        })
    );
}

#[test]
fn a_status_that_cannot_be_read_is_named() {
    let status = json!({ "remediation": { "workloads": [{ "state": "Odd" }] } });
    let found = report(&[policy("p", &json!({ "enforcementMode": "enforce" }), &status)]);
    assert_eq!(found.not_read.len(), 1);
    assert_eq!(found.not_read[0].source, "policy shop/p");
}

#[test]
fn only_workloads_that_may_have_fields_of_the_operator_are_compared() {
    let several = ["Patched", "Injecting", "Proposed"].map(|state| entry("Deployment/web", state));
    let mut entries = several.to_vec();
    entries.push(entry("Rollout/web", "Failed"));
    let status = json!({ "remediation": { "workloads": entries } });
    let mut found = report(&[policy("p", &json!({ "enforcementMode": "enforce" }), &status)]);
    let compared: Vec<bool> =
        found.workloads.iter().map(|entry| entry.to_compare().is_some()).collect();
    assert_eq!(compared, [true, false, false, false]);
    let entry = &mut found.workloads[0];
    assert_eq!(entry.to_compare(), Some((ObjectKind::Deployment, "web")));

    let is_gone = |live: &Option<LiveWorkload>| live.as_ref().unwrap().is_gone;
    entry.compare(None).unwrap();
    assert!(is_gone(&entry.live));
    let mut workload = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "namespace": "shop", "name": "web", "uid": "1",
            "annotations": { "devops.stochastic.io/patched-by": "shop/p" },
            "managedFields": [{ "manager": "policy-operator", "operation": "Apply",
                "fieldsV1": { "f:spec": { "f:template": { "f:spec": { "f:containers": {
                    "k:{\"name\":\"web\"}": { ".": {}, "f:name": {},
                        "f:resources": { "f:requests": { "f:cpu": {} } } } } } } } } }] },
        "spec": { "template": { "spec": { "containers": [
            { "name": "web", "image": "nginx:1", "resources": { "requests": { "cpu": "100m" } } }
        ] } } },
    });
    entry.compare(Some(&workload)).unwrap();
    assert_eq!(
        entry.live,
        Some(LiveWorkload {
            is_gone: false,
            patched_by: Some("shop/p".to_owned()),
            fields: vec!["web: requests.cpu=100m".to_owned()],
        })
    );
    workload["metadata"]["uid"] = "2".into();
    entry.compare(Some(&workload)).unwrap();
    assert!(is_gone(&entry.live), "another one with the same name");
    workload["spec"] = json!([]);
    assert!(entry.compare(Some(&workload)).is_err());
}
