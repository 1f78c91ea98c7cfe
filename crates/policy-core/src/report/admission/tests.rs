use serde_json::json;

use super::AdmissionOutcome::{Allowed, Denied, Warned};
use super::*;
use crate::admission::{AdmissionVerdict, Creation, NamedPolicy};
use crate::policy::CompiledPolicy;
use crate::workload::ObjectKind;

fn facts(namespace: &str, image: &str) -> (PodFacts, AdmissionVerdict) {
    let pod = json!({
        "metadata": { "namespace": namespace, "name": "web\n" },
        "spec": { "containers": [{ "name": "c", "image": image }] },
    });
    let object: crate::view::ObjectView = serde_json::from_value(pod).unwrap();
    let facts = PodFacts::of_object(ObjectKind::Pod, &object, "").unwrap();
    let spec = json!({ "forbidLatestTag": true, "requireLivenessProbe": image != "x:2",
        "severityOverrides": { "latestTag": "high" } });
    let rules = CompiledPolicy::compile(&serde_json::from_value(spec).unwrap()).unwrap();
    let policy = NamedPolicy { name: "strict".into(), rules: Ok(Arc::new(rules)) };
    let pod = Creation { namespace, ..Creation::of(&facts) };
    let verdict = pod.admit(&policy.into(), crate::Timestamp::UNIX_EPOCH);
    (facts, verdict)
}

#[test]
fn each_object_has_its_outcome() {
    let place = |line| (Arc::from("a.yaml"), 1, line);
    let of = |line, image| {
        let (facts, verdict) = facts("shop", image);
        AdmittedObject::of(&facts, place(line), 1, &verdict)
    };
    let excluded = AdmittedObject::excluded(&facts("kube-system", "x").0, place(9));
    let objects = vec![of(1, "x"), of(3, "x:1"), of(5, "x:2"), excluded];
    let source = Source::Files { paths: vec!["a.yaml".to_owned()] };
    let policies = PolicySource::Given { name: "strict.yaml".to_owned() };
    let report = AdmissionReport::new(source, policies, objects, Coverage::default());
    assert_eq!(report.summary, AdmissionSummary { allowed: 2, warned: 1, denied: 1 });
    let object = |o: &AdmittedObject| (o.outcome, o.line, o.is_excluded, o.warnings.len());
    assert_eq!(
        report.objects.iter().map(object).collect::<Vec<_>>(),
        [
            (Denied, 1, false, 1),
            (Warned, 3, false, 1),
            (Allowed, 5, false, 0),
            (Allowed, 9, true, 0)
        ]
    );
}

#[test]
fn the_output_is_what_its_schema_describes() {
    let (facts, verdict) = facts("shop", "x");
    let object = AdmittedObject::of(&facts, ("a.yaml".into(), 1, 1), 1, &verdict);
    let source = Source::Files { paths: Vec::new() };
    let policies = PolicySource::Cluster { context: "c".to_owned(), server: "s".to_owned() };
    let report = AdmissionReport::new(source, policies, vec![object], Coverage::default());
    let schema = serde_json::to_value(schemars::schema_for!(AdmissionReport)).unwrap();
    let report = serde_json::to_value(&report).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&report), "{report:#}");
}
