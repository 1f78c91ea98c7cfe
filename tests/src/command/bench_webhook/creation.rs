//! The time that a webhook adds to the creation of a pod by a real API server.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::{Metrics, Service, Testbed, say};
use http::Request;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Client;
use policy_manifests::admission::{Admission, PATH, Server};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::super::fake_api::policy_spec;
use super::super::measure::{median, wait};
use super::{Bench, review};

/// Creations in each of the three namespaces.
const CREATIONS: usize = 3_000;
/// Creations that are not counted, which fill the API server's caches and open its connections.
const WARMING_UP: usize = 100;

/// A namespace each for no webhook, the baseline and the webhook, so that nothing has to be changed
/// between two creations.
const NAMESPACES: [&str; 3] = ["calls-nobody", "calls-floor", "calls-webhook"];
const POLICIES: [&str; 3] = ["baseline", "strict", "team"];

/// The median time that the webhook adds, against that of the baseline.
pub(super) fn added_ratio(
    bench: &Bench,
    runtime: &Runtime,
    client: &Client,
    webhook: &Service<'_>,
) -> Result<f64> {
    let floor = bench.floor()?;
    bench.testbed.apply(&objects().to_string())?;
    for (namespace, service) in NAMESPACES.into_iter().skip(1).zip([&floor, webhook]) {
        bench.testbed.apply(&configuration(bench, namespace, service)?)?;
    }
    let pod = review::pod().to_string();
    let create_in = |namespace| create(client, namespace, &pod);
    // API server and webhook watch what was stored, and receive it a moment later.
    wait(|| {
        for namespace in NAMESPACES {
            runtime.block_on(create_in(namespace))?;
        }
        let are_called = calls(&bench.testbed)?.iter().all(|&calls| calls > 0.0);
        Ok(are_called && is_judged(&bench.testbed)?)
    })?;
    let before = calls(&bench.testbed)?;
    let mut times = [(); 3].map(|()| Vec::new());
    for number in 0..WARMING_UP + CREATIONS {
        for way in order(number) {
            let took = runtime.block_on(create_in(NAMESPACES[way]))?;
            if number >= WARMING_UP {
                times[way].push(took.as_secs_f64() * 1e3);
            }
        }
    }
    let after = calls(&bench.testbed)?;
    for (before, after) in before.into_iter().zip(after) {
        let called = after - before;
        ensure!(called >= (WARMING_UP + CREATIONS) as f64, "only {called} calls");
    }
    let [nobody, floor, webhook] = times.map(median);
    let ratio = (webhook - nobody) / (floor - nobody);
    say(&format!(
        "creating a pod takes {nobody:.3} ms, with the floor {floor:.3} ms, with the webhook \
         {webhook:.3} ms: {ratio:.2}"
    ));
    Ok(ratio)
}

/// All orders in turn, so that none always follows the same other one.
fn order(number: usize) -> [usize; 3] {
    let mut order = [0, 1, 2];
    order.rotate_left(number % 3);
    if (number / 3) % 2 == 1 {
        order.reverse();
    }
    order
}

/// Creates the namespaces, and the policies of the one with the webhook.
fn objects() -> Value {
    let namespaces = NAMESPACES.map(
        |name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }),
    );
    let policies = POLICIES.map(|name| {
        json!({ "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
            "metadata": { "name": name, "namespace": NAMESPACES[2] }, "spec": policy_spec() })
    });
    let items = [namespaces.as_slice(), &policies].concat();
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

/// The webhook configuration of an installation, limited to one namespace and with the failure
/// policy Fail, so that a failed call is noticed.
fn configuration(bench: &Bench, namespace: &str, service: &Service<'_>) -> Result<String> {
    let admission = Admission {
        server: Server::Url(format!("https://{}{PATH}", service.addr())),
        authority: Some(bench.certificates.authority.clone().into_bytes()),
        excluded: Vec::new(),
        kinds: Vec::new(),
    };
    let mut configuration = admission.configuration();
    configuration.metadata.name = Some(namespace.to_owned());
    for webhook in configuration.webhooks.iter_mut().flatten() {
        webhook.name = webhook_name(namespace);
        webhook.failure_policy = Some("Fail".to_owned());
        let label = ("kubernetes.io/metadata.name".to_owned(), namespace.to_owned());
        let labels = Some([label].into());
        webhook.namespace_selector =
            Some(LabelSelector { match_labels: labels, match_expressions: None });
    }
    Ok(serde_json::to_string(&configuration)?)
}

fn webhook_name(namespace: &str) -> String {
    format!("{namespace}.bench.example.com")
}

/// The time of a dry-run creation, which is admitted like any other but not stored.
async fn create(client: &Client, namespace: &str, pod: &str) -> Result<Duration> {
    let request = Request::post(format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"))
        .header("content-type", "application/json")
        .body(pod.as_bytes().to_vec())?;
    let sent = Instant::now();
    client.request_text(request).await?;
    Ok(sent.elapsed())
}

/// The number of calls of the baseline and of the webhook.
fn calls(testbed: &Testbed) -> Result<[f64; 2]> {
    let page = testbed.kubectl(&["get", "--raw", "/metrics"])?.succeeded()?;
    let metrics = Metrics::parse(&page)?;
    let of = |namespace: &str| {
        let name = webhook_name(namespace);
        let series = metrics.iter().filter(|(series, _)| {
            series.name == "apiserver_admission_webhook_admission_duration_seconds_count"
                && series.label("name") == Some(&name)
        });
        series.map(|(_, count)| count).sum()
    };
    Ok([of(NAMESPACES[1]), of(NAMESPACES[2])])
}

/// Whether the webhook applies every policy.
fn is_judged(testbed: &Testbed) -> Result<bool> {
    let unpinned = ["run", "web", "--image=nginx", "--dry-run=server", "-n", NAMESPACES[2]];
    let run = testbed.kubectl(&unpinned)?;
    let denies =
        |policy| run.stderr.contains(&format!("denied by policy {}/{policy}: ", NAMESPACES[2]));
    Ok(POLICIES.into_iter().all(denies))
}
