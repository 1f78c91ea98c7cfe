//! Rounds against a scripted API server.

use k8s_openapi::ByteString;
use policy_runtime::testing::{Script, respond, status_json};
use policy_runtime::tls::CertificateStore;
use serde_json::{Value, json};

use super::*;
use crate::certificate::CertificateRotation;
use crate::config::CertificateConfig;

const CONFIGURATION: &str = "/apis/admissionregistration.k8s.io/v1/\
                             validatingwebhookconfigurations/kube-devops-policy-webhook";
const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/\
                        mutatingwebhookconfigurations/kube-devops-policy-webhook";
const SECRET: &str = "/api/v1/namespaces/kube-devops/secrets/policy-webhook-self-managed";

fn managed(script: &Script) -> (CertificateRotation, CertificateStore) {
    let store = CertificateStore::new();
    let config = CertificateConfig::default();
    (CertificateRotation::new(script.client(), &config, store.clone()), store)
}

fn configuration(bundle: &str) -> String {
    let bundle = ByteString(bundle.as_bytes().to_vec());
    let webhook = json!({
        "name": "validate.devops.stochastic.io",
        "clientConfig": { "caBundle": bundle },
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    });
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": "kube-devops-policy-webhook", "uid": "u", "resourceVersion": "7" },
        "webhooks": [webhook],
    })
    .to_string()
}

/// The answer where the mutating configuration is not installed.
fn absent() -> String {
    status_json(404, "NotFound", "not found")
}

/// The mutating configuration with these bundles.
fn mutating(bundles: [&str; 2]) -> String {
    let names = ["mutate-pods.devops.stochastic.io", "mutate-workloads.devops.stochastic.io"];
    let webhooks = names.into_iter().zip(bundles).map(|(name, bundle)| {
        let bundle = ByteString(bundle.as_bytes().to_vec());
        json!({ "name": name, "clientConfig": { "caBundle": bundle } })
    });
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": "kube-devops-policy-webhook", "uid": "m", "resourceVersion": "9" },
        "webhooks": webhooks.collect::<Vec<_>>(),
    })
    .to_string()
}

fn secret(data: &Data) -> String {
    let mut secret: Value = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": { "name": "policy-webhook-self-managed", "namespace": "kube-devops",
                      "resourceVersion": "3" },
    });
    if !data.is_empty() {
        secret["data"] = json!(data);
    }
    secret.to_string()
}

fn serial(store: &CertificateStore) -> Option<String> {
    store.current().map(|current| current.serial)
}

#[tokio::test]
async fn an_empty_secret_is_filled_then_its_ca_published_then_the_certificate_served() {
    let all = first(Time::now(), 90);
    let script = Script::default()
        .answer(200, configuration(""))
        .answer(404, absent())
        .answer(200, secret(&Data::new()))
        .answer(200, secret(&all))
        .answer(200, configuration(""))
        .answer(404, absent())
        .answer(200, secret(&all))
        .answer(200, configuration(&text(&all, "ca.crt")))
        .answer(200, configuration(&text(&all, "ca.crt")))
        .answer(404, absent())
        .answer(200, secret(&all));
    let (mut managed, store) = managed(&script);
    assert!(!managed.round().await);
    assert_eq!(serial(&store), None, "its CA is not published yet");
    assert!(!managed.round().await);
    assert!(serial(&store).is_some());
    assert!(managed.round().await);
    let apply = format!("{CONFIGURATION}?&force=true&fieldManager=policy-webhook");
    let put = format!("{SECRET}?&fieldManager=policy-webhook");
    let read = [CONFIGURATION, MUTATING, SECRET];
    let expected = [&read[..], &[put.as_str()], &read, &[apply.as_str()], &read].concat();
    assert_eq!(script.calls(), expected);
}

#[tokio::test]
async fn the_old_certificate_is_served_until_the_new_ca_is_published() {
    let [all, other] = [first(Time::now(), 90), first(Time::now(), 90)];
    let published = || configuration(&text(&all, "ca.crt"));
    let forbidden = status_json(403, "Forbidden", "no");
    let script = Script::default()
        .answer(200, published())
        .answer(404, absent())
        .answer(200, secret(&all))
        .answer(200, published())
        .answer(404, absent())
        .answer(200, secret(&other))
        .answer(403, forbidden)
        .answer(200, published())
        .answer(404, absent())
        .answer(200, secret(&other))
        .answer(200, configuration(&text(&other, "ca.crt")));
    let (mut managed, store) = managed(&script);
    assert!(managed.round().await);
    let served = serial(&store);
    assert!(!managed.round().await);
    assert_eq!(serial(&store), served);
    assert!(!managed.failing.0.is_empty());
    assert!(!managed.round().await);
    assert!(serial(&store).is_some() && serial(&store) != served);
    assert!(managed.failing.0.is_empty());
}

#[tokio::test]
async fn a_conflict_is_no_failure() {
    let script = Script::default()
        .answer(200, configuration(""))
        .answer(404, absent())
        .answer(200, secret(&Data::new()))
        .answer(409, status_json(409, "Conflict", "the object has been modified"));
    let (mut managed, store) = managed(&script);
    assert!(!managed.round().await);
    assert_eq!(serial(&store), None);
    assert!(managed.failing.0.is_empty());
}

