//! The workloads that a `PodDisruptionBudget` lets nobody drain.
//!
//! ```text
//! watch of budgets ─ Kept: those that block ── changed namespaces ── reconcile by a policy with the check
//!                                                                                   │
//!         requests: pods that such a budget selects, metadata only ◄── Drains::of ◄─┘
//! ```
//!
//! The labels of pods are not kept, as they would cost more than all facts. Which workloads a budget
//! selects is asked for when it begins to block, when it changes, and from time to time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use parking_lot::Mutex;
use policy_core::facts::{BudgetName, PodFacts};
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::view::{BlockedPods, BudgetView, PodView};
use policy_core::workload::{ObjectKind, Workload};
use policy_kube::ClusterError;
use policy_kube::pages::{self, Limits, PAGE, Page};
use tokio::time::Instant;
use tracing::warn;

use crate::kept::{Kept, KeptSink};
use crate::policies::Policies;

/// The most budgets of a namespace whose pods are asked for. Who can write budgets decides how many
/// requests they cause.
const MAX_BUDGETS: usize = 20;
/// A list of more pods is not read.
const MAX_PODS: usize = 20_000;
/// The deadline of a page of 500 pods, of which only the metadata is sent.
const DEADLINE: Duration = Duration::from_secs(5);
/// The pods of a budget are asked for again after that time: others may be selected, as many as before.
const FRESH: Duration = Duration::from_secs(600);
/// They are not asked for again before, however often the budget changes.
const PAUSE: Duration = Duration::from_secs(5);
/// After a failure they are asked for again in that time.
const RETRY: Duration = Duration::from_secs(15);

/// The budget that blocks the drain of a workload.
pub(crate) type BlockedWorkloads = BTreeMap<Workload, Arc<BudgetName>>;

/// The budgets that never allow an eviction, shared by their watch and the reconciler. Cheap to clone;
/// all clones are one.
#[derive(Clone)]
pub(crate) struct Drains {
    budgets: Kept<BlockedPods>,
    client: Client,
    policies: Policies,
    selected: Arc<Mutex<ByBudget>>,
}

/// By namespace and name of the budget.
type ByBudget = BTreeMap<Arc<str>, BTreeMap<Arc<str>, Selected>>;

/// What a budget selects, as it was last asked for.
#[derive(Clone)]
struct Selected {
    pods: BlockedPods,
    workloads: Arc<[Workload]>,
    asked: Instant,
    /// When to ask again if nothing changes.
    expires: Instant,
}

impl Drains {
    /// No budgets. Their changes add policies to the queue.
    pub(crate) fn new(excluded: ExcludedNamespaces, policies: Policies, client: Client) -> Self {
        let budgets = Kept::new(excluded, policies.clone());
        Self { budgets, client, policies, selected: Arc::default() }
    }

    /// How many budgets never allow an eviction.
    pub(crate) fn len(&self) -> usize {
        self.budgets.len()
    }

    /// The sink for a watch of all budgets.
    pub(crate) fn sink(&self) -> KeptSink<BlockedPods, BudgetView> {
        self.budgets.sink(|BudgetView { metadata, blocked }| {
            let text = Option::unwrap_or_default;
            (text(metadata.namespace), text(metadata.name), blocked)
        })
    }

    /// The workloads of a namespace whose drain is blocked, with the first such budget by name.
    pub(crate) async fn of(&self, namespace: &str) -> BlockedWorkloads {
        let budgets = self.budgets.of(namespace, |(name, pods)| (Arc::clone(name), pods.clone()));
        self.forget_others(namespace, &budgets);
        let mut blocked = BlockedWorkloads::new();
        for (name, pods) in budgets.into_iter().take(MAX_BUDGETS) {
            let budget = Arc::new(BudgetName((&*name).into()));
            for workload in &*self.selected(namespace, &name, pods).await {
                blocked.entry(workload.clone()).or_insert_with(|| Arc::clone(&budget));
            }
        }
        blocked
    }

    /// Forgets what budgets selected that no longer block.
    fn forget_others(&self, namespace: &str, budgets: &[(Arc<str>, BlockedPods)]) {
        let mut selected = self.selected.lock();
        let Some(known) = selected.get_mut(namespace) else { return };
        known.retain(|name, _| budgets.iter().any(|(other, _)| other == name));
        if known.is_empty() {
            selected.remove(namespace);
        }
    }

    /// The workloads that a budget selects. Where they cannot be asked for, those that are known.
    async fn selected(
        &self,
        namespace: &str,
        name: &Arc<str>,
        pods: BlockedPods,
    ) -> Arc<[Workload]> {
        let now = Instant::now();
        let known = self.selected.lock().get(namespace).and_then(|known| known.get(name)).cloned();
        if let Some(known) = &known {
            let is_fresh = known.pods == pods && now < known.expires;
            let rested = known.asked + PAUSE;
            if !is_fresh && now < rested {
                self.policies.namespace_changed(namespace, rested - now);
            }
            if is_fresh || now < rested {
                return Arc::clone(&known.workloads);
            }
        }
        let (workloads, again) = match self.ask(namespace, name, &pods.labels).await {
            Ok(workloads) => (workloads, FRESH),
            Err(error) => {
                warn!(namespace, budget = &**name, "{error}");
                self.policies.namespace_changed(namespace, RETRY);
                (known.map(|known| known.workloads).unwrap_or_default(), RETRY)
            }
        };
        let found = Arc::clone(&workloads);
        let selected = Selected { pods, workloads, asked: now, expires: now + again };
        let mut all = self.selected.lock();
        all.entry(namespace.into()).or_default().insert(Arc::clone(name), selected);
        found
    }

