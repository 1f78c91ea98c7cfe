//! Three clusters, what is wrong in them, and how they are asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use e2e::{Parts, Run, Testbed};
use serde_json::{Value, json};

use crate::cli;

pub(super) const SURELY: Duration = Duration::from_secs(60);

/// Cluster, namespace, name, and what becomes of the pod.
const PODS: &str = "
    east  default     a bare
    east  default     b bare
    east  default     c bare
    east  default     d clean
    west  default     a bare
    west  default     b restarts=7
    north shop        a bare
    north shop        b clean
    north shop        c ended
    north vault       a restarts=4
    north lab         a pending
    north kube-system a bare
";

/// What the pods of each cluster come to, counted by hand: all; those without a finding; those
/// that lack everything; restarts over the limit, five at most; the score.
pub(super) const EAST: Counts = Counts(4, 1, 3, &[], 93);
pub(super) const WEST: Counts = Counts(2, 0, 1, &[5], 80);
pub(super) const NORTH: Counts = Counts(4, 2, 1, &[4], 92);
pub(super) const SHOP: Counts = Counts(2, 1, 1, &[], 95);
pub(super) const ALL: Counts = Counts(10, 3, 5, &[5, 4], 90);
pub(super) const NONE: Counts = Counts(0, 0, 0, &[], 100);

pub(super) struct Counts(u64, u64, u64, &'static [u64], u64);

impl Counts {
    /// Compares with a summary of the default profile, the score also with its formula.
    pub(super) fn assert(&self, summary: &Value) {
        let Self(pods, compliant, bare, restarts, score) = self;
        let (findings, severity) = (restarts.len() as u64, restarts.iter().sum::<u64>());
        let points = (5 + 3 + 2) * bare + 6 * severity;
        assert_eq!(*score, 100 - points.checked_div(*pods).unwrap_or(0).min(100));
        let numbers = [
            ("pods", *pods),
            ("compliantPods", *compliant),
            ("score", *score),
            ("restartSeverity", severity),
            ("totalViolations", 4 * bare + findings),
        ];
        for (field, number) in numbers {
            assert_eq!(summary[field], number, "{field} of {summary:#}");
        }
        let by_check = json!({
            "latest-tag": bare, "missing-liveness": bare, "missing-readiness": bare,
            "missing-resources": bare, "high-restarts": findings, "pending": 0, "not-ready": 0,
        });
        assert_eq!(summary["violationsByCheck"], by_check);
    }
}

/// East, west and north. Nobody changes them.
pub(super) fn trio() -> &'static [Testbed; 3] {
    static TRIO: LazyLock<[Testbed; 3]> = LazyLock::new(|| {
        let started = ["east", "west", "north"].map(|name| {
            thread::spawn(move || {
                let testbed = Testbed::start(&Parts::new(name).with_nodes(1)).unwrap();
                fill(&testbed);
                testbed
            })
        });
        started.map(|testbed| testbed.join().unwrap())
    });
    &TRIO
}

fn fill(testbed: &Testbed) {
    let (mut objects, mut expected) = (Vec::new(), Vec::new());
    for line in PODS.lines().filter(|line| line.trim().starts_with(testbed.name())) {
        let [_, namespace, name, fate] =
            line.split_whitespace().collect::<Vec<_>>().try_into().unwrap();
        let restarts = fate.strip_prefix("restarts=");
        let (annotation, becomes) = match (fate, restarts) {
            (_, Some(restarts)) => (json!({ "testbed/restarts": restarts }), "Running"),
            ("pending", _) => (json!({ "testbed/phase": "Pending" }), "Pending"),
            ("ended", _) => (json!({ "testbed/phase": "Succeeded" }), "Succeeded"),
            _ => (json!({}), "Running"),
        };
        let restarts = if fate == "pending" { "" } else { restarts.unwrap_or("0") };
        expected.push(format!("{namespace}/{name}={becomes}{restarts}"));
        let probe = json!({ "tcpSocket": { "port": 80 } });
        let size = json!({ "cpu": "1m", "memory": "1Mi" });
        let container = match fate {
            "bare" | "ended" => json!({ "name": "main", "image": "nginx" }),
            _ => json!({
                "name": "main", "image": "nginx:1.27", "livenessProbe": probe,
                "readinessProbe": probe, "resources": { "requests": size, "limits": size },
            }),
        };
        let metadata = json!({ "name": namespace });
        objects.push(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }));
        objects.push(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": namespace, "annotations": annotation },
            "spec": {
                "nodeName": "node-0", "containers": [container],
                "restartPolicy": if fate == "ended" { "Never" } else { "Always" },
            },
        }));
    }
    testbed
        .apply(&json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string())
        .unwrap();
    expected.sort();
    let status = "{.status.phase}{.status.containerStatuses[0].restartCount}";
    let output = format!(
        "-o=jsonpath={{range .items[*]}}{{.metadata.namespace}}/{{.metadata.name}}={status} {{end}}"
    );
    let settled = testbed.wait_for("the pods to settle", SURELY, || {
        let pods = testbed.kubectl(&["get", "pods", "-A", &output])?.succeeded()?;
        let mut pods: Vec<&str> = pods.split_whitespace().collect();
        pods.sort_unstable();
        Ok(pods == expected)
    });
    settled.unwrap();
}

