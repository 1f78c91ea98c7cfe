//! A workload is deleted between the operator's dry run and its patch. A proxy in front of the API
//! server finds that moment.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use e2e::{Owner, Parts, Testbed};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, PostParams};
use kube::client::Body;
use kube::{Api, Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use super::enforced::{OPERATOR, SURELY};
use super::workloads::{install, list, managers, read, text, workload};
use crate::watcher::storm::client;
use crate::{cli, operator};

const PROBES: &str = "{enforcementMode: enforce, requireReadinessProbe: true, \
    defaultProbe: {tcpPort: 8080, initialDelaySeconds: 1, periodSeconds: 1}}";
/// A Deployment of that name is deleted, and one of the other name is replaced by another one.
const DELETED: &str = "deleted";
const REPLACED: &str = "replaced";

/// Forwards requests to the API server with the identity of whoever sends them.
struct Proxy {
    forward: Client,
    admin: Client,
    /// The workloads that vanish before they are patched.
    doomed: Mutex<Vec<&'static str>>,
}

impl Proxy {
    async fn start(testbed: &Testbed) -> SocketAddr {
        let mut config = Config::new(testbed.server_url().parse().unwrap());
        let authority = fs::read_to_string(testbed.certificate_authority()).unwrap();
        let authority = CertificateDer::from_pem_slice(authority.as_bytes());
        config.root_cert = Some(vec![authority.unwrap().to_vec()]);
        // Watches last.
        config.read_timeout = None;
        let proxy = Arc::new(Self {
            forward: Client::try_from(config).unwrap(),
            admin: client(testbed).await,
            doomed: Mutex::new(vec![DELETED, REPLACED]),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let proxy = Arc::clone(&proxy);
                let service = service_fn(move |request| Arc::clone(&proxy).answer(request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        addr
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let (head, body) = request.into_parts();
        let is_dry = head.uri.query().is_some_and(|query| query.contains("dryRun"));
        let parts: Vec<&str> = head.uri.path().rsplit('/').take(3).collect();
        if let (&Method::PATCH, false, &[name, "deployments", namespace]) =
            (&head.method, is_dry, &*parts)
        {
            let mut doomed = self.doomed.lock().await;
            if let Some(index) = doomed.iter().position(|one| *one == name) {
                doomed.remove(index);
                self.remove(namespace, name).await;
            }
        }
        let body = body.collect().await.unwrap().to_bytes();
        // The host is that of the proxy.
        let mut request = Request::from_parts(head, Body::from(body));
        request.headers_mut().remove("host");
        *request.uri_mut() = request.uri().path_and_query().unwrap().as_str().parse().unwrap();
        Ok(self.forward.send(request).await.unwrap())
    }

    async fn remove(&self, namespace: &str, name: &str) {
        let deployments: Api<Deployment> = Api::namespaced(self.admin.clone(), namespace);
        let mut before = deployments.get(name).await.unwrap();
        deployments.delete(name, &DeleteParams::default()).await.unwrap();
        if name == REPLACED {
            before.metadata.uid = None;
            before.metadata.resource_version = None;
            deployments.create(&PostParams::default(), &before).await.unwrap();
        }
    }
}

#[test]
fn a_workload_that_vanishes_while_it_is_patched_is_told_and_not_created() {
    let (testbed, kubeconfig) =
        operator::installed(&Parts::new("vanishing").with_controllers().with_nodes(2));
    testbed.install_operator_remediation().unwrap();
    testbed.install_empty_mutating_configuration().unwrap();
    let namespace = testbed.namespace("shop").unwrap();
    let [deleted, replaced] =
        [DELETED, REPLACED].map(|name| workload("Deployment", &namespace, name));
    for web in [&deleted, &replaced] {
        install(&testbed, Owner::KubectlClientSide, web);
    }
    let first = text(&read(&testbed, &replaced)["metadata"]["uid"]);
    let runtime = Runtime::new().unwrap();
    let addr = runtime.block_on(Proxy::start(&testbed));
    let proxied = testbed.folder().join("proxied.kubeconfig");
    let text_of = fs::read_to_string(&kubeconfig).unwrap();
    fs::write(&proxied, text_of.replace(testbed.server_url(), &format!("http://{addr}"))).unwrap();
    let operator = testbed
        .service("operator", operator::program())
        .kubeconfig(&proxied)
        .variable("GOV_REMEDIATION__CANARY", "false")
        .start()
        .unwrap();
    operator.wait_ready(SURELY).unwrap();
    testbed.apply(&cli::policy(&namespace, "p", PROBES)).unwrap();
    let status = || operator::policy(&testbed, &namespace, "p")["status"].clone();
    let explain = |waited: Result<(), anyhow::Error>| {
        assert!(waited.is_ok(), "{waited:?} {:#}\n{}", status(), operator.logs().unwrap());
    };
    let notes = || {
        let events = list(&testbed, &namespace, "events.events.k8s.io").into_iter();
        events.filter(|event| event["reason"] == "RemediationFailed").map(|e| text(&e["note"]))
    };
    let told = ["Deployment/deleted: it was deleted while it was being patched", "replaced"];
    explain(testbed.wait_for("the Events", SURELY, || {
        Ok(told.iter().all(|told| notes().any(|note| note.contains(told))))
    }));
    // What has the name now is another workload, and is patched for itself.
    explain(testbed.wait_for("the new one to be patched", SURELY, || {
        let workloads = status()["remediation"]["workloads"].clone();
        let found = workloads.as_array().into_iter().flatten();
        let found: Vec<_> =
            found.map(|one| (text(&one["workload"]), text(&one["state"]))).collect();
        Ok(found == [("Deployment/replaced".to_owned(), "Patched".to_owned())])
    }));
    assert!(list(&testbed, &namespace, "deployments").len() == 1, "nothing was created");
    let live = read(&testbed, &replaced);
    assert_ne!(text(&live["metadata"]["uid"]), first);
    assert!(managers(&live).contains(&("policy-operator".to_owned(), "Apply".to_owned())));
    let status = status();
    assert_eq!(
        (&status["remediationsApplied"], &status["remediationsFailed"]),
        (&json!(1), &json!(2)),
        "{status:#}"
    );
    let metrics = operator.metrics().unwrap();
    let failed = metrics.value("enforcement_remediations_failed_total", &[("reason", "Conflict")]);
    assert_eq!(failed, Some(2.0));
    let calls = testbed.audit(OPERATOR).unwrap();
    let codes = calls.iter().filter(|call| call.group == "apps" && call.verb == "patch");
    let mut codes: Vec<_> = codes.map(|call| (call.name.clone(), call.code)).collect();
    codes.sort();
    let of = |name: &str, code: u16| (name.to_owned(), code);
    let expected = [
        of(DELETED, 200),
        of(DELETED, 409),
        of(REPLACED, 200),
        of(REPLACED, 200),
        of(REPLACED, 200),
        of(REPLACED, 409),
    ];
    assert_eq!(codes, expected);
    drop(operator);
    thread::spawn(move || drop(runtime)).join().unwrap();
}
