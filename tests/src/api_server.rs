//! Flags and start of etcd and kube-apiserver.

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
use crate::{Program, audit, process_kubelet};

/// Deadline of a start. It takes about four seconds, and much longer on a busy machine.
const START: Duration = Duration::from_secs(120);
/// Deadline of one request to etcd.
const ANSWER: Duration = Duration::from_secs(30);

/// An API server with its etcd. Ports and flags are the same each time it is started.
pub(crate) struct ApiServer {
    url: String,
    port: u16,
    store_port: u16,
    arguments: Vec<String>,
}

impl ApiServer {
    /// Chooses ports and flags, and starts nothing. Without controllers no `ServiceAccount` is ever
    /// created, which the admission plugin of that name requires for a pod; so it is disabled then.
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
        let files: [(&str, &Path); 10] = [
            ("admission-control-config-file", &admission),
            ("tls-cert-file", &keys.certificate),
            ("tls-private-key-file", &keys.certificate_key),
            ("token-auth-file", token_file),
            ("service-account-key-file", &keys.token_public_key),
            ("service-account-signing-key-file", &keys.token_key),
            ("kubelet-client-certificate", &keys.kubelet_client),
            ("kubelet-client-key", &keys.kubelet_client_key),
            ("audit-policy-file", &audit_policy),
            ("audit-log-path", &audit_log),
        ];
        let mut arguments = vec![
            format!("--etcd-servers=http://127.0.0.1:{store_port}"),
            format!("--secure-port={port}"),
        ];
        arguments.extend(FLAGS.map(str::to_owned));
        let address = parts.address;
        arguments.push(format!("--advertise-address={address}"));
        let reach: &[&str] = if address.is_loopback() { &LOOPBACK } else { &KUBELETS };
        arguments.extend(reach.iter().map(|&flag| flag.to_owned()));
        arguments.extend(files.map(|(flag, file)| format!("--{flag}={}", file.display())));
        if parts.pods_as_processes {
            let egress = process_kubelet::egress_configuration(folder)?;
            arguments.push(format!("--egress-selector-config-file={}", egress.display()));
            // To the endpoints of a Service, as nothing here routes its address to them.
            arguments.push("--enable-aggregator-routing=true".to_owned());
        }
        if !parts.controllers {
            arguments.push("--disable-admission-plugins=ServiceAccount".to_owned());
        }
        Ok(Self { url: format!("https://{address}:{port}"), port, store_port, arguments })
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
            // The data need not survive a power failure.
            "--unsafe-no-fsync".to_owned(),
        ];
        processes.start(Program::Etcd.name(), &Program::Etcd.path()?, &arguments)?;
        wait_for("etcd", START, || {
            processes.check(Program::Etcd.name())?;
            Ok(listens(self.store_port).then_some(()))
        })
        .map_err(|error| processes.explain(Program::Etcd.name(), &error))
    }

    /// Sends a request to etcd's gRPC gateway, which writes 64-bit numbers as JSON strings
    /// (<https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/>).
    fn ask_store(&self, path: &str, json: &str) -> Result<serde_json::Value> {
        let addr = (Ipv4Addr::LOCALHOST, self.store_port).into();
        let (status, body) = Address { addr, tls: None }.post(path, json, ANSWER)?;
        ensure!(status == 200, "etcd answers {path} with {status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// The bytes that etcd uses for all revisions that it keeps.
    pub(crate) fn store_bytes(&self) -> Result<u64> {
        let status = self.ask_store("/v3/maintenance/status", "{}")?;
        let bytes = status["dbSizeInUse"].as_str().and_then(|bytes| bytes.parse().ok());
        bytes.with_context(|| format!("the status of etcd has no dbSizeInUse: {status}"))
    }

    /// Compacts etcd up to the current revision.
    pub(crate) fn compact(&self) -> Result<()> {
        let status = self.ask_store("/v3/maintenance/status", "{}")?;
        let revision = &status["header"]["revision"];
        let compaction = serde_json::json!({ "revision": revision, "physical": true });
        self.ask_store("/v3/kv/compaction", &compaction.to_string())?;
        Ok(())
    }

    /// Starts kube-apiserver, and does not wait until it is ready.
    pub(crate) fn start(&self, processes: &Processes) -> Result<()> {
        processes.start(Program::ApiServer.name(), &Program::ApiServer.path()?, &self.arguments)
    }

    /// Waits until kube-apiserver listens and `ready` returns true.
    pub(crate) fn wait_until_ready(
        &self,
        processes: &Processes,
        ready: impl Fn() -> Result<bool>,
    ) -> Result<()> {
        let name = Program::ApiServer.name();
        wait_for("the API server to be ready", START, || {
            processes.check(name)?;
            // Connecting to the port costs nothing; a call of kubectl takes 50 ms of a core.
            Ok((listens(self.port) && ready()?).then_some(()))
        })
        .map_err(|error| processes.explain(name, &error))
    }
}

/// For clients on this machine only.
const LOOPBACK: [&str; 3] = [
    "--bind-address=127.0.0.1",
    // The API server refuses to publish a loopback address as an endpoint of its own Service.
    "--endpoint-reconciler-type=none",
    "--authorization-mode=RBAC",
];

/// For kubelets and pods as well.
const KUBELETS: [&str; 4] = [
    "--bind-address=0.0.0.0",
    // No DNS server knows the names of the nodes.
    "--kubelet-preferred-address-types=InternalIP",
    "--authorization-mode=Node,RBAC",
    "--enable-admission-plugins=NodeRestriction",
];

const FLAGS: [&str; 6] = [
    "--service-account-issuer=https://kubernetes.default.svc",
    "--service-cluster-ip-range=10.0.0.0/24",
    "--allow-privileged=true",
    "--profiling=false",
    // In MB. Suites read the log from its beginning, so it must not be rotated.
    "--audit-log-maxsize=4000",
    // A short log: its end is quoted in errors.
    "--v=0",
];

/// Makes the API server present its client certificate to every webhook
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

/// Two different ports of the loopback address that are free now.
pub(crate) fn free_ports() -> Result<(u16, u16)> {
    let any = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free");
    // Both stay open until both numbers are known, so that they differ.
    let (first, second) = (any()?, any()?);
    Ok((first.local_addr()?.port(), second.local_addr()?.port()))
}

fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}
