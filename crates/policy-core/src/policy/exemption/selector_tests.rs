//! Exemptions whose workloads a selector selects.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::admission::{Creation, Decision, NamedPolicy};
use crate::api::DevOpsPolicySpec;
use crate::evaluate::{evaluate, evaluate_with};
use crate::manifest::documents;
use crate::policy::{CompiledPolicy, default_profile_spec};

fn compile(exemptions: Value) -> Result<CompiledPolicy, Vec<String>> {
    let exemptions = serde_json::from_value(exemptions).map_err(|error| vec![error.to_string()])?;
    let spec = DevOpsPolicySpec { exemptions, ..default_profile_spec() };
    CompiledPolicy::compile(&spec)
        .map_err(|invalid| invalid.iter().map(ToString::to_string).collect())
}

fn exempting(whom: &Value) -> CompiledPolicy {
    let mut exemption = json!({ "checks": ["latest-tag"], "reason": "r" });
    exemption.as_object_mut().unwrap().extend(whom.as_object().unwrap().clone());
    compile(json!([exemption])).unwrap()
}

fn legacy() -> CompiledPolicy {
    exempting(&json!({ "selector": { "matchLabels": { "tier": "legacy" } } }))
}

fn workload(kind: &str, name: &str, labels: &Value) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": kind,
        "metadata": { "name": name, "namespace": "shop", "labels": labels },
        "spec": { "template": { "metadata": { "labels": { "tier": "legacy" } },
            "spec": { "containers": [{ "name": "c", "image": "nginx" }] } } } })
}

fn pod(name: &str, set: &str) -> PodFacts {
    let pod = json!({ "metadata": { "name": name, "labels": { "tier": "legacy", "pod-template-hash": "5d8" },
        "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "controller": true }] },
        "spec": { "containers": [{ "name": "c", "image": "nginx" }] } });
    PodFacts::of_pod(&serde_json::from_value(pod).unwrap(), "shop")
}

/// Whether a file exempts it, and whether its creation is judged as exempted.
fn exempts(policy: &CompiledPolicy, object: &Value) -> (bool, bool) {
    let text = object.to_string();
    let mut read = documents(text.as_bytes())[0].read("shop").objects;
    let object = read.remove(0);
    let labels = object.labels.as_ref();
    let now = Timestamp::UNIX_EPOCH;
    let found = evaluate_with(&object.facts, policy, None, labels, now);
    let named = NamedPolicy { name: "p".into(), rules: Ok(Arc::new(policy.clone())) };
    let creation = Creation { labels, ..Creation::of(&object.facts) };
    let verdict = creation.admit(&named.into(), now);
    let exempted = verdict.counts().any(|(_, decision, _)| decision == Decision::Exempted);
    (!found.exempted.is_empty(), exempted)
}

#[test]
fn the_labels_of_the_workload_count_and_not_those_of_its_template() {
    let policy = legacy();
    let labelled = json!({ "tier": "legacy" });
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"] {
        assert_eq!(exempts(&policy, &workload(kind, "web", &labelled)), (true, true), "{kind}");
        let other = workload(kind, "web", &json!({ "tier": "web", "version": 1 }));
        assert_eq!(exempts(&policy, &other), (false, false), "{kind}");
        assert_eq!(
            exempts(&policy, &workload(kind, "web", &Value::Null)),
            (false, false),
            "{kind}"
        );
    }
    let mut pod = workload("Pod", "web", &labelled);
    pod["apiVersion"] = "v1".into();
    pod["spec"] = pod["spec"]["template"]["spec"].take();
    assert_eq!(exempts(&policy, &pod), (false, false), "who writes a pod cannot exempt it");
    let mut set =
        workload("ReplicaSet", "web-5d8", &json!({ "tier": "legacy", "pod-template-hash": "5d8" }));
    set["metadata"]["ownerReferences"] = json!([
        { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "controller": true }]);
    assert_eq!(exempts(&policy, &set), (false, false), "its labels are those of the template");
}

#[test]
fn requirements_on_missing_labels_select_workloads_that_lack_them() {
    let without = exempting(&json!({ "selector": { "matchExpressions": [
        { "key": "tier", "operator": "DoesNotExist" }] } }));
    assert_eq!(exempts(&without, &workload("Deployment", "web", &Value::Null)), (true, true));
    let tier = json!({ "tier": "web" });
    assert_eq!(exempts(&without, &workload("Deployment", "web", &tier)), (false, false));
    let found = evaluate(&pod("web-5d8-x", "web-5d8"), &without, Timestamp::UNIX_EPOCH);
    assert!(found.exempted.is_empty(), "labels that nobody knows are not missing labels");
}

