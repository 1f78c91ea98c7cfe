//! The workloads of a cluster that a `PodDisruptionBudget` lets nobody drain.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use policy_core::facts::{BudgetName, PodFacts};
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::report::CoverageCounter;
use policy_core::view::{BlockedPods, BudgetView, PodView};
use policy_core::workload::{ObjectKind, Workload};

use crate::cluster::namespaced::{Event, Listed};
use crate::cluster::pages::{self, Limits, Page};
use crate::cluster::{Cluster, ClusterError};

/// The deadline of a page of pods, of which only the metadata is read.
const DEADLINE: Duration = Duration::from_secs(60);

/// The budget that blocks the drain of a workload, by namespace and workload.
#[derive(Default)]
pub(crate) struct BlockedDrains(HashMap<(Arc<str>, Workload), Arc<BudgetName>>);

impl BlockedDrains {
    /// Reads the budgets that never allow an eviction, and which pods they select. What could not be
    /// read is recorded.
    pub(crate) async fn read(
        cluster: &Cluster,
        namespace: Option<&str>,
        excluded: &ExcludedNamespaces,
        coverage: &mut CoverageCounter,
    ) -> Self {
        let mut blocking: Vec<(Arc<str>, String, BlockedPods)> = Vec::new();
        let mut take = |event: Event<BudgetView>| match event {
            Event::Page(page) => {
                for budget in page.unreadable {
                    let name = format!("disruption budget {}", budget.object);
                    coverage.not_read(&name.into(), None, budget.reason);
                }
                blocking.extend(page.objects.into_iter().filter_map(|budget| {
                    let namespace = budget.metadata.namespace.unwrap_or_default();
                    let name = budget.metadata.name.unwrap_or_default();
                    let pods = budget.blocked.filter(|_| !excluded.contains(&namespace))?;
                    Some((namespace.into(), name, pods))
                }));
            }
            Event::NotRead { part, error } => {
                let part = format!("disruption budgets of {part}");
                coverage.not_read(&part.into(), None, error.reason().to_owned());
            }
        };
        Listed::BUDGETS.read(cluster, namespace, Some(excluded), &mut take).await;
        blocking.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        let mut found = Self::default();
        for (namespace, name, pods) in blocking {
            if let Err(error) = found.add(cluster, &namespace, &name, &pods.labels).await {
                let part = format!("pods of disruption budget {namespace}/{name}");
                coverage.not_read(&part.into(), None, error.reason().to_owned());
            }
        }
        found
    }

    /// Adds the workloads that a budget selects.
    async fn add(
        &mut self,
        cluster: &Cluster,
        namespace: &Arc<str>,
        budget: &str,
        labels: &str,
    ) -> Result<(), ClusterError> {
        let operation = format!("cannot list the pods of disruption budget {namespace}/{budget}");
        let path = (Listed::PODS.path)(Some(namespace));
        let limits = Limits {
            deadline: DEADLINE,
            most: usize::MAX,
            page: pages::PAGE,
            labels: Some(labels),
        };
        let budget = Arc::new(BudgetName(budget.into()));
        let take = |page: Page<PodView>| {
            for pod in page.objects {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let workload = Workload::of(ObjectKind::Pod, name, &pod.metadata);
                self.0
                    .entry((Arc::clone(namespace), workload))
                    .or_insert_with(|| Arc::clone(&budget));
            }
        };
        pages::read_within(&cluster.client(), &path, &operation, limits, take).await
    }

    /// Tells a pod which budget never allows its eviction.
    pub(crate) fn tell(&self, pod: &mut PodFacts) {
        if !self.0.is_empty() {
            let workload = (Arc::clone(&pod.namespace), Workload::clone(&pod.workload));
            pod.checked.blocking_budget = self.0.get(&workload).cloned();
        }
    }
}
