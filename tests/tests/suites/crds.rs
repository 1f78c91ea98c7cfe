//! The custom resources on a real API server: installed, explained, listed, judged, upgraded.
//! A control plane of its own, as other suites must not see the definitions change.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

mod rules;
mod upgrade;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use e2e::{Parts, Run, Testbed};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
const KINDS: [&str; 3] = ["devopspolicies", "clusterdevopspolicies", "policyauditresults"];
const GROUP: &str = "devops.stochastic.io";

/// Without nodes and controllers; the definitions were installed three times.
struct Bench {
    testbed: Testbed,
    installs: [String; 3],
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let testbed = Testbed::start(&Parts::new("crds")).unwrap();
    let installs = [(); 3].map(|()| policyctl(&testbed, &["crd", "install"]).succeeded().unwrap());
    // The API server publishes its documentation of new kinds a moment later.
    testbed
        .wait_for("the documentation of the kinds", SOON, || {
            let explained = KINDS.map(|kind| testbed.kubectl(&["explain", kind]));
            Ok(explained.into_iter().all(|run| run.is_ok_and(|run| run.code == Some(0))))
        })
        .unwrap();
    Bench { testbed, installs }
});

fn policyctl(testbed: &Testbed, arguments: &[&str]) -> Run {
    let mut command = Command::new(e2e::policyctl().unwrap());
    command.args(arguments).env("KUBECONFIG", testbed.kubeconfig());
    Run::of(&mut command, None).unwrap()
}

/// A namespace of the shared control plane.
struct Namespace(String);

impl Namespace {
    fn new(prefix: &str) -> Self {
        Self(BENCH.testbed.namespace(prefix).unwrap())
    }

    fn kubectl(&self, arguments: &[&str]) -> Run {
        BENCH.testbed.kubectl(&[&["--namespace", &self.0], arguments].concat()).unwrap()
    }

    fn apply(&self, yaml: &str) -> Run {
        let arguments = ["--namespace", &self.0, "apply", "--filename=-"];
        BENCH.testbed.kubectl_stdin(&arguments, yaml).unwrap()
    }

