//! `policyctl webhook install-config` on a real API server: what it stores, and which requests
//! then call the webhook. No webhook runs here, and no call may stop anything.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

mod calls;
mod requests;

use e2e::{Metrics, Parts, Run, Testbed};
use serde_json::Value;

use crate::{cli, policies};

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
fn check_says_whether_the_webhook_is_installed_and_answers() {
    let testbed = &Testbed::start(&Parts::new("webhook-silent")).unwrap();
    let shop = testbed.namespace("shop").unwrap();
    let webhook = |message: &str, expected: Value| {
        let found = cli::json(testbed, &["check"], "")["webhook"].clone();
        let text = found["message"].as_str().unwrap().to_owned();
        assert!(text.contains(message), "{message} in {text}");
        let fields = ["isInstalled", "hasCaBundle", "answers"].map(|field| found[field].clone());
        assert_eq!(Value::from(fields.to_vec()), expected, "{text}");
    };
    webhook("not installed", serde_json::json!([false, false, null]));
    cli::expect(testbed, 0, &["crd", "install"], "");
    let install = ["webhook", "install-config", "--url", "https://127.0.0.1:1"];
    cli::expect(testbed, 0, &install, "");
    let no_policy = "not tested: no policy denies or warns of a bare pod";
    webhook(no_policy, serde_json::json!([true, false, null]));
    let strict = "{forbidLatestTag: true, severityOverrides: {latestTag: high}}";
    testbed.apply(&policies::policy(&shop, "strict", strict)).unwrap();
    let silent = format!("a pod that violates policy {shop}/strict was let in");
    webhook(&silent, serde_json::json!([true, false, false]));
    cli::expect(
        testbed,
        0,
        &[
            "webhook",
            "install-config",
            "--url",
            "https://127.0.0.1:1",
            "--ca-bundle-path",
            testbed.certificate_authority().to_str().unwrap(),
        ],
        "",
    );
    webhook("caBundle valid until ", serde_json::json!([true, true, false]));
    let reader = "[{apiGroups: [''], resources: [pods], verbs: [list]}, \
        {apiGroups: [devops.stochastic.io], resources: [devopspolicies], verbs: [list]}, \
        {apiGroups: [admissionregistration.k8s.io], \
        resources: [validatingwebhookconfigurations], verbs: [get]}]";
    let reader = testbed.service_account(&shop, "reader", reader).unwrap();
    let run = cli::run(&reader, &["check"], "");
    let reason = format!("not tested: you may not create pods in namespace {shop}");
    assert!(run.code == Some(0) && run.stdout.contains(&reason), "{run:?}");
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
