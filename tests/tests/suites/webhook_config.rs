//! `policyctl webhook install-config` on a real API server: what it stores, and which requests
//! the API server then has for the webhook. Nobody serves here, so no call may stop anything.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

mod calls;
mod requests;

use e2e::{Metrics, Parts, Run, Testbed};
use serde_json::Value;

use crate::cli;

const NAME: &str = "kube-devops-policy-webhook";
const WEBHOOK: &str = "validate.devops.stochastic.io";

/// The command with the authority of the testbed, which is as good as any.
fn arguments<'a>(testbed: &'a Testbed, more: &[&'a str]) -> Vec<&'a str> {
    let authority = testbed.certificate_authority().to_str().unwrap();
    [&["webhook", "install-config", "--ca-bundle-path", authority], more].concat()
}

fn install(testbed: &Testbed, more: &[&str]) -> String {
    cli::expect(testbed, 0, &arguments(testbed, more), "")
}

/// The configuration as the API server has it; nothing where there is none.
fn stored(testbed: &Testbed) -> Option<Value> {
    let get = ["get", "validatingwebhookconfigurations", NAME, "-o", "json", "--ignore-not-found"];
    let text = testbed.kubectl(&get).unwrap().succeeded().unwrap();
    (!text.is_empty()).then(|| serde_json::from_str(&text).unwrap())
}

fn version(testbed: &Testbed) -> String {
    stored(testbed).unwrap()["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

/// What the API server counts of itself.
fn metrics(testbed: &Testbed) -> Metrics {
    let page = testbed.kubectl(&["get", "--raw=/metrics"]).unwrap().succeeded().unwrap();
    Metrics::parse(&page).unwrap()
}

/// The sum of a metric over the series of the webhook.
fn of_webhook(metrics: &Metrics, name: &str) -> f64 {
    let is_ours = |label: Option<&str>| label == Some(WEBHOOK);
    let series = metrics.iter().filter(|(series, _)| series.name == name);
    series.filter(|(series, _)| is_ours(series.label("name"))).map(|(_, value)| value).sum()
}

#[test]
fn the_configuration_is_stored_as_it_is_printed_and_only_where_it_changed() {
    let testbed = &Testbed::start(&Parts::new("webhook-config")).unwrap();
    let line = |what: &str| format!("{what:<9}  {NAME}\n");
    assert_eq!(install(testbed, &["--dry-run"]), line("would be created"));
    assert_eq!(stored(testbed), None);
    assert_eq!(install(testbed, &[]), line("created"));
    let first = version(testbed);
    for arguments in [&["--dry-run"][..], &[]] {
        assert_eq!(install(testbed, arguments), line("unchanged"));
        assert_eq!(version(testbed), first);
    }
    let sandbox = ["--exclude-namespace", "sandbox"];
    assert_eq!(
        install(testbed, &[&sandbox[..], &["--dry-run"]].concat()),
        line("would be changed")
    );
    assert_eq!(version(testbed), first);
    assert_eq!(install(testbed, &sandbox), line("changed"));

    let printed = install(testbed, &[&sandbox[..], &["-o", "yaml"]].concat());
    let expected: Value = serde_saphyr::from_str(&printed).unwrap();
    let found = stored(testbed).unwrap();
    let [webhook] = found["webhooks"].as_array().unwrap().as_slice() else { panic!("{found}") };
    let expected = &expected["webhooks"][0];
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&webhook[field], value, "{field}");
    }
    // The API server's own default is all that it added.
    assert_eq!(webhook["objectSelector"], serde_json::json!({}));
    let fields = |webhook: &Value| webhook.as_object().unwrap().len();
    assert_eq!(fields(webhook), fields(expected) + 1);
    assert_eq!(webhook["failurePolicy"], "Ignore");
    assert_eq!(webhook["clientConfig"]["service"]["port"], 443);
    assert_eq!(found["metadata"]["labels"]["app.kubernetes.io/name"], "policy-webhook");

    // The same by kubectl, which owns the fields then as well.
    let apply = ["apply", "-f", "-"];
    testbed.kubectl(&["delete", "validatingwebhookconfigurations", NAME]).unwrap();
    testbed.kubectl_stdin(&apply, &printed).unwrap().succeeded().unwrap();
    assert_eq!(install(testbed, &sandbox), line("unchanged"));
}

#[test]
fn what_somebody_else_set_is_a_conflict_and_a_bad_authority_never_gets_there() {
    let testbed = &Testbed::start(&Parts::new("webhook-conflict")).unwrap();
    install(testbed, &[]);
    let patch = r#"[{"op":"replace","path":"/webhooks/0/timeoutSeconds","value":9}]"#;
    let patch = ["patch", "validatingwebhookconfigurations", NAME, "--type=json", "-p", patch];
    testbed.kubectl(&patch).unwrap().succeeded().unwrap();
    let run = cli::run(testbed.kubeconfig(), &arguments(testbed, &[]), "");
    assert_eq!(run.code, Some(3), "{run:?}");
    for part in ["kubectl-patch", "timeoutSeconds", "--force-conflicts"] {
        assert!(run.stderr.contains(part), "{part} in {}", run.stderr);
    }
    let done = install(testbed, &["--force-conflicts"]);
    assert_eq!(done, format!("changed    {NAME}\n"));
    assert_eq!(stored(testbed).unwrap()["webhooks"][0]["timeoutSeconds"], 5);

    let before = version(testbed);
    let key = testbed.folder().join("server-key.pem");
    let with_key = ["webhook", "install-config", "--ca-bundle-path", key.to_str().unwrap()];
    let Run { code, stderr, .. } = cli::run(testbed.kubeconfig(), &with_key, "");
    assert!(code == Some(2) && stderr.contains("private key"), "{stderr}");
    assert_eq!(version(testbed), before);
}

#[test]
fn pods_are_made_although_nobody_serves() {
    let testbed = &Testbed::start(&Parts::new("webhook-absent")).unwrap();
    let shop = testbed.namespace("shop").unwrap();
    install(testbed, &[]);
    let fail_opens =
        || of_webhook(&metrics(testbed), "apiserver_admission_webhook_fail_open_count");
    let run = |name: &str| ["run", name, "--image=nginx", "-n", &shop].map(str::to_owned);
    // The API server learns of the configuration a moment later.
    let mut tried = 0;
    testbed
        .wait_for("a call that failed", std::time::Duration::from_secs(60), || {
            tried += 1;
            let run = run(&format!("web-{tried}"));
            testbed.kubectl(&run.each_ref().map(String::as_str))?.succeeded()?;
            Ok(fail_opens() > 0.0)
        })
        .unwrap();
    let pods = ["get", "pods", "-n", &shop, "-o", "name"];
    let pods = testbed.kubectl(&pods).unwrap().succeeded().unwrap();
    assert_eq!(pods.lines().count(), tried);
}