    fn get(&self, object: &str) -> Value {
        let text = self.kubectl(&["get", object, "--output=json"]).succeeded().unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The cells of a table of kubectl, the column titles first.
    fn table(&self, arguments: &[&str]) -> Vec<Vec<String>> {
        let text = self.kubectl(&[&["get"], arguments].concat()).succeeded().unwrap();
        // Three spaces are between columns, and one may be in a title or a text.
        let cells = |line: &str| {
            line.split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .map(str::to_owned)
                .collect()
        };
        text.lines().map(cells).collect()
    }

    /// Changes a policy through the subresource for its status, as the operator does.
    fn patch_status(&self, policy: &str, patch: &Value) {
        let patch = format!("--patch={patch}");
        let arguments = ["patch", "dop", policy, "--subresource=status", "--type=merge", &patch];
        self.kubectl(&arguments).succeeded().unwrap();
    }
}

fn policy(name: &str, spec: &str) -> String {
    manifest("DevOpsPolicy", name, spec)
}

fn manifest(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: {GROUP}/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// The checkout's root.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read<T: DeserializeOwned>(path: &str) -> T {
    let text = std::fs::read_to_string(repository().join(path)).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// The spec of an audit result.
fn verdict() -> Value {
    json!({
        "policyName": "strict", "timestamp": "2020-02-02T02:02:02Z", "healthScore": 72,
        "classification": "Stable", "totalPods": 4, "totalViolations": 9,
        "violations": [{
            "podName": "web", "violationType": "latest_tag", "severity": "high", "message": "found",
        }],
    })
}

#[test]
fn crd_install_creates_once_and_then_changes_nothing() {
    let said = |word: &str| KINDS.map(|kind| format!("{word:<9}  {kind}.{GROUP}\n")).concat();
    assert_eq!(BENCH.installs, [said("created"), said("unchanged"), said("unchanged")]);
}

#[test]
fn the_served_schemas_are_structural_and_know_every_field() {
    let get = |arguments: &[&str]| -> Value {
        let text = BENCH.testbed.kubectl(&[&["get"], arguments].concat()).unwrap();
        serde_json::from_str(&text.succeeded().unwrap()).unwrap()
    };
    let published = get(&[&format!("--raw=/openapi/v3/apis/{GROUP}/v1")]);
    assert!(!keeps_unknown_fields(&published));
    for kind in KINDS {
        let crd = get(&["crd", &format!("{kind}.{GROUP}"), "--output=json"]);
        let conditions = crd["status"]["conditions"].as_array().unwrap();
        let condition = |name: &str| conditions.iter().find(|condition| condition["type"] == name);
        assert_eq!(condition("Established").unwrap()["status"], "True", "{kind}");
        assert_eq!(condition("NonStructuralSchema"), None, "{kind}");
        assert!(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].is_object(), "{kind}");
        assert!(!keeps_unknown_fields(&crd["spec"]), "{kind}");
    }
}

fn keeps_unknown_fields(schema: &Value) -> bool {
    schema.to_string().contains(r#""x-kubernetes-preserve-unknown-fields":true"#)
}

#[test]
fn kubectl_explains_every_field() {
    let mut explained = 0;
    for kind in KINDS {
        let crd: Value = read(&format!("deploy/crds/{kind}.yaml"));
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            let part_schema = &schema["properties"][part];
            if part_schema.is_object() {
                explained += assert_explained(&format!("{kind}.{part}"), part_schema);
            }
        }
    }
    assert!(explained > 60, "{explained} fields");
}

/// One call explains an object, and in its list of fields each field of it.
fn assert_explained(path: &str, schema: &Value) -> usize {
    let run = BENCH.testbed.kubectl(&["explain", path]).unwrap();
    let text = run.succeeded().unwrap();
    let (head, fields) = text.split_once("\nFIELDS:\n").unwrap();
    let description = head.split_once("\nDESCRIPTION:\n").unwrap().1.trim();
    assert!(!description.is_empty() && description != "<empty>", "{path}: {text}");
    // A field's name is two spaces in, and so is the list of its values; its description is four.
    let mut listed: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in fields.lines() {
        if let Some(words) = line.strip_prefix("    ") {
            listed.last_mut().unwrap().1.extend(words.split_whitespace());
        } else if let Some((name, _)) = line.trim_start().split_once('\t') {
            listed.push((name, Vec::new()));
        }
    }
    let properties = schema["properties"].as_object().unwrap();
    let names: Vec<_> = listed.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, properties.keys().collect::<Vec<_>>(), "{path}");
    let mut explained = listed.len();
    for (name, words) in listed {
        let (path, property) = (format!("{path}.{name}"), &properties[name]);
        let description = property["description"].as_str().unwrap_or_default();
        assert!(!words.is_empty(), "{path} is not explained");
        assert_eq!(words, description.split_whitespace().collect::<Vec<_>>(), "{path}");
        if path.contains("devopspolicies.spec.") {
            assert_names_unit_and_default(&path, description, property);
        }
        let inner = if property["items"].is_object() { &property["items"] } else { property };
        if inner["properties"].is_object() {
            explained += assert_explained(&path, inner);
        }
    }
    explained
}

fn assert_names_unit_and_default(path: &str, description: &str, schema: &Value) {
    let default = match &schema["default"] {
        Value::Null => "Default: ".to_owned(),
        Value::String(text) => format!("Default: {text}."),
        other => format!("Default: {other}."),
    };
    assert!(description.contains(&default) || description.contains("Required."), "{path}");
    let is_number = schema["type"] == "integer" || schema["x-kubernetes-int-or-string"] == true;
    let units = ["Unit: ", "Points for ", "The port ", "The order "];
    assert!(!is_number || units.iter().any(|unit| description.contains(unit)), "{path}");
}