#[test]
fn an_invalid_selector_makes_the_policy_invalid_and_says_where() {
    let exemption = |fields: Value| {
        let mut exemption = json!({ "checks": ["pending"], "reason": "r" });
        exemption.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        compile(json!([exemption])).unwrap_err()
    };
    let web = json!({ "kind": "Deployment", "name": "web" });
    let either = ["spec.exemptions[0]: must name its workloads either by workload or by selector"];
    assert_eq!(exemption(json!({})), either);
    let legacy = json!({ "matchLabels": { "tier": "legacy" } });
    assert_eq!(exemption(json!({ "workload": web, "selector": legacy })), either);
    assert_eq!(
        exemption(json!({ "selector": {} })),
        [
            "spec.exemptions[0].selector: must have a requirement; an empty one would exempt every workload"
        ]
    );
    let many: BTreeMap<String, &str> = (0..9).map(|number| (format!("l{number}"), "v")).collect();
    assert_eq!(
        exemption(json!({ "selector": { "matchLabels": many, "matchExpressions": [
            { "key": "a b", "operator": "In" }] } })),
        [
            "spec.exemptions[0].selector.matchLabels: must have at most 8, not 9",
            "spec.exemptions[0].selector.matchExpressions[0]: `a b` is no label key, such as example.com/tier",
            "spec.exemptions[0].selector.matchExpressions[0]: In needs values",
        ]
    );
    let spec = json!({ "admission": { "controllerPods": "deny" }, "exemptions": [
        { "checks": ["pending"], "reason": "r", "selector": legacy }] });
    let invalid = CompiledPolicy::compile(&serde_json::from_value(spec).unwrap()).unwrap_err();
    assert_eq!(
        invalid[0].to_string(),
        "spec.admission.controllerPods: deny excludes exemptions with a selector: a pod does not say \
         which labels its workload has"
    );
}

#[test]
fn an_exemption_names_its_selector_as_kubectl_writes_it() {
    let policy = exempting(&json!({ "selector": { "matchLabels": { "tier": "legacy" },
        "matchExpressions": [
            { "key": "team", "operator": "In", "values": ["a", "b"] },
            { "key": "env", "operator": "NotIn", "values": ["prod"] },
            { "key": "new", "operator": "DoesNotExist" }, { "key": "old", "operator": "Exists" }] } }));
    let notes = policy.exemptions().unwrap().notes(ExemptionUse::default(), |_| true, 0);
    assert_eq!(
        notes[0].to_string(),
        "spec.exemptions[0] (selector tier=legacy,team in (a,b),env!=prod,!new,old) exempts nothing: \
         there is no such finding"
    );
}

/// Workloads of a namespace: their labels by their numbers.
fn labelled(tiers: &[Option<u8>]) -> Vec<(Workload, Labels)> {
    let of = |(number, tier): (usize, &Option<u8>)| {
        let labels = tier.map(|tier| ("tier".to_owned(), tier.to_string()));
        let labels: BTreeMap<_, _> = labels.into_iter().collect();
        (Workload::deployment(&format!("web{number}")), labels.into())
    };
    tiers.iter().enumerate().map(of).collect()
}

proptest! {
    /// A selector exempts what exemptions by the names of the workloads that it selects would.
    #[test]
    fn a_selector_is_the_names_of_what_it_selects(
        tiers in proptest::collection::vec(proptest::option::of(0_u8..3), 1..8),
        (operator, values) in prop_oneof![
            (Just("In"), proptest::collection::vec(0_u8..3, 1..3)),
            (Just("NotIn"), proptest::collection::vec(0_u8..3, 1..3)),
            (Just("Exists"), Just(vec![])), (Just("DoesNotExist"), Just(vec![])),
        ],
    ) {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        let selector = json!({ "matchExpressions": [
            { "key": "tier", "operator": operator, "values": values }] });
        let selecting = exempting(&json!({ "selector": selector }));
        let workloads = labelled(&tiers);
        let namespace: Arc<str> = "shop".into();
        let known = workloads.iter().map(|(workload, labels)| {
            LabelledWorkload { namespace: &namespace, workload, labels }
        });
        let selecting = selecting.selecting(&known.collect::<Vec<_>>());
        let is_selected = |tier: &Option<u8>| {
            let is_listed = tier.is_some_and(|tier| values.contains(&tier.to_string()));
            match operator {
                "In" => is_listed,
                "NotIn" => !is_listed,
                "Exists" => tier.is_some(),
                _ => tier.is_none(),
            }
        };
        let selected = tiers.iter().enumerate().filter(|(_, tier)| is_selected(tier));
        let names = selected.map(|(number, _)| json!({ "checks": ["latest-tag"], "reason": "r",
            "workload": { "kind": "Deployment", "name": format!("web{number}") } }));
        let naming = compile(Value::Array(names.collect())).unwrap();
        for number in 0..tiers.len() {
            let pod = pod(&format!("web{number}-5d8-x"), &format!("web{number}-5d8"));
            let [by_selector, by_name] = [&selecting, &naming]
                .map(|policy| evaluate(&pod, policy, Timestamp::UNIX_EPOCH));
            prop_assert_eq!(by_selector.tally(), by_name.tally());
            prop_assert_eq!(by_selector.findings, by_name.findings);
            let elsewhere = PodFacts { namespace: "bank".into(), ..pod };
            let found = evaluate(&elsewhere, &selecting, Timestamp::UNIX_EPOCH);
            prop_assert!(found.exempted.is_empty(), "of another namespace");
        }
    }
}
