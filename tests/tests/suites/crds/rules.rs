//! What the API server takes, and what it refuses in which words.

use e2e::Run;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{BENCH, Namespace, manifest, policy, policyctl, read, verdict};

/// Whether kubectl prints the API server's sentence. Kubernetes 1.34 names types and values in it by
/// other words, so there only the field is compared.
fn says_why(run: &Run, sentence: &str) -> bool {
    let is_1_34 = e2e::selected_release().as_deref() == Some("1.34");
    let field = sentence.split(' ').next().unwrap();
    run.stderr.contains(if is_1_34 { field } else { sentence })
}

#[derive(Deserialize)]
struct Bad {
    name: String,
    spec: String,
    says: String,
}

#[test]
fn bad_policies_are_refused_with_a_sentence() {
    let cases: Vec<Bad> = read("tests/tests/suites/crds/bad.yaml");
    assert!(cases.len() >= 40, "{}", cases.len());
    let namespace = Namespace::new("bad");
    let wrong = cases.iter().filter_map(|Bad { name, spec, says }| {
        let run = namespace.apply(&policy(name, spec));
        let refused = run.code == Some(1) && says_why(&run, says);
        (!refused).then(|| format!("{name}: {:?} {}{}", run.code, run.stdout, run.stderr))
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(namespace.kubectl(&["get", "dop", "--output=name"]).succeeded().unwrap(), "");
}

#[test]
fn bad_cluster_policies_are_refused_with_a_sentence() {
    let cases: Vec<Bad> = read("tests/tests/suites/crds/bad_cluster.yaml");
    let namespace = Namespace::new("bad-cluster");
    let wrong = cases.iter().filter_map(|Bad { name, spec, says }| {
        let run = namespace.apply(&manifest("ClusterDevOpsPolicy", &format!("bad-{name}"), spec));
        let refused = run.code == Some(1) && says_why(&run, says);
        (!refused).then(|| format!("{name}: {:?} {}{}", run.code, run.stdout, run.stderr))
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a namespaced policy may have, and every kind of requirement on a namespace.
#[test]
fn a_good_cluster_policy_is_stored_as_written() {
    let namespace = Namespace::new("good-cluster");
    let name = format!("good-{}", namespace.0);
    let spec = json!({
        "forbidLatestTag": true, "enforcementMode": "enforce", "priority": -1000,
        "defaultResources": { "cpuRequest": 1, "memoryLimit": "64Mi" },
        "excludedNamespaces": ["sandbox", "a".repeat(63)],
        "namespaceSelector": {
            "matchLabels": { "example.com/tier": "web", "empty": "" },
            "matchExpressions": [
                { "key": "env", "operator": "In", "values": ["prod", ""] },
                { "key": "env", "operator": "NotIn", "values": ["test"] },
                { "key": "team", "operator": "Exists" },
                { "key": "legacy", "operator": "DoesNotExist" },
            ],
        },
    });
    let manifest = manifest("ClusterDevOpsPolicy", &name, &spec.to_string());
    namespace.apply(&manifest).succeeded().unwrap();
    assert_eq!(namespace.get(&format!("cdop/{name}"))["spec"], spec);
}

#[derive(Deserialize)]
struct Good {
    name: String,
    spec: String,
    stored: Value,
}

#[test]
fn good_policies_are_stored_with_their_defaults() {
    let cases: Vec<Good> = read("tests/tests/suites/crds/good.yaml");
    assert!(!cases.is_empty());
    let namespace = Namespace::new("good");
    for Good { name, spec, stored } in cases {
        namespace.apply(&policy(&name, &spec)).succeeded().unwrap();
        assert_eq!(namespace.get(&format!("dop/{name}"))["spec"], stored, "{name}");
    }
}

#[test]
fn the_bundles_are_stored_as_printed() {
    let namespace = Namespace::new("bundles");
    for bundle in ["baseline", "restricted", "permissive"] {
        let print = ["bundle", "apply", bundle, "--policy-name", bundle, "-n", &namespace.0];
        let yaml = policyctl(&BENCH.testbed, &print).succeeded().unwrap();
        namespace.apply(&yaml).succeeded().unwrap();
        let printed: Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(namespace.get(&format!("dop/{bundle}"))["spec"], printed["spec"], "{bundle}");
    }
}

#[test]
fn only_the_subresource_changes_a_status() {
    let namespace = Namespace::new("status");
    let apply = |latest: bool| {
        let spec = format!("{{forbidLatestTag: {latest}}}\nstatus: {{healthScore: 3}}");
        namespace.apply(&policy("policy", &spec)).succeeded().unwrap();
        let policy = namespace.get("dop/policy");
        (policy["metadata"]["generation"].clone(), policy["status"].clone())
    };
    assert_eq!(apply(true), (json!(1), Value::Null));

    let status = json!({ "healthScore": 72, "classification": "Stable", "observedGeneration": 1 });
    // What else it brings is dropped.
    let patch = json!({ "status": status, "spec": { "forbidLatestTag": false } });
    namespace.patch_status("policy", &patch);
    let policy = namespace.get("dop/policy");
    assert_eq!(policy["status"], status);
    assert_eq!(policy["metadata"]["generation"], 1);
    assert_eq!(policy["spec"]["forbidLatestTag"], true);

    assert_eq!(apply(false), (json!(2), status));
}

#[test]
fn an_audit_result_never_changes() {
    let namespace = Namespace::new("audit");
    let stored = manifest("PolicyAuditResult", "verdict", &verdict().to_string());
    namespace.apply(&stored).succeeded().unwrap();
    let before = namespace.get("par/verdict");
    let patch = |patch: Value| {
        let patch = format!("--patch={patch}");
        namespace.kubectl(&["patch", "par", "verdict", "--type=merge", &patch])
    };
    for change in [
        json!({ "healthScore": 73 }),
        json!({ "clusterName": "east" }),
        json!({ "truncated": true }),
        json!({ "violations": [] }),
    ] {
        let run = patch(json!({ "spec": change }));
        assert_eq!(run.code, Some(1), "{change}");
        // Servers before 1.36 put the value's type between the two.
        for part in ["spec: Invalid value: ", "an audit result cannot be changed"] {
            assert!(run.stderr.contains(part), "{change}: {}", run.stderr);
        }
    }
    assert_eq!(namespace.get("par/verdict"), before);
    // Only its spec is the verdict; and it can be deleted.
    patch(json!({ "metadata": { "labels": { "kept": "yes" } } })).succeeded().unwrap();
    namespace.kubectl(&["delete", "par", "verdict"]).succeeded().unwrap();
}

#[test]
fn an_audit_result_keeps_to_its_limits() {
    let namespace = Namespace::new("limits");
    let text = |length: usize| Value::from("x".repeat(length));
    let findings = |count: usize| Value::from(vec![verdict()["violations"][0].clone(); count]);
    let too_long = "Too long: may not be more than";
    let severities = "supported values: \"critical\", \"high\", \"medium\", \"low\"";
    let classes = "supported values: \"Healthy\", \"Stable\", \"Degraded\", \"Critical\"";
    // A field of the spec, a value that it may not have, and what the API server says of it.
    let cases = [
        ("/healthScore", json!(-1), "should be greater than or equal to 0"),
        ("/healthScore", json!(101), "should be less than or equal to 100"),
        ("/totalPods", json!(-1), "should be greater than or equal to 0"),
        ("/totalViolations", json!(-1), "should be greater than or equal to 0"),
        ("/classification", json!("stable"), classes),
        ("/timestamp", json!("2020-02-02"), "must be of type date-time: \"2020-02-02\""),
        ("/truncated", json!("yes"), "must be of type boolean: \"string\""),
        ("/policyName", json!(""), "should be at least 1 chars long"),
        ("/policyName", text(274), &format!("{too_long} 273 bytes")),
        ("/clusterName", text(254), &format!("{too_long} 253 bytes")),
        ("/violations", findings(101), "Too many: 101: must have at most 100 items"),
        ("/violations/0/severity", json!("urgent"), severities),
        ("/violations/0/namespace", text(64), &format!("{too_long} 63 bytes")),
        ("/violations/0/podName", text(254), &format!("{too_long} 253 bytes")),
        ("/violations/0/containerName", text(254), &format!("{too_long} 253 bytes")),
        ("/violations/0/violationType", text(65), &format!("{too_long} 64 bytes")),
        ("/violations/0/message", text(1025), &format!("{too_long} 1024 bytes")),
        ("/policyName", Value::Null, "Required value"),
        ("/timestamp", Value::Null, "Required value"),
        ("/healthScore", Value::Null, "Required value"),
        ("/classification", Value::Null, "Required value"),
        ("/totalPods", Value::Null, "Required value"),
        ("/totalViolations", Value::Null, "Required value"),
        ("/violations/0/podName", Value::Null, "Required value"),
        ("/violations/0/violationType", Value::Null, "Required value"),
        ("/violations/0/severity", Value::Null, "Required value"),
        ("/violations/0/message", Value::Null, "Required value"),
    ];
    let apply = |changes: &[(&str, Value)]| {
        let mut spec = verdict();
        for (path, value) in changes {
            let (object, field) = path.rsplit_once('/').unwrap();
            spec.pointer_mut(object).unwrap()[field] = value.clone();
        }
        namespace.apply(&manifest("PolicyAuditResult", "limits", &spec.to_string()))
    };
    for (path, value, sentence) in cases {
        let run = apply(&[(path, value)]);
        let field = format!("spec{}: ", path.replace("/0", "[0]").replace('/', "."));
        assert_eq!(run.code, Some(1), "{path}");
        let line = run.stderr.lines().find(|line| line.contains(&field)).unwrap_or_default();
        assert!(line.contains(sentence), "{path}: {}", run.stderr);
    }
    assert_eq!(namespace.kubectl(&["get", "par", "--output=name"]).succeeded().unwrap(), "");
    apply(&[
        ("/healthScore", json!(0)),
        ("/totalPods", json!(0)),
        ("/totalViolations", json!(i64::MAX)),
        ("/policyName", text(273)),
        ("/clusterName", text(253)),
        ("/violations/0/namespace", text(63)),
        ("/violations/0/podName", text(253)),
        ("/violations/0/containerName", text(253)),
        ("/violations/0/violationType", text(64)),
        ("/violations/0/message", text(1024)),
        ("/truncated", json!(true)),
    ])
    .succeeded()
    .unwrap();
}