#[tokio::test]
async fn the_certificate_is_served_on_where_the_secret_is_missing_or_unreadable() {
    let all = first(Time::now(), 90);
    let published = || configuration(&text(&all, "ca.crt"));
    let gone = status_json(404, "NotFound", "secrets not found");
    let key = text(&all, "tls.key");
    let script = Script::default()
        .answer(200, published())
        .answer(404, absent())
        .answer(200, secret(&all))
        .answer(200, published())
        .answer(404, absent())
        .answer(404, gone)
        .answer(200, published())
        .answer(404, absent())
        // Not a Secret, but with a key in it, as a faulty proxy might answer.
        .answer(200, json!({ "data": { "tls.key": [key] } }).to_string())
        .answer(200, published())
        .answer(404, absent())
        .answer(200, secret(&all));
    let (mut managed, store) = managed(&script);
    assert!(managed.round().await);
    let served = serial(&store);
    assert!(served.is_some());
    let mut words = Vec::new();
    for _ in 0..2 {
        assert!(!managed.round().await);
        words.extend(managed.failing.0.values().cloned());
        assert_eq!(serial(&store), served);
    }
    let object = "kube-devops/policy-webhook-self-managed";
    assert_eq!(
        words,
        [
            format!(
                "cannot read the Secret {object}: secrets not found; apply the installation again"
            ),
            format!("cannot read the Secret {object}: the answer cannot be decoded"),
        ]
    );
    assert!(managed.round().await);
    assert!(managed.failing.0.is_empty());
}

#[tokio::test]
async fn without_a_configuration_it_serves_and_names_what_is_missing() {
    let all = first(Time::now(), 90);
    let other = configuration("").replace("validate.devops", "another");
    let script = Script::default()
        .answer(404, status_json(404, "NotFound", "not found"))
        .answer(404, absent())
        .answer(200, secret(&all))
        .answer(200, other)
        .answer(404, absent())
        .answer(200, secret(&all));
    let (mut managed, store) = managed(&script);
    assert!(!managed.round().await);
    assert!(serial(&store).is_some());
    let errors =
        |managed: &CertificateRotation| managed.failing.0.values().cloned().collect::<Vec<_>>();
    let object = "cannot read the ValidatingWebhookConfiguration kube-devops-policy-webhook";
    let again = "`policyctl webhook install-config` creates it";
    assert_eq!(errors(&managed), [format!("{object}: not found; {again}")]);
    assert!(!managed.round().await);
    assert_eq!(
        errors(&managed),
        [format!("{object}: it has no webhook validate.devops.stochastic.io; {again}")]
    );
    assert_eq!(script.remaining(), 0);
}

#[tokio::test]
async fn a_missing_permission_is_reported_in_the_words_of_the_server() {
    let words = "secrets \"policy-webhook-self-managed\" is forbidden";
    let script = Script::default()
        .answer(200, configuration(""))
        .answer(404, absent())
        .answer_with(move |_| respond(403, status_json(403, "Forbidden", words)));
    let (mut managed, _) = managed(&script);
    assert!(!managed.round().await);
    let errors: Vec<_> = managed.failing.0.values().cloned().collect();
    assert!(errors[0].ends_with(words), "{errors:?}");
}

#[tokio::test]
async fn the_mutating_configuration_gets_the_same_ca_bundle() {
    let all = first(Time::now(), 90);
    let ca = text(&all, "ca.crt");
    for (before, writes) in [(["", ""], true), ([&ca, ""], true), ([&ca, &ca], false)] {
        let mut script = Script::default()
            .answer(200, configuration(&ca))
            .answer(200, mutating(before))
            .answer(200, secret(&all));
        if writes {
            script = script.answer(200, mutating([&ca, &ca]));
        }
        let (mut managed, store) = managed(&script);
        assert_eq!(managed.round().await, !writes, "{before:?}");
        assert!(serial(&store).is_some() && managed.failing.0.is_empty());
        let apply = format!("{MUTATING}?&force=true&fieldManager=policy-webhook");
        let mut expected = vec![CONFIGURATION, MUTATING, SECRET];
        expected.extend(writes.then_some(apply.as_str()));
        assert_eq!(script.calls(), expected);
    }
}

#[tokio::test]
async fn both_configurations_are_written_and_a_failure_of_one_is_named() {
    let all = first(Time::now(), 90);
    let ca = text(&all, "ca.crt");
    let script = Script::default()
        .answer(200, configuration(""))
        .answer(200, mutating(["", ""]))
        .answer(200, secret(&all))
        .answer(200, configuration(&ca))
        .answer(403, status_json(403, "Forbidden", "no"))
        .answer(200, configuration(&ca))
        .answer(403, status_json(403, "Forbidden", "never"))
        .answer(200, secret(&all));
    let (mut managed, store) = managed(&script);
    assert!(!managed.round().await);
    assert!(serial(&store).is_some(), "there is no other one to serve");
    let errors =
        |managed: &CertificateRotation| managed.failing.0.values().cloned().collect::<Vec<_>>();
    let object = "MutatingWebhookConfiguration kube-devops-policy-webhook";
    assert_eq!(errors(&managed), [format!("cannot write caBundle of the {object}: no")]);
    assert!(!managed.round().await, "what cannot be read is not known to be published");
    assert!(errors(&managed).contains(&format!("cannot read the {object}: never")));
    assert_eq!(script.remaining(), 0);
}
