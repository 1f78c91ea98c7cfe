//! The webhook with nothing but the installed objects: it issues its certificate, publishes the
//! caBundle, and recovers when somebody changes either.

mod rotation;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use e2e::{Parts, Service};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Secret;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::de::DeserializeOwned;

use super::continuity::expiry;
use super::{AdmissionTestbed, SURELY, program};
use crate::{cli, metrics_page};

const NAMESPACE: &str = "kube-devops";
const SECRET: &str = "secret/policy-webhook-self-managed";
const CONFIGURATION: &str = "validatingwebhookconfiguration/kube-devops-policy-webhook";
const MUTATING: &str = "mutatingwebhookconfiguration/kube-devops-policy-webhook";
const DENIAL: &str = "denied by policy";

/// A control plane with what is installed, and nobody's certificates.
pub(super) struct SelfManaged {
    pub(super) admission: AdmissionTestbed,
}

impl SelfManaged {
    pub(super) fn new(name: &str) -> Self {
        Self { admission: AdmissionTestbed::new(&Parts::new(name)) }
    }

    /// A replica that is ready. Of its certificate nothing is known before.
    pub(super) fn start(&self, name: &str) -> Service<'_> {
        self.start_with(name, "127.0.0.1")
    }

    /// The same, with these names in its configuration.
    fn start_with(&self, name: &str, names: &str) -> Service<'_> {
        let launch =
            self.admission.testbed.service(name, program()).kubeconfig(&self.admission.kubeconfig);
        let mut webhook = launch.variable("GOV_CERTIFICATE__NAMES", names).start().unwrap();
        self.wait("the first certificate", || self.secret().contains_key("tls.crt"));
        self.trust(&mut webhook);
        webhook.wait_ready(SURELY).unwrap();
        webhook
    }

    /// Asks a replica by the authorities that the Secret has now.
    fn trust(&self, webhook: &mut Service<'_>) {
        webhook.trust(&authorities(&self.secret()["ca.crt"])).unwrap();
    }

    /// Registers that address with the API server. The webhook itself publishes the caBundle.
    pub(super) fn install(&self, addr: SocketAddr) {
        let url = format!("https://{addr}");
        let install = ["webhook", "install-config", "--url", &url];
        cli::expect(&self.admission.testbed, 0, &install, "");
    }

    /// Registers that address for enforce mode, and waits until its caBundle is published, too.
    pub(super) fn install_mutating(&self, addr: SocketAddr) {
        let url = format!("https://{addr}");
        let install = ["webhook", "install-config", "--mutating", "--url", &url];
        cli::expect(&self.admission.testbed, 0, &install, "");
        self.wait("the caBundle of both webhooks", || {
            let found: MutatingWebhookConfiguration = self.get(MUTATING);
            let trusted = self.secret()["ca.crt"].clone().into_bytes();
            let mut webhooks = found.webhooks.into_iter().flatten();
            webhooks.all(|one| one.client_config.ca_bundle.unwrap_or_default().0 == trusted)
        });
    }

    fn secret(&self) -> BTreeMap<String, String> {
        let secret: Secret = self.get(SECRET);
        let text =
            |(key, value): (_, k8s_openapi::ByteString)| (key, String::from_utf8(value.0).unwrap());
        secret.data.into_iter().flatten().map(text).collect()
    }

    /// What the API server trusts.
    fn bundle(&self) -> String {
        let found: ValidatingWebhookConfiguration = self.get(CONFIGURATION);
        let [webhook]: [_; 1] = found.webhooks.unwrap().try_into().unwrap();
        String::from_utf8(webhook.client_config.ca_bundle.unwrap_or_default().0).unwrap()
    }

    fn get<T: DeserializeOwned>(&self, object: &str) -> T {
        let text = self.kubectl(&["get", object, "-n", NAMESPACE, "-o", "json"]);
        serde_json::from_str(&text).unwrap()
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        self.admission.testbed.kubectl(arguments).unwrap().succeeded().unwrap()
    }

    fn patch(&self, object: &str, patch: &str) {
        self.kubectl(&["patch", object, "-n", NAMESPACE, "--type=json", "-p", patch]);
    }

    fn wait(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        self.admission.testbed.wait_for(what, SURELY, || Ok(is_so())).unwrap();
    }

    /// Waits until the API server trusts what the Secret has, and nothing else.
    fn wait_until_told(&self) {
        self.wait("the caBundle to be published", || {
            let secret = self.secret();
            secret.get("ca.crt").is_some_and(|trusted| *trusted == self.bundle())
        });
    }
}

