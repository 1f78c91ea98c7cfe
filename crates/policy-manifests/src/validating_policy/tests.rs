use policy_core::bundle::Bundle;
use policy_core::policy::CompiledClusterPolicy;
use serde_json::{Value, json};

use super::*;

fn rules(spec: &str) -> CompiledPolicy {
    CompiledPolicy::compile(&serde_json::from_str(spec).unwrap()).unwrap()
}

fn export(spec: &str) -> Result<ValidatingPolicy, NoValidatingPolicy> {
    validating_policy(&PolicyPlace::Namespace("shop".to_owned()), "strict", &rules(spec))
}

/// Name, actions and checks of each pair of objects.
fn summary(spec: &str) -> Vec<(String, Value, Vec<String>)> {
    let exported = export(spec).unwrap();
    let values: Vec<Value> =
        exported.objects.iter().map(|object| serde_json::to_value(object).unwrap()).collect();
    let pairs = values.chunks(2).map(|pair| {
        let [policy, binding] = pair else { panic!("{pair:?}") };
        let name = policy["metadata"]["name"].as_str().unwrap().to_owned();
        assert_eq!(
            (&binding["metadata"]["name"], &binding["spec"]["policyName"]),
            (&json!(name), &json!(name))
        );
        let selector = &binding["spec"]["matchResources"]["namespaceSelector"]["matchLabels"];
        assert_eq!(selector, &json!({ "kubernetes.io/metadata.name": "shop" }));
        let validations = policy["spec"]["validations"].as_array().unwrap();
        let checks = validations.iter().map(|one| one["expression"].as_str().unwrap().to_owned());
        (name, binding["spec"]["validationActions"].clone(), checks.collect())
    });
    pairs.collect()
}

#[test]
fn the_severity_decides_between_denying_and_warning() {
    let spec = r#"{"forbidLatestTag": true, "requireLivenessProbe": true, "maxRestartCount": 3,
        "severityOverrides": {"latestTag": "high"}}"#;
    let deny = (
        "kube-devops-deny.shop.strict".to_owned(),
        json!(["Deny"]),
        vec!["variables.latestTag.size() == 0".to_owned()],
    );
    let warn = (
        "kube-devops-warn.shop.strict".to_owned(),
        json!(["Warn", "Audit"]),
        vec!["variables.missingLiveness.size() == 0".to_owned()],
    );
    assert_eq!(summary(spec), [deny, warn]);
    let mode = spec.replace("{\"forbid", r#"{"admission": {"mode": "warn"}, "forbid"#);
    let [(name, _, checks)] = &summary(&mode)[..] else { panic!("{mode}") };
    assert_eq!((&**name, checks.len()), ("kube-devops-warn.shop.strict", 2));
}

#[test]
fn what_a_limit_range_may_fill_in_denies_pods_only() {
    let spec = r#"{"requireResources": true, "severityOverrides": {"missingResources": "high"}}"#;
    let found: Vec<String> = summary(spec).into_iter().flat_map(|(_, _, checks)| checks).collect();
    assert_eq!(
        found,
        [
            "request.kind.kind != 'Pod' || variables.missingResources.size() == 0",
            "request.kind.kind == 'Pod' || variables.missingResources.size() == 0",
        ]
    );
}

