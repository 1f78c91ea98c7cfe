//! The Helm chart, with Helm 4 and a real API server.

use std::collections::BTreeMap;
use std::path::PathBuf;

use e2e::{Run, Testbed, root, shared};
use serde_json::{Value, json};

use crate::cli;

const NAMESPACE: &str = "kube-devops";
/// What Helm's conventions want on every object, and policyctl does not print.
const OF_HELM: [&str; 4] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
];

fn chart() -> PathBuf {
    root().join("charts/kube-devops")
}

fn helm(testbed: &Testbed, arguments: &[&str]) -> Run {
    let mut helm = testbed.helm().unwrap();
    let (verb, arguments) = arguments.split_first().unwrap();
    helm.args([verb, "kube-devops"]).arg(chart()).args(["--namespace", NAMESPACE]).args(arguments);
    Run::of(&mut helm, None).unwrap()
}

/// The objects by kind and name, without what Helm alone adds.
fn objects(testbed: &Testbed, yaml: &str) -> BTreeMap<String, Value> {
    let convert = ["create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-"];
    let found = testbed.kubectl_stdin(&convert, yaml).unwrap().succeeded().unwrap();
    let found: Value = serde_json::from_str(&found).unwrap();
    let each = found["items"].as_array().unwrap().iter().map(|object| {
        let mut object = object.clone();
        for (field, names) in [("labels", &OF_HELM[..]), ("annotations", &["helm.sh/resource-policy"])] {
            if let Some(map) = object["metadata"][field].as_object_mut() {
                map.retain(|name, _| !names.contains(&name.as_str()));
            }
            if object["metadata"][field] == json!({}) {
                object["metadata"].as_object_mut().unwrap().remove(field);
            }
        }
        let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
        (name, object)
    });
    each.collect()
}

#[test]
fn the_chart_renders_what_policyctl_prints() {
    let testbed = shared();
    for (values, flags) in [
        (&[][..], &[][..]),
        (&["--set", "enforcement.enabled=true"], &["--enforcement"]),
        (
            &["--set", "replicaCount=1,pdb.enabled=false,image.tag=v1,image.repository=r.example.com/p"],
            &["--replicas=1", "--image-tag=v1", "--image-repository=r.example.com/p"],
        ),
    ] {
        let rendered = helm(testbed, &[&["template"], values].concat()).succeeded().unwrap();
        assert_eq!(helm(testbed, &[&["template"], values].concat()).stdout, rendered, "twice");
        let printed =
            cli::expect(testbed, 0, &[&["deploy", "generate-all"], flags].concat(), "");
        let [rendered, mut printed] = [rendered, printed].map(|text| objects(testbed, &text));
        // `helm install --create-namespace` makes it.
        assert!(printed.remove("\"Namespace\" \"kube-devops\"").is_some());
        let names = |of: &BTreeMap<String, Value>| of.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&rendered), names(&printed));
        for (name, object) in &printed {
            assert_eq!(&rendered[name], object, "{name}");
        }
    }
}

#[test]
fn values_that_contradict_each_other_fail_with_a_sentence() {
    let testbed = shared();
    for (values, sentence) in [
        ("replicaCount=1", "its disruption budget would block every drain of a node"),
        ("webhook.replicaCount=1", "policy-webhook has 1 replica(s)"),
        ("certificate.source=secret", "set certificate.secretName"),
        ("certificate.source=secret,certificate.secretName=a", "set certificate.caBundle"),
        ("certificate.secretName=a", "are for certificate.source=secret"),
        ("certificate.issuerRef.name=a", "is for certificate.source=cert-manager"),
        ("certificate.source=vault", "'/certificate/source'"),
        ("replicas=3", "'replicas' not allowed"),
        ("replicaCount=two", "got string, want integer"),
        ("watcher.replicas=3", "'replicas' not allowed"),
        ("image.repository=", "'/image/repository'"),
    ] {
        let run = helm(testbed, &["template", "--set", values]);
        assert!(run.code != Some(0) && run.stderr.contains(sentence), "{values}: {}", run.stderr);
    }
    let mut elsewhere = testbed.helm().unwrap();
    elsewhere.args(["template", "kube-devops"]).arg(chart());
    let run = Run::of(&mut elsewhere, None).unwrap();
    assert!(run.stderr.contains("--namespace kube-devops --create-namespace"), "{}", run.stderr);
}