fn authorities(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

fn failed(webhook: &Service<'_>, operation: &str) -> f64 {
    let metrics = webhook.metrics().unwrap();
    metrics.value("certificate_errors_total", &[("operation", operation)]).unwrap()
}

#[test]
fn replicas_agree_on_one_certificate_and_heal_what_somebody_does_to_it() {
    let world = SelfManaged::new("self-managed");
    let shop = world.admission.strict();
    assert!(world.secret().is_empty());
    let mut replicas = ["a", "b"].map(|name| world.start(name));
    world.install(replicas[0].addr());
    world.admission.wait_until_denied(&shop);
    let (_, words) = world.admission.would_let_in(&shop);
    assert!(words.contains(DENIAL), "{words}");
    let secret = world.secret();
    assert_eq!(secret.keys().collect::<Vec<_>>(), ["ca.crt", "tls.crt", "tls.key"]);
    metrics_page::assert_documented("policy-webhook", &replicas[0].metrics().unwrap());
    // An authority signs one certificate, so this one is what both serve.
    assert_eq!(authorities(&secret["ca.crt"]).len(), 1);
    assert_eq!(world.bundle(), secret["ca.crt"]);
    assert!(expiry(&replicas[0]).is_some() && expiry(&replicas[0]) == expiry(&replicas[1]));

    let seen: ValidatingWebhookConfiguration = world.get(CONFIGURATION);
    // Somebody else's authority in its place: the calls fail, until it is back.
    let other = std::fs::read(world.admission.file("ca.crt")).unwrap();
    let other = serde_json::to_string(&k8s_openapi::ByteString(other)).unwrap();
    let path = "/webhooks/0/clientConfig/caBundle";
    world.patch(
        CONFIGURATION,
        &format!(r#"[{{"op": "replace", "path": "{path}", "value": {other}}}]"#),
    );
    world.wait_until_told();
    world.admission.wait_until_denied(&shop);
    world.patch(CONFIGURATION, &format!(r#"[{{"op": "remove", "path": "{path}"}}]"#));
    world.wait_until_told();
    assert_eq!(world.secret(), secret, "nothing was wrong with the Secret");
    // The API server keeps a replica that stood still since then from bringing it back.
    let stale = format!(
        r#"{{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {{"name": "kube-devops-policy-webhook", "resourceVersion": "{}"}},
            "webhooks": [{{"name": "validate.devops.stochastic.io", "clientConfig": {{"caBundle": {other}}}}}]}}"#,
        seen.metadata.resource_version.unwrap()
    );
    let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=policy-webhook"];
    let run = world.admission.testbed.kubectl_stdin(&[&apply[..], &["-f", "-"]].concat(), &stale);
    let refused = run.unwrap();
    assert!(refused.stderr.contains("the object has been modified"), "{refused:?}");

    // The Secret as it was installed: nothing of before is trusted any more.
    world.patch(SECRET, r#"[{"op": "remove", "path": "/data"}]"#);
    world.wait("a new certificate", || world.secret().contains_key("tls.crt"));
    world.wait_until_told();
    world.admission.wait_until_denied(&shop);
    assert_ne!(world.secret()["ca.crt"], secret["ca.crt"]);
    for replica in &mut replicas {
        world.trust(replica);
        replica.wait_ready(SURELY).unwrap();
        assert!(!replica.logs().unwrap().contains("PRIVATE KEY"));
    }
}

#[test]
fn without_the_secret_it_goes_on_and_says_what_to_do() {
    let world = SelfManaged::new("no-secret");
    let shop = world.admission.strict();
    let mut webhook = world.start("webhook");
    world.install(webhook.addr());
    world.admission.wait_until_denied(&shop);
    world.kubectl(&["delete", SECRET, "-n", NAMESPACE]);
    let words = "not found; apply the installation again; the certificate that is served stays";
    world.wait("it to say so", || webhook.logs().unwrap().contains(words));
    world.wait("a second look", || failed(&webhook, "read_secret") >= 2.0);
    let logs = webhook.logs().unwrap();
    assert_eq!(logs.matches(words).count(), 1, "logged once: {logs}");
    assert!(logs.contains("cannot read the Secret kube-devops/policy-webhook-self-managed: "));
    assert_eq!(webhook.get("/readyz").unwrap().0, 200);
    assert!(!world.admission.would_let_in(&shop).0, "it denies as before");
    world.admission.testbed.install_base().unwrap();
    world.wait("a new certificate", || world.secret().contains_key("tls.crt"));
    world.wait_until_told();
    world.admission.wait_until_denied(&shop);
    world.trust(&mut webhook);
    webhook.wait_ready(SURELY).unwrap();
}
