//! `policyctl fix --values` on what Helm renders: where a hint says that a value is, it is.

use std::path::Path;

use e2e::{Run, Testbed, shared};
use serde_json::{Value, json};

use crate::cli;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suites/fix/chart");

/// What Helm renders with these values.
fn rendered(testbed: &Testbed, values: &[(String, Value)]) -> String {
    let mut helm = testbed.helm().unwrap();
    helm.args(["template", "live", CHART, "--namespace", "shop"]);
    for (path, value) in values {
        helm.arg("--set-json").arg(format!("{path}={value}"));
    }
    Run::of(&mut helm, None).unwrap().succeeded().unwrap()
}

/// The hints, as subject and text.
fn hints(testbed: &Testbed, manifests: &str) -> Vec<(String, String)> {
    let values = format!("{CHART}/values.yaml");
    let arguments = ["fix", "-f", "-", "-n", "shop", "--bundle", "restricted", "--values", &values];
    let arguments = [&arguments[..], &["-o", "json"]].concat();
    let run = cli::run(testbed.kubeconfig(), &arguments, manifests);
    assert_eq!(run.code, Some(0), "{run:?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["files"], json!([]), "what is rendered is not edited");
    let hints = report["hints"].as_array().unwrap().iter();
    let text = |hint: &Value, name: &str| hint[name].as_str().unwrap().to_owned();
    hints.map(|hint| (text(hint, "subject"), text(hint, "hint"))).collect()
}

#[test]
fn a_hint_names_the_template_and_the_value_that_fills_it_in() {
    let testbed = shared();
    let found = hints(testbed, &rendered(testbed, &[]));
    let place = |(subject, text): &(String, String)| {
        let workload = subject.split(',').next().unwrap();
        let field = text.split(' ').next().unwrap();
        format!("{workload} {field}: {}", text.rsplit_once("): ").unwrap().1)
    };
    let places: Vec<String> = found.iter().map(place).collect();
    let (web, worker) = ("shop/templates/web.yaml", "shop/templates/worker/deployment.yaml");
    let cache = "shop/charts/cache/templates/stateful-set.yaml";
    let none = "names no value for it; set it there";
    let expected = [
        format!("StatefulSet shop/live-cache-master readinessProbe: {cache} {none}"),
        format!("StatefulSet shop/live-cache-master livenessProbe: likely .Values.cache.master.livenessProbe, which {cache} uses"),
        format!("StatefulSet shop/live-cache-master resources: likely .Values.cache.master.resources, which {cache} uses"),
        "CronJob shop/live-shop-nightly-report resources: perhaps .Values.jobs.nightly-report.resources: shop/templates/jobs.yaml uses a value above it, and not itself".to_owned(),
        format!("Deployment shop/live-shop-web readinessProbe: {web} {none}"),
        format!("Deployment shop/live-shop-web livenessProbe: likely .Values.web.livenessProbe, which {web} uses"),
        format!("Deployment shop/live-shop-web resources: likely .Values.web.resources, which {web} uses"),
        format!("Deployment shop/live-shop-background readinessProbe: {worker} {none}"),
        format!("Deployment shop/live-shop-background livenessProbe: {worker} {none}"),
        format!("Deployment shop/live-shop-background resources: likely .Values.worker.resources, which {worker} uses"),
    ];
    let sorted = |mut all: Vec<String>| {
        all.sort();
        all
    };
    assert_eq!(sorted(places.clone()), sorted(expected.to_vec()));

    // Set as the hints say, the values are in what Helm renders.
    let amounts =
        json!({"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}});
    let probe = json!({"tcpSocket": {"port": 8080}});
    let likely = places.iter().filter_map(|place| place.split_once(" .Values."));
    let values: Vec<(String, Value)> = likely
        .map(|(_, path)| path.split([',', ':', ' ']).next().unwrap().to_owned())
        .map(|path| {
            let value = if path.ends_with("resources") { &amounts } else { &probe };
            (path, value.clone())
        })
        .collect();
    assert!(values.len() == 6 && Path::new(CHART).join("Chart.yaml").is_file());
    let left = hints(testbed, &rendered(testbed, &values));
    assert_eq!(left.len(), 4, "{left:?}");
    for (subject, text) in left {
        assert!(text.contains(none), "{subject}: {text}");
    }
}
