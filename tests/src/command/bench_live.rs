//! `e2e bench-live`: the time of `policyctl analyze` against that of reading the same pages, and against
//! `kubectl get pods -A -o json`.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
pub(super) use e2e::client;
use e2e::{Parts, Program, Testbed, released_program, say};
use futures::{AsyncReadExt as _, StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use kube::core::Request;
use kube::{Api, Client};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::measure::median;
use super::process::peak_memory;

pub(super) const PODS: usize = 20_000;
pub(super) const NAMESPACES: usize = 40;
/// One pod of this many has an image that is not pinned.
const VIOLATIONS: usize = 5;
/// Concurrent requests. More would only queue in the API server.
const WRITERS: usize = 16;
const PAGE: u32 = 500;
const REPEATS: usize = 7;

#[expect(clippy::cast_precision_loss, reason = "bytes and pods are far below 2^52")]
pub(crate) fn run() -> Result<()> {
    let policyctl = released_program("policyctl")?;
    let start = Instant::now();
    let testbed = Testbed::start(&Parts::new("bench"))?;
    let ready = start.elapsed().as_secs_f64();
    let runtime = tokio::runtime::Runtime::new()?;
    let client = runtime.block_on(client(testbed.kubeconfig()))?;
    say(&format!("making {PODS} pods ..."));
    runtime.block_on(fill(&client, PODS, NAMESPACES))?;
    let kubectl = Program::Kubectl.path()?;
    let (mut of_reading, mut of_kubectl, mut of_its_memory) = (Vec::new(), Vec::new(), Vec::new());
    let (mut peak, mut bytes) = (0, 0);
    for repeat in 0..=REPEATS {
        let read = Instant::now();
        bytes = runtime.block_on(read_only(&client, PAGE))?;
        let read = read.elapsed();
        let (analysed, memory) = analyze(&policyctl, testbed.kubeconfig())?;
        let (shown, its_memory) = get(&kubectl, testbed.kubeconfig())?;
        say(&format!(
            "reading {read:.2?}, policyctl analyze {analysed:.2?} {memory} KiB, \
             kubectl get {shown:.2?} {its_memory} KiB"
        ));
        // The first round fills the API server's caches.
        if repeat > 0 {
            of_reading.push(analysed.as_secs_f64() / read.as_secs_f64());
            of_kubectl.push(analysed.as_secs_f64() / shown.as_secs_f64());
            of_its_memory.push(memory as f64 / its_memory as f64);
            peak = peak.max(memory);
        }
    }
    let results = json!({
        "analyze_ratio": median(of_reading),
        "analyze_rss_mib": peak as f64 / 1024.0,
        "live_ratio": median(of_kubectl),
        "live_memory_ratio": median(of_its_memory),
        "pod_kb": bytes as f64 / PODS as f64 / 1000.0,
        "testbed_start_s": ready,
    });
    writeln!(io::stdout(), "{results}")?;
    Ok(())
}

/// Makes pods, in turn in each of these namespaces.
pub(super) async fn fill(client: &Client, pods: usize, namespaces: usize) -> Result<()> {
    for number in 0..namespaces {
        let namespace = json!({ "metadata": { "name": format!("team-{number}") } });
        let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
        api.create(&PostParams::default(), &serde_json::from_value(namespace)?).await?;
    }
    stream::iter(0..pods)
        .map(|number| async move {
            let api: Api<Pod> =
                Api::namespaced(client.clone(), &format!("team-{}", number % namespaces));
            let pod: Pod = serde_json::from_value(pod(number))?;
            let created = api.create(&PostParams::default(), &pod).await;
            created.with_context(|| format!("cannot make pod {number}"))?;
            anyhow::Ok(())
        })
        .buffer_unordered(WRITERS)
        .try_collect::<()>()
        .await
}

/// A pod of about 14 KB as the API server sends it. Its scheduling gate keeps it unscheduled, so it
/// never counts as pending for too long.
pub(super) fn pod(number: usize) -> Value {
    let tag = if number.is_multiple_of(VIOLATIONS) { "latest" } else { "v1.24.3" };
    let probe = |path: &str| json!({ "httpGet": { "path": path, "port": 8080 } });
    let container = |name: &str| {
        let environment = (0..33).map(|i| {
            json!({ "name": format!("SERVICE_SETTING_{i}"),
                    "value": format!("http://backend-{i}.shop.svc.cluster.local:8080") })
        });
        json!({
            "name": name, "image": format!("registry.example.com/shop/{name}:{tag}"),
            "ports": [{ "name": "http", "containerPort": 8080 }],
            "env": environment.collect::<Vec<_>>(),
            "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } },
            "livenessProbe": probe("/healthz"), "readinessProbe": probe("/readyz"),
        })
    };
    let sidecar = |name: &str| {
        let mut container = container(name);
        container["image"] = json!(format!("registry.example.com/shop/{name}:v2.0.0"));
        container
    };
    json!({
        "metadata": { "name": format!("payment-service-7d4b9c6f58-{number:05}"),
            "labels": { "app.kubernetes.io/name": "payment-service", "pod-template-hash": "7d4b9c6f58" } },
        "spec": { "containers": [container("payment-service"), sidecar("envoy-proxy")],
            "schedulingGates": [{ "name": "example.com/held" }] },
    })
}

#[derive(Deserialize)]
struct Page {
    metadata: Metadata,
    #[serde(rename = "items")]
    _items: IgnoredAny,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "continue", default)]
    next: String,
}