    async fn ask(
        &self,
        namespace: &str,
        budget: &str,
        labels: &str,
    ) -> Result<Arc<[Workload]>, ClusterError> {
        let operation = format!("cannot list the pods of PodDisruptionBudget {namespace}/{budget}");
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let limits =
            Limits { deadline: DEADLINE, most: MAX_PODS, page: PAGE, labels: Some(labels) };
        let mut found = BTreeSet::new();
        let take = |page: Page<PodView>| {
            found.extend(page.objects.iter().map(|pod| {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                Workload::of(ObjectKind::Pod, name, &pod.metadata)
            }));
        };
        pages::read_within(&self.client, &path, &operation, limits, take).await?;
        Ok(found.into_iter().collect())
    }
}

/// Gives the pods of these workloads the budget that blocks their drain.
pub(crate) fn with_budgets(pods: &mut [Arc<PodFacts>], blocked: &BlockedWorkloads) {
    if blocked.is_empty() {
        return;
    }
    for pod in pods {
        if let Some(budget) = blocked.get(&*pod.workload) {
            Arc::make_mut(pod).checked.blocking_budget = Some(Arc::clone(budget));
        }
    }
}

#[cfg(test)]
mod tests {
    use policy_runtime::testing::{Script, status_json};
    use policy_runtime::watch::Sink as _;
    use serde_json::json;
    use tokio::time::advance;

    use super::*;

    fn budget(name: &str, expected: u32, allowed: u32) -> BudgetView {
        serde_json::from_value(json!({
            "metadata": { "namespace": "shop", "name": name },
            "spec": { "selector": { "matchLabels": { "app": "a b" } } },
            "status": { "disruptionsAllowed": allowed, "desiredHealthy": expected,
                "expectedPods": expected },
        }))
        .unwrap()
    }

    /// A list of one pod of each of these `StatefulSets`.
    fn pods(owners: &[&str]) -> String {
        let items = owners.iter().map(|owner| {
            json!({ "metadata": { "name": format!("{owner}-0"), "namespace": "shop",
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": owner,
                    "uid": "u", "controller": true }] } })
        });
        json!({ "metadata": {}, "items": items.collect::<Vec<_>>() }).to_string()
    }

    fn drains(script: &Script) -> (Drains, KeptSink<BlockedPods, BudgetView>) {
        let excluded = ExcludedNamespaces::default();
        let drains = Drains::new(excluded, Policies::default(), script.client());
        let sink = drains.sink();
        (drains, sink)
    }

    async fn blocked(drains: &Drains) -> Vec<String> {
        let blocked = drains.of("shop").await;
        blocked.iter().map(|(workload, budget)| format!("{} {}", workload.name, budget.0)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn pods_are_asked_for_when_a_budget_begins_to_block_or_changes() {
        let script =
            Script::default().answer(200, pods(&["web"])).answer(200, pods(&["db", "web"]));
        let (drains, mut sink) = drains(&script);
        sink.applied(budget("one", 1, 1));
        assert!(blocked(&drains).await.is_empty(), "it allows an eviction");
        assert!(script.calls().is_empty());
        sink.applied(budget("one", 1, 0));
        for _ in 0..2 {
            assert_eq!(blocked(&drains).await, ["web one"]);
        }
        let calls = script.calls();
        assert_eq!(calls.len(), 1, "{calls:?}");
        assert!(calls[0].contains("/namespaces/shop/pods?"), "{calls:?}");
        assert!(calls[0].contains("labelSelector=app%3Da+b"), "{calls:?}");
        sink.applied(budget("one", 2, 0));
        assert_eq!(blocked(&drains).await, ["web one"], "not so soon");
        advance(PAUSE).await;
        assert_eq!(blocked(&drains).await, ["db one", "web one"]);
        assert_eq!(script.calls().len(), 2);
        sink.deleted("shop", "one");
        assert!(blocked(&drains).await.is_empty());
        assert!(drains.selected.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_stays_where_it_cannot_be_asked_for() {
        let refused = status_json(403, "Forbidden", "no");
        let script = Script::default()
            .answer(200, pods(&["web"]))
            .answer(403, refused)
            .answer(200, pods(&["db"]));
        let (drains, mut sink) = drains(&script);
        sink.applied(budget("one", 1, 0));
        blocked(&drains).await;
        advance(FRESH).await;
        assert_eq!(blocked(&drains).await, ["web one"]);
        assert_eq!(blocked(&drains).await, ["web one"]);
        assert_eq!(script.calls().len(), 2, "not again at once");
        advance(RETRY).await;
        assert_eq!(blocked(&drains).await, ["db one"]);
    }

    #[test]
    fn the_pods_of_a_blocked_workload_know_the_budget() {
        let pod: PodView = serde_json::from_str(r#"{"metadata": {"name": "web"}}"#).unwrap();
        let facts = Arc::new(PodFacts::of_pod(&pod, "shop"));
        let blocked =
            [(Workload::clone(&facts.workload), Arc::new(BudgetName("one".into())))].into();
        let mut pods = [Arc::clone(&facts)];
        with_budgets(&mut pods, &BlockedWorkloads::new());
        assert!(Arc::ptr_eq(&pods[0], &facts));
        with_budgets(&mut pods, &blocked);
        assert_eq!(*pods[0].checked.blocking_budget.as_deref().unwrap().0, *"one");
        assert_eq!(facts.checked.blocking_budget, None, "the index is unchanged");
    }
}