/// One value for KUBECONFIG: the first file's context is the current one.
pub(super) fn join(files: &[&Path]) -> PathBuf {
    std::env::join_paths(files).unwrap().into()
}

/// The trio's files, with more of them at the end.
pub(super) fn trio_and(more: &[&Path]) -> PathBuf {
    join(&[&trio().each_ref().map(Testbed::kubeconfig)[..], more].concat())
}

/// A kubeconfig like the testbed's own, but for the name of its context and for its server.
pub(super) fn variant(testbed: &Testbed, name: &str, server: &str) -> PathBuf {
    variant_of(testbed.kubeconfig(), testbed, name, server)
}

/// The same of another kubeconfig.
pub(super) fn variant_of(
    kubeconfig: &Path,
    testbed: &Testbed,
    name: &str,
    server: &str,
) -> PathBuf {
    let text = fs::read_to_string(kubeconfig).unwrap();
    let mut config: Value = serde_saphyr::from_str(&text).unwrap();
    for list in ["contexts", "clusters"] {
        config[list][0]["name"] = name.into();
    }
    config["contexts"][0]["context"]["cluster"] = name.into();
    config["clusters"][0]["cluster"]["server"] = server.into();
    let path = testbed.folder().join(format!("{name}.kubeconfig"));
    fs::write(&path, config.to_string()).unwrap();
    path
}

/// A report as JSON, which has to fit its schema, with the run that gave it.
pub(super) fn report(kubeconfig: &Path, code: i32, arguments: &[&str]) -> (Value, Run) {
    static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/clusters.schema.json");
        let schema = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        jsonschema::validator_for(&schema).unwrap()
    });
    let arguments = [&["multi-cluster", "analyze", "-o", "json"][..], arguments].concat();
    let run = cli::run(kubeconfig, &arguments, "");
    assert_eq!(run.code, Some(code), "{arguments:?}\n{}\n{}", run.stdout, run.stderr);
    let report = serde_json::from_str(&run.stdout).unwrap();
    let errors: Vec<String> = SCHEMA.iter_errors(&report).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    (report, run)
}

/// Context and state of each row.
pub(super) fn states(report: &Value) -> Vec<String> {
    let rows = report["clusters"].as_array().unwrap().iter();
    rows.map(|row| format!("{} {}", row["context"], row["state"]).replace('"', "")).collect()
}

pub(super) fn row<'a>(report: &'a Value, context: &str) -> &'a Value {
    let mut rows = report["clusters"].as_array().unwrap().iter();
    rows.find(|row| row["context"] == context).unwrap()
}

/// All three are read whole, whatever became of others.
pub(super) fn assert_trio(report: &Value) {
    for (context, counts) in [("east", EAST), ("west", WEST), ("north", NORTH)] {
        assert_eq!(row(report, context)["state"], "complete");
        counts.assert(&row(report, context)["summary"]);
    }
}

/// That nothing of it was read, and why.
pub(super) fn assert_unread(report: &Value, context: &str, why: &str) {
    let row = row(report, context);
    assert_eq!((row["state"].as_str(), &row["summary"]), (Some("unread"), &Value::Null));
    let reason = row["coverage"]["failed"][0]["reason"].as_str().unwrap();
    assert!(reason.contains(why), "{context}: {reason}");
}
