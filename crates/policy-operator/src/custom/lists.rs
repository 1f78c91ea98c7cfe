//! Lists the pods of namespaces whose pods have no results of custom checks.
//!
//! A list without a version is as new as what the watch has shown (KEP-2340), and answered from the
//! cache of the API server page by page (KEP-4988), as all versions from 1.34 on do. `resourceVersion=0`
//! would cost no less there, and could show pods as they were before.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use policy_core::custom::CustomInput;
use policy_kube::ClusterError;
use policy_kube::pages::{Limits, Pages};
use policy_runtime::backoff::jittered;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use super::version;
use crate::pods::Pods;
use crate::policies::Policies;

/// Pods of a page, of some 10 KB each.
const PAGE: u32 = 50;
/// The deadline of a page.
const DEADLINE: Duration = Duration::from_secs(15);
/// A list of more pods is not read.
const MAX_PODS: usize = 100_000;
/// A list ends after judging for so long, and goes on where it was after those of other namespaces.
const LONGEST: Duration = Duration::from_secs(2);
/// The pause between two lists.
const PAUSE: Duration = Duration::from_millis(10);
/// So often policies that are gone are forgotten.
const CLEANUP: Duration = Duration::from_secs(60);

/// Lists one namespace at a time, and judges its pods.
#[derive(Clone)]
pub(crate) struct PodLists {
    pub(crate) client: Client,
    pub(crate) pods: Pods,
    pub(crate) policies: Policies,
}

/// What says which pod it is.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Pod {
    metadata: Metadata,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    resource_version: Option<String>,
}

impl PodLists {
    /// Lists what is due, without end.
    pub(crate) async fn run(self) {
        let custom = self.pods.custom();
        loop {
            match custom.take_due(Instant::now()) {
                Ok(namespace) => {
                    self.list(&namespace).await;
                    sleep(jittered(PAUSE)).await;
                }
                Err(next) => {
                    let cleanup = Instant::now() + CLEANUP;
                    let is_idle = tokio::select! {
                        () = custom.0.due.notified() => false,
                        () = sleep_until(next.unwrap_or(cleanup).min(cleanup)) => next.is_none(),
                    };
                    if is_idle {
                        custom.retain_policies(|key| self.policies.contains(key));
                    }
                }
            }
        }
    }

    /// Lists a namespace; its policies are then due.
    pub(super) async fn list(&self, namespace: &Arc<str>) {
        let result = self.read(namespace).await;
        if let Err(error) = &result {
            warn!(namespace = &**namespace, "{error}");
        }
        self.pods.custom().listed(namespace, result.map_err(|error| error.to_string()));
        self.policies.namespace_changed(namespace, Duration::ZERO);
    }

    async fn read(&self, namespace: &str) -> Result<(), ClusterError> {
        let operation = format!("cannot list the pods of namespace {namespace} for custom checks");
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let limits = Limits { deadline: DEADLINE, most: MAX_PODS, page: PAGE, labels: None };
        let mut pages = Pages::<Box<RawValue>>::new(&self.client, &path, &operation, limits);
        let mut spent = Duration::ZERO;
        while let Some(page) = pages.next().await? {
            for pod in page.objects {
                spent += self.judge(namespace, &pod).await;
            }
            if spent > LONGEST {
                break;
            }
        }
        Ok(())
    }

    /// Judges a pod that is known and has no results. Returns how long that took.
    async fn judge(&self, namespace: &str, json: &RawValue) -> Duration {
        let custom = self.pods.custom();
        let Pod { metadata } = serde_json::from_str(json.get()).unwrap_or_default();
        let name = metadata.name.unwrap_or_default();
        let version = version(metadata.resource_version.as_deref());
        let judging = custom.judging(namespace, &name, version);
        let Some(judging) = judging.filter(|_| self.pods.contains(namespace, &name)) else {
            return Duration::ZERO;
        };
        let mut spent = Duration::ZERO;
        let mut start = Instant::now();
        let input = CustomInput::of_pod_json(json.get().as_bytes());
        let mut results = Vec::new();
        for found in judging.judge(&input) {
            results.push(found);
            spent += start.elapsed();
            // A set takes some milliseconds at most; other tasks have their turn in between.
            tokio::task::yield_now().await;
            start = Instant::now();
        }
        self.pods.judged(namespace, &name, version, results);
        spent
    }
}
