//! The Helm chart, with Helm 4 and a real API server.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

mod lifecycle;
mod monitoring;
mod objects;
mod running;
mod values;

use e2e::{Run, Testbed};
use serde_json::{Value, json};

use crate::cli;

const NAMESPACE: &str = "kube-devops";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/kube-devops");

/// `helm VERB kube-devops CHART`, in the namespace of the platform.
pub(crate) fn helm(testbed: &Testbed, verb: &str, arguments: &[&str]) -> Run {
    let mut helm = testbed.helm().unwrap();
    helm.args([verb, "kube-devops", CHART, "--namespace", NAMESPACE]).args(arguments);
    Run::of(&mut helm, None).unwrap()
}

/// The objects of a YAML stream, in its order.
fn parsed(yaml: &str) -> Vec<Value> {
    let documents = yaml.split("\n---\n").map(|text| serde_saphyr::from_str(text).unwrap());
    documents.filter(|object: &Value| !object.is_null()).collect()
}

/// What the chart renders with these options.
fn rendered(testbed: &Testbed, options: &[&str]) -> Vec<Value> {
    let text = helm(testbed, "template", options).succeeded().unwrap();
    parsed(&text)
}

/// The one object of that kind and name.
fn object<'a>(all: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    let found: Vec<&Value> = all.iter().filter(is_it).collect();
    assert_eq!(found.len(), 1, "{kind} {name}");
    found[0]
}

/// The pod template of a Deployment of the platform.
fn template<'a>(all: &'a [Value], component: &str) -> &'a Value {
    &object(all, "Deployment", component)["spec"]["template"]
}

#[test]
fn helm_lints_the_chart_without_a_warning() {
    let testbed = e2e::shared();
    let mut helm = testbed.helm().unwrap();
    helm.args(["lint", "--strict", CHART, "--namespace", NAMESPACE]);
    let found = Run::of(&mut helm, None).unwrap().succeeded().unwrap();
    assert!(!found.contains("[WARNING]") && !found.contains("[ERROR]"), "{found}");
}

#[test]
fn the_default_render_scores_100_under_the_strictest_bundle() {
    let testbed = e2e::shared();
    for options in [&[][..], &["--set", "enforcement.enabled=true,networkPolicy.enabled=true"]] {
        let text = helm(testbed, "template", options).succeeded().unwrap();
        let analyze = ["analyze", "--bundle", "restricted", "-f", "-"];
        let found = cli::json(testbed, &analyze, &text);
        assert_eq!(found["summary"]["score"], 100, "{found}");
        assert_eq!(found["findings"], json!([]));
        // The three components, the Job of the uninstallation and the pod of the test.
        assert_eq!(found["summary"]["pods"], 5, "{found}");
    }
}