#[test]
fn kubectl_get_shows_the_columns() {
    let namespace = Namespace::new("columns");
    namespace.apply(&policy("strict", "{enforcementMode: enforce}")).succeeded().unwrap();
    let audit = manifest("PolicyAuditResult", "strict-1", &verdict().to_string());
    namespace.apply(&audit).succeeded().unwrap();
    let titles = ["NAME", "MODE", "ADMISSION", "SCORE", "CLASS", "PODS", "VIOLATIONS", "AGE"];
    let [head, row] = namespace.table(&["dop"]).try_into().unwrap();
    assert_eq!(head, titles);
    // Nothing is known yet.
    assert_eq!((row.len(), &row[..2]), (3, &["strict".to_owned(), "enforce".to_owned()][..]));

    let status = json!({
        "healthScore": 72, "classification": "Stable", "podsEvaluated": 4, "totalViolations": 9,
        "lastEvaluated": "2020-02-02T02:02:02Z", "message": "9 findings in 4 pods",
        "conditions": [
            { "type": "Ready", "status": "True", "reason": "Evaluated", "message": "",
                "lastTransitionTime": "2020-02-02T02:02:02Z" },
            { "type": "Admission", "status": "True", "reason": "Denies", "message": "",
                "lastTransitionTime": "2020-02-02T02:02:02Z" },
        ],
    });
    namespace.patch_status("strict", &json!({ "status": status }));
    let [head, row] = namespace.table(&["devopspolicy"]).try_into().unwrap();
    assert_eq!((head.len(), row.len()), (8, 8));
    assert_eq!(head, titles);
    assert_eq!(row[..7], ["strict", "enforce", "Denies", "72", "Stable", "4", "9"]);
    assert_is_an_age(&row[7]);

    let [head, row] = namespace.table(&["dop", "--output=wide"]).try_into().unwrap();
    assert_eq!(head[..8], titles);
    assert_eq!(head[8..], ["LAST EVALUATED", "MESSAGE"]);
    assert_eq!(row[..7], ["strict", "enforce", "Denies", "72", "Stable", "4", "9"]);
    assert_is_an_age(&row[8]);
    assert_eq!(row[9], "9 findings in 4 pods");

    for wide in ["--output=", "--output=wide"] {
        let [head, row] = namespace.table(&["par", wide]).try_into().unwrap();
        assert_eq!(head, ["NAME", "POLICY", "SCORE", "CLASS", "VIOLATIONS", "AGE"]);
        assert_eq!(row[..5], ["strict-1", "strict", "72", "Stable", "9"]);
        assert_is_an_age(&row[5]);
    }
    let all = namespace.kubectl(&["get", "governance", "--output=name"]).succeeded().unwrap();
    let names =
        [format!("devopspolicy.{GROUP}/strict"), format!("policyauditresult.{GROUP}/strict-1")];
    // Cluster policies of other tests are listed too.
    let own = all.lines().filter(|name| !name.starts_with("cluster"));
    assert_eq!(own.collect::<Vec<_>>(), names);
}

#[test]
fn a_cluster_policy_shows_the_columns_of_a_policy() {
    let namespace = Namespace::new("cluster-columns");
    let name = format!("fleet-{}", namespace.0);
    let cluster_policy = manifest("ClusterDevOpsPolicy", &name, "{priority: 7}");
    namespace.apply(&cluster_policy).succeeded().unwrap();
    let [head, row] = namespace.table(&["cdop", &name, "--output=wide"]).try_into().unwrap();
    let titles = ["NAME", "MODE", "ADMISSION", "SCORE", "CLASS", "PODS", "VIOLATIONS", "AGE"];
    assert_eq!(head[..8], titles);
    assert_eq!(head[8..], ["PRIORITY", "LAST EVALUATED", "MESSAGE"]);
    // Of what is known already: name, mode, age and priority.
    assert_eq!((row.len(), &row[..2], row[3].as_str()), (4, &[name, "audit".to_owned()][..], "7"));
}

/// Such as `6y325d`, and not `<unknown>`.
fn assert_is_an_age(text: &str) {
    assert!(text.starts_with(|first: char| first.is_ascii_digit()), "{text}");
}
