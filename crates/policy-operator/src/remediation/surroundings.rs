//! What limits the workloads of a namespace: read when it is needed, and kept for a while.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use policy_core::facts::PodFacts;
use policy_core::installation::WEBHOOK_CONFIGURATION;
use policy_core::remediation::{
    Autoscaler, LimitRange, MemoryPeaks, NamespaceFacts, OptIn, WorkloadPeaks,
};
use policy_core::workload::Workload;
use policy_kube::ErrorKind;
use serde_json::Value;
use tokio::time::Instant;

use crate::write_error::WriteError;
use crate::writer::Writer;

/// What was read of a namespace is used for so long.
const FRESH: Duration = Duration::from_secs(30);
/// The objects of a list in one response.
const PAGE: usize = 500;

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
    let in_namespace =
        |group: &str, kind: &str| format!("/apis/{group}/namespaces/{namespace}/{kind}");
    let object = writer.read(&format!("/api/v1/namespaces/{namespace}")).await?;
    let limit_ranges = format!("/api/v1/namespaces/{namespace}/limitranges");
    let limit_ranges = list(writer, &limit_ranges, LimitRange::read).await?;
    let horizontal = in_namespace("autoscaling/v2", "horizontalpodautoscalers");
    let mut autoscalers = list(writer, &horizontal, Autoscaler::horizontal).await?;
    let vertical = in_namespace("autoscaling.k8s.io/v1", "verticalpodautoscalers");
    autoscalers.extend(list(writer, &vertical, Autoscaler::vertical).await?);
    let configurations = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    let webhook = writer.read(&format!("{configurations}/{WEBHOOK_CONFIGURATION}")).await?;
    let metrics = in_namespace("metrics.k8s.io/v1beta1", "pods");
    let mut peaks = WorkloadPeaks::new(pods.iter().map(AsRef::as_ref));
    let peaks = match list(writer, &metrics, |metrics| peaks.observe(metrics)).await {
        Ok(_) => peaks.finish(),
        // It is served by an add-on, which may be missing or down.
        Err(error) if error.kind() != Some(ErrorKind::Forbidden) => None,
        Err(error) => return Err(error),
    };
    Ok(Surroundings {
        facts: NamespaceFacts {
            is_excluded: false,
            opt_in: object.as_ref().map(OptIn::of).unwrap_or_default(),
            limit_ranges,
            autoscalers,
            has_mutating_webhook: webhook.is_some(),
        },
        peaks,
    })
}

/// What is kept of each object of a list; nothing where the list is not served.
async fn list<T>(
    writer: &Writer,
    path: &str,
    mut keep: impl FnMut(&Value) -> T,
) -> Result<Vec<T>, WriteError> {
    let (mut kept, mut page) = (Vec::new(), format!("{path}?limit={PAGE}"));
    while let Some(list) = writer.read(&page).await? {
        kept.extend(list["items"].as_array().into_iter().flatten().map(&mut keep));
        let Some(next) = list["metadata"]["continue"].as_str().filter(|next| !next.is_empty())
        else {
            break;
        };
        page = format!("{path}?limit={PAGE}&continue={next}");
    }
    Ok(kept)
}
