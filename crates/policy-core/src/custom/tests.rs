//! Custom checks of a policy, from its spec to findings.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::admission::{NamedPolicy, NamespacePolicies, Review, admit};
use crate::evaluate::{Evaluation, evaluate_with};
use crate::facts::PodFacts;
use crate::namespaces::ExcludedNamespaces;
use crate::policy::CompiledPolicy;
use crate::report::{Assessment, Source};
use crate::workload::ObjectKind;

const HOST_NETWORK: &str = "!has(object.spec.hostNetwork) || object.spec.hostNetwork == false";
const TEAM: &str = "has(namespaceObject.metadata.labels.team)";

fn policy(spec: &Value) -> CompiledPolicy {
    CompiledPolicy::compile(&serde_json::from_value(spec.clone()).unwrap()).unwrap()
}

fn custom(checks: &Value) -> CompiledPolicy {
    policy(&json!({ "custom": checks, "admission": { "denySeverity": "high" } }))
}

fn pod(spec: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "web", "uid": "1" }, "spec": spec })
}

fn input_of(kind: ObjectKind, object: &Value) -> CustomInput {
    CustomInput::of(kind, serde_json::from_value(object.clone()).unwrap())
}

fn input(pod: &Value) -> CustomInput {
    input_of(ObjectKind::Pod, pod)
}

fn judged(policy: &CompiledPolicy, pod: &Value, labels: Option<&[&str]>) -> CustomResults {
    let labels = labels.map(|labels| {
        let labels = labels.iter().map(|key| ((*key).to_owned(), "x".to_owned())).collect();
        CustomNamespace::new("shop", &labels)
    });
    policy.custom().unwrap().judge(&input(pod), labels.as_ref())
}

fn evaluated(policy: &CompiledPolicy, pod: &Value) -> Evaluation {
    let facts = PodFacts::of_pod(&serde_json::from_value(pod.clone()).unwrap(), "shop");
    let results = judged(policy, pod, None);
    evaluate_with(&facts, policy, Some(&results), None, Timestamp::UNIX_EPOCH)
}

#[test]
fn an_expression_that_is_false_is_a_finding_with_its_own_severity_and_weight() {
    let policy = custom(&json!([
        { "name": "host-network", "expression": HOST_NETWORK, "severity": "high", "weight": 20,
          "messageExpression": "object.metadata.name + ' is in the network of its node'" },
        { "name": "plain", "expression": "size(object.spec.containers) == 0" },
        { "name": "fine", "expression": "true" },
    ]));
    let evaluation =
        evaluated(&policy, &pod(&json!({ "hostNetwork": true, "containers": [{ "name": "c" }] })));
    let found: Vec<_> = evaluation
        .findings
        .iter()
        .map(|found| (found.check.to_string(), found.severity.as_str()))
        .collect();
    assert_eq!(
        found,
        [("custom/host-network".to_owned(), "high"), ("custom/plain".to_owned(), "medium")]
    );
    let mut tally = crate::score::Tally::default();
    tally.add(&evaluation.tally());
    assert_eq!((tally.total_findings(), tally.compliant_pods()), (2, 0));
    assert_eq!(tally.score(&policy).value(), 100 - 20 - 3);
    let summary = crate::report::Summary::of(&tally, &policy);
    assert_eq!(summary.violations_by_check["custom"], 2);
    assert_eq!(summary.violations_by_severity.high, 1);
    let texts: Vec<_> =
        judged(&policy, &pod(&json!({ "hostNetwork": true, "containers": [1] })), None)
            .violations
            .iter()
            .map(|violation| violation.message.to_string())
            .collect();
    assert_eq!(
        texts,
        ["host-network: web is in the network of its node", "custom check plain failed"]
    );
}

