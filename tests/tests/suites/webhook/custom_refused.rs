//! Custom checks: what the API server refuses in a `ValidatingAdmissionPolicy` is refused here.

use e2e::{Parts, Testbed};
use policy_core::policy::CompiledPolicy;
use serde_json::json;

/// Expressions that the API server refuses, whatever the object is.
const REFUSED: &[&str] = &[
    "object.spec.hostNetwork",
    // A list has members of one type, and `dyn` is another.
    "object.metadata.name in ['pod', object.metadata.labels.app]",
    "['a', object.metadata.name].join('-') == 'a-b'",
    "[object.metadata.name, 'a'].join('-') == 'a-b'",
    "[object.spec.hostNetwork, 1].size() == 2",
    "[[object.metadata.name], ['a']].size() == 2",
    "[[], ['a'], [object.metadata.name]].size() == 3",
    "[null, object.spec.x].size() == 2",
    "[namespaceObject.metadata.name, object.metadata.name].size() == 2",
    "[object.spec.a, object.spec.b + 1].size() == 2",
    "[[1].map(x, object.spec.a), [1].map(x, x)].size() == 2",
    "[true ? 'a' : object.spec.a, 'b'].size() == 2",
    // A namespace has a declared type.
    "namespaceObject.metadata.labels['tier'] == 1",
    "namespaceObject.metadata.labels[1] == 'a'",
    "1 in namespaceObject.metadata.labels",
    "namespaceObject.metadata.labels.tier.x == 'a'",
    "namespaceObject.metadata.labels == 'a'",
    "namespaceObject.metadata == 'a'",
    "namespaceObject.metadata.name.exists(k, k == 'a')",
    "namespaceObject.metadata.name && true",
    // Patterns.
    "'a'.matches('(a{40}){40}')",
    "'a'.matches('a{1001}')",
];

#[test]
fn what_the_api_server_refuses_is_refused() {
    let testbed = Testbed::start(&Parts::new("custom-refused")).unwrap();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for (number, expression) in REFUSED.iter().enumerate() {
        let check = json!({ "name": "x", "expression": expression });
        let spec = serde_json::from_value(json!({ "custom": [check] })).unwrap();
        let policy = CompiledPolicy::compile(&spec).unwrap();
        if policy.custom().unwrap().refused().is_empty() {
            ours.push(expression);
        }
        let rule = json!({ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
            "resources": ["pods"] });
        let policy = json!({ "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy", "metadata": { "name": format!("r-{number}") },
            "spec": { "matchConstraints": { "resourceRules": [rule] },
                "validations": [{ "expression": expression }] } });
        let create = ["create", "--dry-run=server", "-f", "-"];
        let run = testbed.kubectl_stdin(&create, &policy.to_string()).unwrap();
        if !run.stderr.contains("spec.validations[0].expression: Invalid value") {
            theirs.push((expression, run));
        }
    }
    assert!(ours.is_empty() && theirs.is_empty(), "taken here: {ours:#?}, there: {theirs:#?}");
}