#[test]
fn a_policy_without_anything_to_judge_has_none() {
    let nothing = export(r#"{"maxRestartCount": 3}"#);
    assert_eq!(nothing, Err(NoValidatingPolicy::Nothing));
    let disabled = export(r#"{"forbidLatestTag": true, "admission": {"mode": "disabled"}}"#);
    assert_eq!(disabled, Err(NoValidatingPolicy::Disabled));
    let rules = Bundle::all()[0].compiled();
    let (namespace, policy) = ("x".repeat(63), "y".repeat(253));
    let long = validating_policy(&PolicyPlace::Namespace(namespace), &policy, &rules);
    assert_eq!(long, Err(NoValidatingPolicy::NameTooLong));
}

#[test]
fn pods_of_controllers_are_judged_where_the_policy_says_so() {
    let conditions = |admission: &str| {
        let spec = format!(r#"{{"forbidLatestTag": true, "admission": {admission}}}"#);
        let object = serde_json::to_value(&export(&spec).unwrap().objects[0]).unwrap();
        let conditions = object["spec"]["matchConditions"].as_array().unwrap().clone();
        let name = |condition: &Value| condition["name"].as_str().unwrap().to_owned();
        conditions.iter().map(name).collect::<Vec<_>>()
    };
    let pods = "no-pod-of-the-cluster".to_owned();
    assert!(conditions("{}").contains(&pods));
    assert!(!conditions(r#"{"controllerPods": "deny"}"#).contains(&pods));
    assert_eq!(conditions("{}").len(), 5);
    let let_in = |admission: &str| {
        let spec = format!(r#"{{"forbidLatestTag": true, "admission": {admission}}}"#);
        let remarks = export(&spec).unwrap().remarks;
        remarks.into_iter().find(|remark| remark.contains("static pods")).unwrap()
    };
    assert!(let_in("{}").starts_with("Pods, ReplicaSets and Jobs that the cluster's controllers"));
    assert!(let_in(r#"{"controllerPods": "deny"}"#).starts_with("ReplicaSets and Jobs that"));
}

/// Every check at admission has a rule, and no other: one that is added needs one, or a remark.
#[test]
fn every_check_at_admission_is_expressed() {
    for check in CheckId::all() {
        assert_eq!(rule(check).is_some(), check.meta().at_admission, "{check}");
    }
    let restricted = validating_policy(
        &PolicyPlace::Namespace("shop".to_owned()),
        "p",
        &Bundle::named("restricted").unwrap().compiled(),
    );
    let remarks = restricted.unwrap().remarks;
    assert!(remarks[0].starts_with("high-restarts, pending"), "{remarks:?}");
    assert!(!remarks.iter().any(|remark| remark.contains("not expressed")), "{remarks:?}");
}

/// Nothing is denied by the export alone without its saying so.
#[test]
fn exemptions_are_expressed_or_named() {
    let exporting = |exemption: &str| {
        let spec = format!(
            r#"{{"forbidLatestTag": true, "requireLivenessProbe": true, "exemptions": [
                {{"checks": ["latest-tag"], "reason": "r", {exemption}}}]}}"#
        );
        let exported = export(&spec).unwrap();
        let object = serde_json::to_value(&exported.objects[0]).unwrap();
        let variables = object["spec"]["variables"].as_array().unwrap().clone();
        let of = |name: &str| {
            let found = variables.iter().find(|variable| variable["name"] == name).unwrap();
            found["expression"].as_str().unwrap().to_owned()
        };
        let is_named =
            exported.remarks.iter().any(|remark| remark.starts_with("spec.exemptions[0]"));
        (of("latestTag"), of("missingLiveness"), is_named)
    };
    let web = r#""workload": {"kind": "Deployment", "name": "web"}"#;
    let (exempted, other, is_named) = exporting(web);
    let condition = " && !((request.kind.kind == 'Deployment' && request.name == \"web\")))";
    assert!(exempted.ends_with(condition), "{exempted}");
    assert!(!other.contains("request.name") && !is_named, "{other}");
    let (of_container, _, _) = exporting(&format!(r#"{web}, "container": "app""#));
    assert!(of_container.contains("string(c.name)) == \"app\")"), "{of_container}");
    for left_out in [
        format!(r#"{web}, "expires": "2027-01-31T00:00:00Z""#),
        r#""workload": {"kind": "Rollout", "name": "web"}"#.to_owned(),
    ] {
        let (exempted, _, is_named) = exporting(&left_out);
        assert!(!exempted.contains("request.name") && is_named, "{exempted}");
    }
}

/// As many as labels tell apart; the rest by a condition.
#[test]
fn a_cluster_policy_applies_to_the_namespaces_that_it_selects() {
    let spec = r#"{"forbidLatestTag": true, "excludedNamespaces": ["old"], "namespaceSelector": {
        "matchLabels": {"team": "a"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]}}"#;
    let policy = CompiledClusterPolicy::compile(&serde_json::from_str(spec).unwrap()).unwrap();
    let place = PolicyPlace::Cluster(policy.scope);
    let exported = validating_policy(&place, "shop.fleet", &policy.rules).unwrap();
    let values: Vec<Value> =
        exported.objects.iter().map(|object| serde_json::to_value(object).unwrap()).collect();
    assert_eq!(values[0]["metadata"]["name"], "kube-devops-cluster-warn.shop.fleet");
    let message = values[0]["spec"]["validations"][0]["messageExpression"].as_str().unwrap();
    assert!(message.starts_with(r#""policy ClusterDevOpsPolicy/shop.fleet: ""#), "{message}");
    let conditions = values[0]["spec"]["matchConditions"].as_array().unwrap();
    let expected = "!request.namespace.endsWith('-system')";
    assert_eq!(conditions.last().unwrap()["expression"], expected);
    let selector = &values[1]["spec"]["matchResources"]["namespaceSelector"];
    assert_eq!(
        *selector,
        json!({ "matchExpressions": [
            { "key": "team", "operator": "In", "values": ["a"] },
            { "key": "tier", "operator": "Exists" },
            { "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [
                "kube-system", "kube-public", "kube-node-lease", "cert-manager", "istio-system",
                "kube-devops", "old"] },
        ] })
    );
}