#[test]
fn a_bad_expression_harms_only_itself() {
    let policy = custom(&json!([
        { "name": "bad", "expression": "object.spec.x ==" },
        { "name": "foreign", "expression": "object.status.phase == 'Running'" },
        { "name": "text", "expression": "true", "messageExpression": "1" },
        { "name": "fails", "expression": "object.spec.none == 1" },
        { "name": "good", "expression": "false" },
    ]));
    let custom = policy.custom().unwrap();
    let refused: Vec<_> = custom.refused().iter().map(|refused| refused.path.as_str()).collect();
    assert_eq!(
        refused,
        [
            "spec.custom[0].expression",
            "spec.custom[1].expression",
            "spec.custom[2].messageExpression"
        ]
    );
    assert!(custom.refused()[1].to_string().contains("the field `status` is not available"));
    let results = judged(&policy, &pod(&json!({})), None);
    assert_eq!(results.violations.len(), 1);
    let failures: Vec<_> =
        results.failures.iter().map(|failure| (&*failure.name, &*failure.reason)).collect();
    assert_eq!(failures, [("fails", "no such key: none")]);
}

/// Kubernetes declares its type, and that of the object as `dyn`.
#[test]
fn a_namespace_has_a_known_type() {
    let refused = |expression: &str| {
        let policy = custom(&json!([{ "name": "x", "expression": expression }]));
        policy.custom().unwrap().refused().first().map(|refused| refused.reason.clone())
    };
    let labels = "namespaceObject.metadata.labels";
    for (expression, reason) in [
        (format!("{labels}.tier == 1"), "`==` has no meaning for string and int"),
        (format!("{labels}[0] == 'a'"), "an int is no index"),
        (format!("{labels}.tier.x == 'a'"), "a string has no field `x`"),
        ("namespaceObject['metadata'] == 1".to_owned(), "use a name after a dot there"),
        ("namespaceObject == 1".to_owned(), "`==` has no meaning for object and int"),
        (
            "object.metadata.name in [object.metadata.namespace, namespaceObject.metadata.name]"
                .to_owned(),
            "a list has members of one type, not dyn and string",
        ),
    ] {
        let found = refused(&expression);
        assert!(found.as_ref().is_some_and(|why| why.contains(reason)), "{expression}: {found:?}");
    }
    for taken in [
        format!("'team' in {labels} && {labels}.all(key, {labels}[key] != object.metadata.name)"),
        format!("{labels}.team in ['a', namespaceObject.metadata.name]"),
        format!("{labels} == object.metadata.labels && namespaceObject != null"),
    ] {
        assert_eq!(refused(&taken), None, "{taken}");
    }
}

#[test]
fn values_that_no_policy_may_have_are_refused() {
    let spec = json!({ "custom": [
        { "name": "Bad_Name", "expression": "true" },
        { "name": "a", "expression": "true", "weight": 101 },
        { "name": "a", "expression": "true" },
    ] });
    let invalid = CompiledPolicy::compile(&serde_json::from_value(spec).unwrap()).unwrap_err();
    let invalid: Vec<_> = invalid.iter().map(ToString::to_string).collect();
    assert_eq!(
        invalid,
        [
            "spec.custom[0].name: must be at most 63 lower-case letters, digits and `-` between them, not `Bad_Name`",
            "spec.custom[1].weight: must be 0 to 100, not 101",
            "spec.custom[2].name: `a` is the name of another one",
        ]
    );
    let many: Vec<_> =
        (0..17).map(|n| json!({ "name": format!("c{n}"), "expression": "true" })).collect();
    let spec = serde_json::from_value(json!({ "custom": many })).unwrap();
    let invalid = CompiledPolicy::compile(&spec).unwrap_err();
    assert_eq!(invalid[0].to_string(), "spec.custom: must have at most 16 checks, not 17");
}

#[test]
fn exemptions_name_custom_checks() {
    let policy = policy(&json!({
        "custom": [{ "name": "a", "expression": "false" }, { "name": "b", "expression": "false" }],
        "exemptions": [{ "checks": ["custom/a"], "reason": "known",
            "workload": { "kind": "Pod", "name": "web" } }],
    }));
    let evaluation = evaluated(&policy, &pod(&json!({})));
    assert_eq!(evaluation.findings[0].check.to_string(), "custom/b");
    assert_eq!(evaluation.exempted[0].finding.check.to_string(), "custom/a");
    assert_eq!((evaluation.findings.len(), evaluation.exempted.len()), (1, 1));
}

