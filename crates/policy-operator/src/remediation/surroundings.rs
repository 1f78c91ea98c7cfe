//! What limits the workloads of a namespace: read when it is needed, and kept for a while.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use policy_core::facts::PodFacts;
use policy_core::installation::WEBHOOK_CONFIGURATION;
use policy_core::remediation::{Autoscaler, LimitRange, MemoryPeaks, NamespaceFacts, OptIn};
use policy_core::workload::Workload;
use policy_kube::ErrorKind;
use serde_json::Value;
use tokio::time::Instant;

use crate::write_error::WriteError;
use crate::writer::Writer;

/// What was read of a namespace is used for so long.
const FRESH: Duration = Duration::from_secs(30);
/// The most objects of a list that are read.
const LIMIT: usize = 5_000;

/// What limits the workloads of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) facts: NamespaceFacts,
    /// The memory use of each workload; `None` where metrics.k8s.io does not answer.
    pub(crate) peaks: Option<BTreeMap<Workload, MemoryPeaks>>,
}

/// The surroundings of the namespaces that were needed lately.
#[derive(Debug, Default)]
pub(crate) struct SurroundingsCache(Mutex<HashMap<Arc<str>, ReadAt>>);

type ReadAt = (Instant, Arc<Surroundings>);

impl SurroundingsCache {
    /// Those of a namespace, with these pods.
    pub(crate) async fn get(
        &self,
        writer: &Writer,
        namespace: &Arc<str>,
        pods: &[Arc<PodFacts>],
    ) -> Result<Arc<Surroundings>, WriteError> {
        let now = Instant::now();
        {
            let mut known = self.0.lock();
            known.retain(|_, (read, _)| now.duration_since(*read) < FRESH);
            if let Some((_, surroundings)) = known.get(namespace) {
                return Ok(Arc::clone(surroundings));
            }
        }
        let surroundings = Arc::new(read(writer, namespace, pods).await?);
        self.0.lock().insert(Arc::clone(namespace), (now, Arc::clone(&surroundings)));
        Ok(surroundings)
    }
}

async fn read(
    writer: &Writer,
    namespace: &str,
    pods: &[Arc<PodFacts>],
) -> Result<Surroundings, WriteError> {
    let list = async |path: String| {
        let list = writer.read(&format!("{path}?limit={LIMIT}")).await?;
        Ok::<_, WriteError>(list.map(items).unwrap_or_default())
    };
    let in_namespace =
        |group: &str, kind: &str| format!("/apis/{group}/namespaces/{namespace}/{kind}");
    let object = writer.read(&format!("/api/v1/namespaces/{namespace}")).await?;
    let limit_ranges = list(format!("/api/v1/namespaces/{namespace}/limitranges")).await?;
    let horizontal = list(in_namespace("autoscaling/v2", "horizontalpodautoscalers")).await?;
    let vertical = list(in_namespace("autoscaling.k8s.io/v1", "verticalpodautoscalers")).await?;
    let configurations = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    let webhook = writer.read(&format!("{configurations}/{WEBHOOK_CONFIGURATION}")).await?;
    let metrics = in_namespace("metrics.k8s.io/v1beta1", "pods");
    let metrics = match writer.read(&format!("{metrics}?limit={LIMIT}")).await {
        Ok(metrics) => metrics,
        // It is served by an add-on, which may be missing or down.
        Err(error) if error.kind() != Some(ErrorKind::Forbidden) => None,
        Err(error) => return Err(error),
    };
    let autoscalers = horizontal.iter().map(Autoscaler::horizontal);
    Ok(Surroundings {
        facts: NamespaceFacts {
            is_excluded: false,
            opt_in: object.as_ref().map(OptIn::of).unwrap_or_default(),
            limit_ranges: limit_ranges.iter().map(LimitRange::read).collect(),
            autoscalers: autoscalers.chain(vertical.iter().map(Autoscaler::vertical)).collect(),
            has_mutating_webhook: webhook.is_some(),
        },
        peaks: metrics.map(|metrics| peaks(&items(metrics), pods)),
    })
}

fn items(mut list: Value) -> Vec<Value> {
    match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

/// The peaks of the workloads of these pods.
fn peaks(metrics: &[Value], pods: &[Arc<PodFacts>]) -> BTreeMap<Workload, MemoryPeaks> {
    let workloads: HashMap<&str, &Workload> =
        pods.iter().map(|pod| (&*pod.name, &pod.workload)).collect();
    let mut peaks = BTreeMap::<Workload, MemoryPeaks>::new();
    for metrics in metrics {
        let name = metrics["metadata"]["name"].as_str().unwrap_or_default();
        if let Some(workload) = workloads.get(name) {
            peaks.entry((*workload).clone()).or_default().observe(metrics);
        }
    }
    peaks
}
