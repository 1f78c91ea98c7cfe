//! How clusters differ from one of them.

use serde_json::{Value, json};

use super::policies::{pair, pair_with};
use super::trio::{SURELY, join, report, row, variant};
use crate::cli;
use crate::policies::policy;

#[test]
fn differences_from_a_reference_are_named() {
    let [left, right] = pair();
    let dead = variant(left, "lost", "https://127.0.0.1:1");
    let kubeconfig = pair_with("reference", &[&dead]);
    let file = |limit| policy("reference", "a", &format!("{{maxRestartCount: {limit}}}"));
    cli::expect(left, 0, &["import", "-"], &file(3));
    cli::expect(right, 0, &["import", "-"], &file(4));
    cli::expect(left, 0, &["import", "-"], &policy("reference", "b", "{forbidLatestTag: true}"));
    let authority = left.certificate_authority().to_str().unwrap();
    let install = ["webhook", "install-config", "--ca-bundle-path", authority];
    cli::expect(left, 0, &install, "");
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "policy-webhook", "namespace": "kube-devops",
            "labels": { "app.kubernetes.io/part-of": "kube-devops" } },
        "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": {
            "metadata": { "labels": { "a": "b" } },
            "spec": { "containers": [{ "name": "main", "image": "r.example.com/webhook:0.1.0" }] },
        } },
    });
    right.kubectl(&["create", "namespace", "kube-devops"]).unwrap().succeeded().unwrap();
    right.apply(&deployment.to_string()).unwrap();

    let arguments = ["--contexts", "right,lost", "--reference", "left"];
    let (found, run) = report(&kubeconfig, 3, &arguments);
    assert_eq!(found["reference"], "left");
    let differences = row(&found, "right")["comparison"]["differences"].as_array().unwrap();
    let difference = |name: &str| {
        let found = differences.iter().find(|found| found["name"] == name);
        found.map(|found| [found["state"].clone(), found["detail"].clone()])
    };
    let diff = "--- left\n+++ right\n@@ -2 +2 @@\n-maxRestartCount: 3\n+maxRestartCount: 4\n";
    let webhook = "ValidatingWebhookConfiguration/kube-devops-policy-webhook";
    assert_eq!(difference("reference/a"), Some([json!("different"), json!(diff)]));
    assert_eq!(difference("reference/b"), Some([json!("onlyInReference"), json!("")]));
    assert_eq!(difference(webhook), Some([json!("onlyInReference"), json!("")]));
    let image = [json!("onlyHere"), json!("r.example.com/webhook:0.1.0")];
    assert_eq!(difference("policy-webhook/main"), Some(image));
    assert_eq!(difference("Kubernetes"), None);
    assert_eq!(row(&found, "lost")["comparison"], Value::Null);
    assert_eq!(row(&found, "left")["comparison"], Value::Null);
    assert!(run.stderr.starts_with("error: lost: "), "{}", run.stderr);

    let table = ["multi-cluster", "analyze", "--contexts", "right", "--reference", "left"];
    let run = cli::run(&kubeconfig, &table, "");
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""));
    for text in [
        "\nright compared with left: ",
        "\n  policy reference/b: missing here\n",
        "\n  policy reference/a: different\n    -maxRestartCount: 3\n    +maxRestartCount: 4\n",
        "\n  image policy-webhook/main: only here, r.example.com/webhook:0.1.0\n",
    ] {
        assert!(run.stdout.contains(text), "{text:?} is not in\n{}", run.stdout);
    }
    let same = ["--contexts", "left,left-again", "--reference", "left"];
    let again = variant(left, "left-again", &left.server_url().replace("127.0.0.1", "localhost"));
    let both = join(&[left.kubeconfig(), &again]);
    // Other tests change the policies of this cluster, perhaps between the two readings.
    let mut found = Value::Null;
    left.wait_for("both to be read in the same state", SURELY, || {
        let analyze = [&["multi-cluster", "analyze", "-o", "json"][..], &same].concat();
        let run = cli::run(&both, &analyze, "");
        found = serde_json::from_str(&run.stdout)?;
        Ok(run.code == Some(0))
    })
    .unwrap();
    let nothing = json!({ "differences": [], "notCompared": [] });
    assert_eq!(row(&found, "left-again")["comparison"], nothing);
}