#[test]
fn the_labels_of_the_namespace_are_known_or_the_check_has_no_result() {
    let policy = custom(&json!([{ "name": "team", "expression": TEAM }]));
    let pod = pod(&json!({}));
    assert!(judged(&policy, &pod, Some(&["team"])).violations.is_empty());
    assert_eq!(judged(&policy, &pod, Some(&[])).violations.len(), 1);
    let unknown = judged(&policy, &pod, None);
    assert!(unknown.violations.is_empty());
    assert_eq!(&*unknown.failures[0].reason, "the labels of the namespace are not known here");
}

#[test]
fn of_a_workload_its_pod_template_is_seen() {
    let policy = custom(&json!([{ "name": "app",
        "expression": "object.metadata.labels.app == 'web' && size(object.spec.containers) == 1" }]));
    let template =
        json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [1] } });
    for (kind, spec) in [
        (ObjectKind::Deployment, json!({ "template": template })),
        (ObjectKind::CronJob, json!({ "jobTemplate": { "spec": { "template": template } } })),
        (ObjectKind::Pod, template["spec"].clone()),
    ] {
        let input = input_of(kind, &json!({ "metadata": template["metadata"], "spec": spec }));
        let results = policy.custom().unwrap().judge(&input, None);
        assert_eq!(results, CustomResults::default(), "{kind}");
    }
}

#[test]
fn an_object_that_is_too_large_is_said_to_be() {
    let policy = custom(&json!([{ "name": "a", "expression": "has(object.spec)" }]));
    let large = pod(&json!({ "text": "x".repeat(600 << 10) }));
    let reason = &judged(&policy, &large, None).failures[0].reason;
    assert_eq!(&**reason, "the object is too large: a part of it has more than 512 KiB");
}

fn review(object: &Value, old: &Value) -> Vec<u8> {
    let operation = if old.is_null() { "CREATE" } else { "UPDATE" };
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "1", "kind": { "group": "", "version": "v1", "kind": "Pod" }, "operation": operation,
        "namespace": "shop", "name": "web", "userInfo": { "username": "ann" },
        "object": object, "oldObject": old } })
    .to_string()
    .into_bytes()
}

fn answer(policy: CompiledPolicy, object: &Value, old: &Value) -> (bool, Vec<String>) {
    let body = review(object, old);
    let policy = NamedPolicy { name: "strict".into(), rules: Ok(Arc::new(policy)) };
    let policies = NamespacePolicies {
        namespace: Some(Arc::new(CustomNamespace::new("shop", &[].into()))),
        ..NamespacePolicies::from(policy)
    };
    let request = Review::decode(&body).unwrap().request.unwrap();
    let verdict = admit(request, &policies, Timestamp::UNIX_EPOCH, || true).unwrap();
    let lines = verdict.message().map_or_else(|| verdict.warnings(), |text| vec![text]);
    (verdict.is_allowed(), lines)
}

#[test]
fn admission_denies_by_severity_and_lets_in_where_there_is_no_result() {
    let host =
        pod(&json!({ "hostNetwork": true, "containers": [{ "name": "c", "image": "a:1" }] }));
    let with = |severity: &str, expression: &str| {
        custom(&json!([{ "name": "host", "expression": expression, "severity": severity }]))
    };
    let (allowed, lines) = answer(with("high", HOST_NETWORK), &host, &Value::Null);
    assert!(!allowed);
    assert_eq!(
        lines,
        ["denied by policy shop/strict: custom check host failed (check custom/host, high)"]
    );
    let (allowed, lines) = answer(with("medium", HOST_NETWORK), &host, &Value::Null);
    assert!(allowed);
    assert_eq!(lines, ["policy shop/strict: custom check host failed (custom/host, medium)"]);
    let (allowed, lines) = answer(with("high", "object.spec.none == 1"), &host, &Value::Null);
    assert!(allowed);
    assert_eq!(lines, ["policy shop/strict: check custom/host was not applied: no such key: none"]);
    let (allowed, lines) = answer(with("high", "object.spec"), &host, &Value::Null);
    assert!(allowed && lines[0].contains("its expression is refused"), "{lines:?}");
    assert!(!answer(with("high", TEAM), &host, &Value::Null).0);
}

