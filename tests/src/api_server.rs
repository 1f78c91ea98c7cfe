//! etcd and kube-apiserver: their flags, their start.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::http::Address;
use crate::keys::Keys;
use crate::poll::wait_for;
use crate::processes::Processes;
use crate::testbed::Parts;
use crate::{Program, audit};

/// A start takes four seconds; a busy machine may need many times that.
const START: Duration = Duration::from_secs(120);
/// For one answer of the store.
const ANSWER: Duration = Duration::from_secs(30);

/// An API server with its store; the same each time it is started.
pub(crate) struct ApiServer {
    url: String,
    port: u16,
    store_port: u16,
    arguments: Vec<String>,
}

impl ApiServer {
    /// Chooses ports and flags, and starts nothing. Without controllers nobody makes the
    /// `ServiceAccount` that admission demands of a pod: so that plugin is off then.
    pub(crate) fn new(
        folder: &Path,
        keys: &Keys,
        token_file: &Path,
        parts: &Parts,
    ) -> Result<Self> {
        let (port, store_port) = free_ports()?;
        let audit_policy = folder.join("audit-policy.yaml");
        fs::write(&audit_policy, audit::POLICY)?;
        let audit_log = folder.join(audit::LOG);
        let admission = admission_config(folder, keys)?;
        let files: [(&str, &Path); 8] = [
            ("admission-control-config-file", &admission),
            ("tls-cert-file", &keys.certificate),
            ("tls-private-key-file", &keys.certificate_key),
            ("token-auth-file", token_file),
            ("service-account-key-file", &keys.token_public_key),
            ("service-account-signing-key-file", &keys.token_key),
            ("audit-policy-file", &audit_policy),
            ("audit-log-path", &audit_log),
        ];
        let mut arguments = vec![
            format!("--etcd-servers=http://127.0.0.1:{store_port}"),
            format!("--secure-port={port}"),
        ];
        arguments.extend(FLAGS.map(str::to_owned));
        arguments.extend(files.map(|(flag, file)| format!("--{flag}={}", file.display())));
        if !parts.controllers {
            arguments.push("--disable-admission-plugins=ServiceAccount".to_owned());
        }
        Ok(Self { url: format!("https://127.0.0.1:{port}"), port, store_port, arguments })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Starts etcd, and returns once it listens.
    pub(crate) fn start_store(&self, processes: &Processes) -> Result<()> {
        let url = format!("http://127.0.0.1:{}", self.store_port);
        let data: PathBuf = processes.folder().join("etcd");
        let arguments = [
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
            "--log-level=warn".to_owned(),
            // Nothing here has to outlive a power failure.
            "--unsafe-no-fsync".to_owned(),
        ];
        processes.start(Program::Etcd.name(), &Program::Etcd.path()?, &arguments)?;
        wait_for("etcd", START, || {
            processes.check(Program::Etcd.name())?;
            Ok(listens(self.store_port).then_some(()))
        })
        .map_err(|error| processes.explain(Program::Etcd.name(), &error))
    }

    /// Asks etcd by its gateway of gRPC, where numbers of 64 bits are texts
    /// (<https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/>).
    fn ask_store(&self, path: &str, json: &str) -> Result<serde_json::Value> {
        let addr = (Ipv4Addr::LOCALHOST, self.store_port).into();
        let (status, body) = Address { addr, tls: None }.post(path, json, ANSWER)?;
        ensure!(status == 200, "etcd answers {path} with {status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// The bytes that the store uses for what it knows, those of older versions included.
    pub(crate) fn store_bytes(&self) -> Result<u64> {
        let status = self.ask_store("/v3/maintenance/status", "{}")?;
        let bytes = status["dbSizeInUse"].as_str().and_then(|bytes| bytes.parse().ok());
        bytes.with_context(|| format!("etcd does not tell its size: {status}"))
    }

    /// Makes the store forget every version but the present one.
    pub(crate) fn compact(&self) -> Result<()> {
        let status = self.ask_store("/v3/maintenance/status", "{}")?;
        let revision = &status["header"]["revision"];
        let compaction = serde_json::json!({ "revision": revision, "physical": true });
        self.ask_store("/v3/kv/compaction", &compaction.to_string())?;
        Ok(())
    }

    /// Starts kube-apiserver, and does not wait for it.
    pub(crate) fn start(&self, processes: &Processes) -> Result<()> {
        processes.start(Program::ApiServer.name(), &Program::ApiServer.path()?, &self.arguments)
    }

    /// Waits until kube-apiserver listens and `ready` says yes.
    pub(crate) fn wait_until_ready(
        &self,
        processes: &Processes,
        ready: impl Fn() -> Result<bool>,
    ) -> Result<()> {
        let name = Program::ApiServer.name();
        wait_for("the API server to be ready", START, || {
            processes.check(name)?;
            // The knock on the port costs nothing, asking through kubectl 100 ms of a core.
            Ok((listens(self.port) && ready()?).then_some(()))
        })
        .map_err(|error| processes.explain(name, &error))
    }
}

const FLAGS: [&str; 10] = [
    "--bind-address=127.0.0.1",
    "--advertise-address=127.0.0.1",
    // Else it would publish the loopback address as the endpoint of its own Service, and refuse.
    "--endpoint-reconciler-type=none",
    "--authorization-mode=RBAC",
    "--service-account-issuer=https://kubernetes.default.svc",
    "--service-cluster-ip-range=10.0.0.0/24",
    "--allow-privileged=true",
    "--profiling=false",
    // MB until the log starts anew: suites read it from its beginning.
    "--audit-log-maxsize=4000",
    // The first lines of the log stay readable.
    "--v=0",
];

/// Has the API server show its client certificate to every webhook
/// (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#authenticate-apiservers>).
fn admission_config(folder: &Path, keys: &Keys) -> Result<PathBuf> {
    let write = |name: &str, object: serde_json::Value| {
        let path = folder.join(name);
        fs::write(&path, object.to_string())?;
        Ok::<_, anyhow::Error>(path)
    };
    let user = json!({ "client-certificate": keys.client, "client-key": keys.client_key });
    let kubeconfig = write(
        "webhooks.kubeconfig",
        json!({ "apiVersion": "v1", "kind": "Config", "users": [{ "name": "*", "user": user }] }),
    )?;
    let configuration = json!({ "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "WebhookAdmissionConfiguration", "kubeConfigFile": kubeconfig });
    let plugin = json!({ "name": "ValidatingAdmissionWebhook", "configuration": configuration });
    write(
        "admission.yaml",
        json!({ "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
            "plugins": [plugin] }),
    )
}

/// Two different ports of the loopback address that nobody has at the moment.
fn free_ports() -> Result<(u16, u16)> {
    let any = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free");
    // Both are held until both are known.
    let (first, second) = (any()?, any()?);
    Ok((first.local_addr()?.port(), second.local_addr()?.port()))
}

fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}