/// The baseline: reads the same pages by the same client and discards them. Returns the bytes read.
pub(super) async fn read_only(client: &Client, page: u32) -> Result<usize> {
    let (mut body, mut bytes) = (Vec::new(), 0);
    let mut parameters = ListParams::default().limit(page);
    loop {
        let request = Request::new("/api/v1/pods").list(&parameters)?;
        let mut answer = client.request_stream(request).await?;
        body.clear();
        bytes += answer.read_to_end(&mut body).await?;
        let page: Page = serde_json::from_slice(&body)?;
        if page.metadata.next.is_empty() {
            return Ok(bytes);
        }
        parameters.continue_token = Some(page.metadata.next);
    }
}

/// Runs policyctl, and returns its time and its peak of resident memory in KiB.
fn analyze(policyctl: &Path, kubeconfig: &Path) -> Result<(Duration, u64)> {
    let start = Instant::now();
    let mut child = Command::new(policyctl)
        .args(["analyze", "-o", "json"])
        .env("KUBECONFIG", kubeconfig)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = child.stdout.take().context("no standard output")?;
    let report = std::thread::spawn(move || {
        let mut report = Vec::new();
        io::Read::read_to_end(&mut output, &mut report).map(|_| report)
    });
    let (status, peak) = peak_memory(&mut child)?;
    ensure!(status.success(), "policyctl ended with {status}");
    let elapsed = start.elapsed();
    let report = report.join().map_err(|_| anyhow::anyhow!("the reader ended early"))??;
    let report: Value = serde_json::from_slice(&report)?;
    let summary = &report["summary"];
    ensure!(summary["pods"] == PODS, "{} pods were analysed", summary["pods"]);
    let expected = PODS / VIOLATIONS;
    ensure!(summary["totalViolations"] == expected, "{} findings", summary["totalViolations"]);
    Ok((elapsed, peak))
}

/// Runs `kubectl get pods`, and returns its time and its peak of resident memory in KiB.
fn get(kubectl: &Path, kubeconfig: &Path) -> Result<(Duration, u64)> {
    let start = Instant::now();
    let mut child = Command::new(kubectl)
        .args(["get", "pods", "--all-namespaces", "--output", "json"])
        .env("KUBECONFIG", kubeconfig)
        .stdout(Stdio::null())
        .spawn()?;
    let (status, peak) = peak_memory(&mut child)?;
    ensure!(status.success(), "kubectl ended with {status}");
    Ok((start.elapsed(), peak))
}