#[test]
fn of_an_update_only_what_it_brings_in_is_denied() {
    let spec = |host: bool, image: &str| {
        pod(&json!({ "hostNetwork": host, "containers": [{ "name": "c", "image": image }] }))
    };
    let strict =
        || custom(&json!([{ "name": "h", "expression": HOST_NETWORK, "severity": "high" }]));
    assert!(answer(strict(), &spec(true, "a:2"), &spec(true, "a:1")).0, "it was so before");
    assert!(!answer(strict(), &spec(true, "a:1"), &spec(false, "a:1")).0);
    assert!(answer(strict(), &spec(false, "a:1"), &spec(true, "a:1")).0);
}

/// What a report on two pods of a cluster says, with what it has no result for.
fn live(policy: &CompiledPolicy, labels: Option<&[&str]>) -> (u64, Vec<String>) {
    let excluded = ExcludedNamespaces::default();
    let mut assessment = Assessment::new(policy, &excluded, Timestamp::UNIX_EPOCH);
    if let Some(labels) = labels {
        let labels = labels.iter().map(|key| ((*key).to_owned(), "x".to_owned())).collect();
        let namespace = CustomNamespace::new("shop", &labels);
        assessment.know_namespaces(Arc::new([("shop".to_owned(), namespace)].into()));
    }
    for (name, phase) in [("web", "Running"), ("job", "Succeeded")] {
        let pod = json!({ "metadata": { "name": name, "namespace": "shop" },
            "spec": { "hostNetwork": true }, "status": { "phase": phase } });
        let pod: Whole<crate::view::PodView> = serde_json::from_value(pod).unwrap();
        let pod = LivePod::from(pod);
        assessment.live_pod(&pod, &PodFacts::of_pod(&pod.view, ""));
    }
    let report = assessment.finish(Source::Files { paths: Vec::new() }, String::new());
    let notes = report.coverage.notes.iter();
    let notes = notes.map(|note| format!("{}: {}", note.source, note.message)).collect();
    (report.summary.total_violations, notes)
}

#[test]
fn pods_of_a_cluster_are_judged_with_the_labels_of_their_namespaces() {
    let host_network = custom(&json!([{ "name": "host-network", "expression": HOST_NETWORK }]));
    assert_eq!(live(&host_network, None), (1, Vec::new()), "one that ended has no findings");
    let team = custom(&json!([{ "name": "team", "expression": TEAM }]));
    assert_eq!(live(&team, Some(&["team"])), (0, Vec::new()));
    assert_eq!(live(&team, Some(&["other"])), (1, Vec::new()));
    let unknown = "namespace shop: check custom/team has no result for 1 object, such as Pod/web: \
                   the labels of the namespace are not known here";
    assert_eq!(live(&team, None), (0, vec![unknown.to_owned()]));
}

/// A check may take some milliseconds, and a policy has up to 16 of them.
#[test]
fn the_deadline_counts_between_the_checks_of_a_policy() {
    let check = |name: &str, expression: &str| json!({ "name": name, "expression": expression, "severity": "high" });
    let admitted = |checks: Value, asked: usize| {
        let rules = Ok(Arc::new(custom(&checks)));
        let policies = NamespacePolicies::from(NamedPolicy { name: "p".into(), rules });
        let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": { "uid": "1", "operation": "CREATE", "namespace": "shop", "name": "web", "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "userInfo": { "username": "ann" },
            "object": pod(&json!({ "containers": [{ "name": "c", "image": "a:1" }] })) } });
        let body = review.to_string();
        let request = Review::decode(body.as_bytes()).unwrap().request.unwrap();
        let left = std::cell::Cell::new(asked);
        let is_in_time = || left.replace(left.get().saturating_sub(1)) > 0;
        admit(request, &policies, Timestamp::UNIX_EPOCH, is_in_time)
            .map(|verdict| verdict.is_allowed())
            .map_err(crate::admission::FailOpenReason::as_str)
    };
    let fine = json!([check("a", "true"), check("b", "true"), check("c", "true")]);
    // Once for the policy, once for each check.
    assert_eq!(admitted(fine.clone(), 4), Ok(true));
    assert_eq!(admitted(fine, 3), Err("deadline"));
    let bad = json!([check("a", "false"), check("b", "true"), check("c", "true")]);
    assert_eq!(admitted(bad, 2), Ok(false), "what was found in time denies");
}
