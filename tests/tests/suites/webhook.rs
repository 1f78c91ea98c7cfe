//! The webhook, called by a real API server.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

mod agreement;
mod cluster;
pub(crate) mod continuity;
mod custom;
mod custom_refused;
mod exemptions;
mod exemptions_by_labels;
mod export_map;
mod export_vap;
mod failopen;
mod hostile;
mod mass;
mod mtls;
mod mutate;
mod rights;
mod self_managed;
mod tenant;
mod undo;
mod verdicts;
mod workload_kinds;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use e2e::{Launch, Parts, Run, Service, Testbed, service_binary, trusting};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::cli::{self, policy};

/// What a container of the chart may use, in MiB.
const MEMORY: f64 = 128.0;
/// For what takes a moment, on a busy machine.
const SURELY: Duration = Duration::from_secs(60);
/// What the webhook judges.
const KINDS: [&str; 8] = [
    "Pod",
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "ReplicationController",
    "Job",
    "CronJob",
];

pub(crate) fn program() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| service_binary("policy-webhook").unwrap());
    &PROGRAM
}

/// A control plane with the definitions, what `deploy/kustomize/base` installs, and certificates.
pub(crate) struct AdmissionTestbed {
    testbed: Testbed,
    kubeconfig: PathBuf,
    certificates: PathBuf,
}

impl AdmissionTestbed {
    pub(crate) fn new(parts: &Parts) -> Self {
        let testbed = Testbed::start(parts).unwrap();
        cli::expect(&testbed, 0, &["crd", "install"], "");
        testbed.install_base().unwrap();
        let kubeconfig = testbed.account_kubeconfig("kube-devops", "policy-webhook").unwrap();
        let certificates = testbed.folder().join("certificates");
        let folder = certificates.to_str().unwrap();
        let generate =
            ["webhook", "cert-generate", "--output-dir", folder, "--ip-san", "127.0.0.1"];
        cli::expect(&testbed, 0, &generate, "");
        Self { testbed, kubeconfig, certificates }
    }

    fn file(&self, name: &str) -> String {
        self.certificates.join(name).to_str().unwrap().to_owned()
    }

    /// A webhook that is yet to be started, with the certificate for 127.0.0.1.
    fn launch(&self, name: &str, program: &Path) -> Launch<'_> {
        let (cert, key) = (self.file("tls.crt"), self.file("tls.key"));
        self.testbed
            .service(name, program)
            .kubeconfig(&self.kubeconfig)
            .arguments(&["--tls-cert", &cert, "--tls-key", &key])
            .https(&certificates(&self.file("ca.crt")))
            .unwrap()
    }

    /// A webhook with these variables that is ready, but that nobody calls yet.
    pub(crate) fn start(
        &self,
        name: &str,
        program: &Path,
        variables: &[(&str, &str)],
    ) -> Service<'_> {
        let launch = self.launch(name, program);
        let launch =
            variables.iter().fold(launch, |launch, (name, value)| launch.variable(name, value));
        let webhook = launch.start().unwrap();
        webhook.wait_ready(SURELY).unwrap();
        webhook
    }

    /// A client that trusts the webhook's CA.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::new(trusting(&certificates(&self.file("ca.crt"))).unwrap())
    }

    pub(crate) fn testbed(&self) -> &Testbed {
        &self.testbed
    }

    /// Has the API server call it.
    pub(crate) fn install(&self, webhook: &Service<'_>) {
        self.install_at(webhook.addr());
    }

    /// Has the API server call that address, and trust that CA.
    fn install_url(&self, url: &str, ca: &str) {
        let install = ["webhook", "install-config", "--ca-bundle-path", ca, "--url", url];
        cli::expect(&self.testbed, 0, &install, "");
    }

    /// Has the API server call whoever listens there with the webhook's certificate.
    pub(crate) fn install_at(&self, addr: SocketAddr) {
        self.install_url(&format!("https://{addr}"), &self.file("ca.crt"));
    }

    /// A namespace with a policy that denies what is not pinned.
    pub(crate) fn strict(&self) -> String {
        let namespace = self.testbed.namespace("shop").unwrap();
        self.testbed.apply(&policy(&namespace, "strict", STRICT)).unwrap();
        namespace
    }

    /// A pod of that image is created; gives what kubectl says on standard error.
    fn lets_in(&self, namespace: &str, name: &str, image: &str) -> String {
        let run = self.create(&pod(namespace, name, image), &[]);
        assert_eq!(run.code, Some(0), "{run:?}");
        run.stderr
    }

    /// Whether a pod that is not pinned would be created; and what kubectl says on standard error.
    fn would_let_in(&self, namespace: &str) -> (bool, String) {
        let run = self.create(&pod(namespace, "probe", "nginx"), &["--dry-run=server"]);
        (run.code == Some(0), run.stderr)
    }

    /// Waits until the webhook configuration and the policies have taken effect everywhere: a pod
    /// that is known to be denied is.
    pub(crate) fn wait_until_denied(&self, namespace: &str) {
        self.testbed
            .wait_for("the first denial", SURELY, || Ok(!self.would_let_in(namespace).0))
            .unwrap();
    }

    fn create(&self, manifest: &str, arguments: &[&str]) -> Run {
        let arguments = [&["create", "-f", "-"], arguments].concat();
        self.testbed.kubectl_stdin(&arguments, manifest).unwrap()
    }
}

/// Denies images that are not pinned, and nothing else.
const STRICT: &str = "{forbidLatestTag: true, severityOverrides: {latestTag: critical}}";

fn certificates(file: &str) -> Vec<CertificateDer<'static>> {
    let pem = fs::read(file).unwrap();
    CertificateDer::pem_slice_iter(&pem).map(Result::unwrap).collect()
}

/// How many requests were allowed unjudged for that reason.
fn in_doubt(webhook: &Service<'_>, reason: &str) -> Option<f64> {
    let metrics = webhook.metrics().unwrap();
    metrics.value("webhook_failopen_total", &[("reason", reason)])
}

/// A review of a new pod with one container of that image.
pub(crate) fn review(namespace: &str, uid: &str, image: &str) -> String {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": { "uid": uid, "operation": "CREATE", "namespace": namespace, "name": "web",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "userInfo": { "username": "alice" },
            "object": { "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "web" },
                "spec": { "containers": [{ "name": "web", "image": image }] } } },
    });
    review.to_string()
}

/// Whether an answer allows; the uid has to be that of the review.
pub(crate) fn allows((status, body): &(u16, String), uid: &str) -> bool {
    assert_eq!(*status, 200, "{body}");
    let answer: Value = serde_json::from_str(body).unwrap();
    assert_eq!(answer["response"]["uid"], uid, "{body}");
    answer["response"]["allowed"].as_bool().unwrap()
}

fn delete(testbed: &Testbed, namespace: &str, object: &str) {
    testbed.kubectl(&["delete", object, "-n", namespace]).unwrap().succeeded().unwrap();
}

fn pod(namespace: &str, name: &str, image: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {namespace}}}, \
         spec: {{containers: [{{name: web, image: '{image}'}}]}}}}"
    )
}
