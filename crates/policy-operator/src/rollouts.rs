//! The Deployments whose rollouts are stuck. Of all others nothing is kept: a cluster of 150 000 pods
//! has thousands of Deployments, and few that are stuck.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::text::stuck_rollout;
use policy_core::view::DeploymentView;
use policy_core::workload::Workload;
use policy_runtime::watch::Sink;

use crate::notes::Notes;
use crate::pods::GATHERING;
use crate::policies::Policies;

/// The most stuck rollouts that are kept, of some 300 bytes each. Who can write Deployments can make
/// any number of them.
const MAX_STUCK: usize = 20_000;

/// The stuck rollouts, shared by their watch and the reconciler. A change makes the policies of the
/// namespace due. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Rollouts(Arc<Shared>);

struct Shared {
    excluded: ExcludedNamespaces,
    policies: Policies,
    stuck: Mutex<Stuck>,
}

#[derive(Default)]
struct Stuck {
    by_namespace: BTreeMap<Arc<str>, BTreeMap<Box<str>, Rollout>>,
    len: usize,
    /// The list that is being read, or was read last.
    list: u64,
}

struct Rollout {
    /// Reason and message.
    why: Box<str>,
    /// The list that had it last.
    list: u64,
}

impl Stuck {
    /// Sets why a rollout is stuck; `None` where it is not. Returns whether that is a change.
    fn set(&mut self, namespace: &str, name: &str, why: Option<&str>) -> bool {
        let Some(why) = why else { return self.remove(namespace, name) };
        let list = self.list;
        let known = self.by_namespace.get_mut(namespace).and_then(|all| all.get_mut(name));
        if let Some(known) = known {
            known.list = list;
            let is_changed = *known.why != *why;
            if is_changed {
                known.why = why.into();
            }
            return is_changed;
        }
        if self.len >= MAX_STUCK {
            return false;
        }
        if !self.by_namespace.contains_key(namespace) {
            self.by_namespace.insert(namespace.into(), BTreeMap::new());
        }
        let Some(all) = self.by_namespace.get_mut(namespace) else { return false };
        all.insert(name.into(), Rollout { why: why.into(), list });
        self.len += 1;
        true
    }

    fn remove(&mut self, namespace: &str, name: &str) -> bool {
        let Some(all) = self.by_namespace.get_mut(namespace) else { return false };
        let was_known = all.remove(name).is_some();
        if all.is_empty() {
            self.by_namespace.remove(namespace);
        }
        self.len -= usize::from(was_known);
        was_known
    }

    /// Removes those that the last list did not have. Returns their namespaces.
    fn remove_unlisted(&mut self) -> Vec<Arc<str>> {
        let (mut changed, list) = (Vec::new(), self.list);
        let mut removed = 0;
        self.by_namespace.retain(|namespace, all| {
            let before = all.len();
            all.retain(|_, rollout| rollout.list == list);
            if all.len() < before {
                removed += before - all.len();
                changed.push(Arc::clone(namespace));
            }
            !all.is_empty()
        });
        self.len -= removed;
        changed
    }
}

impl Rollouts {
    /// No rollouts. Their changes add policies to the queue.
    pub(crate) fn new(excluded: ExcludedNamespaces, policies: Policies) -> Self {
        Self(Arc::new(Shared { excluded, policies, stuck: Mutex::default() }))
    }

    /// How many are stuck.
    pub(crate) fn len(&self) -> usize {
        self.0.stuck.lock().len
    }

    /// Notes those of a namespace.
    pub(crate) fn note(&self, namespace: &str, notes: &mut Notes) {
        let stuck = self.0.stuck.lock();
        for (name, rollout) in stuck.by_namespace.get(namespace).into_iter().flatten() {
            notes.add(|| text(name, &rollout.why));
        }
    }

    /// Notes those of the namespaces that a cluster policy selects.
    pub(crate) fn note_all(&self, is_selected: impl Fn(&str) -> bool, notes: &mut Notes) {
        let stuck = self.0.stuck.lock();
        for (namespace, all) in &stuck.by_namespace {
            if is_selected(namespace) {
                for (name, rollout) in all {
                    notes.add(|| format!("{namespace}/{}", text(name, &rollout.why)));
                }
            }
        }
    }

    /// The sink for a watch of all Deployments.
    pub(crate) fn sink(&self) -> DeploymentSink {
        DeploymentSink(self.clone())
    }

    fn change(&self, namespace: &str, work: impl FnOnce(&mut Stuck) -> bool) {
        if work(&mut self.0.stuck.lock()) {
            self.0.policies.namespace_changed(namespace, GATHERING);
        }
    }
}

fn text(name: &str, why: &str) -> String {
    let Workload { kind, name, .. } = Workload::deployment(name);
    format!("{kind}/{name}: {}", stuck_rollout(why))
}

/// Stores the stuck rollouts of a watch.
pub(crate) struct DeploymentSink(Rollouts);

impl Sink<DeploymentView> for DeploymentSink {
    fn list_begins(&mut self) {
        self.0.0.stuck.lock().list += 1;
    }

    fn list_completes(&mut self) {
        let changed = self.0.0.stuck.lock().remove_unlisted();
        for namespace in changed {
            self.0.0.policies.namespace_changed(&namespace, GATHERING);
        }
    }

    fn applied(&mut self, deployment: DeploymentView) {
        let (namespace, name) = deployment.key();
        if !self.0.0.excluded.contains(namespace) {
            self.0
                .change(namespace, |stuck| stuck.set(namespace, name, deployment.stuck_rollout()));
        }
    }

    fn undecodable(&mut self, namespace: &str, name: &str) {
        let mut stuck = self.0.0.stuck.lock();
        let list = stuck.list;
        let known = stuck.by_namespace.get_mut(namespace).and_then(|all| all.get_mut(name));
        if let Some(known) = known {
            known.list = list;
        }
    }

    fn deleted(&mut self, namespace: &str, name: &str) {
        self.0.change(namespace, |stuck| stuck.remove(namespace, name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(namespace: &str, name: &str, reason: Option<&str>) -> DeploymentView {
        let status = if reason.is_some() { "False" } else { "True" };
        serde_json::from_value(serde_json::json!({
            "metadata": { "namespace": namespace, "name": name },
            "status": { "conditions": [
                { "type": "Progressing", "status": status, "reason": reason }] },
        }))
        .unwrap()
    }

    fn stuck(namespace: &str, name: &str) -> DeploymentView {
        deployment(namespace, name, Some("ProgressDeadlineExceeded"))
    }

    fn of(rollouts: &Rollouts, namespace: &str) -> Vec<String> {
        let mut notes = Notes::default();
        rollouts.note(namespace, &mut notes);
        notes.finish()
    }

    fn rollouts() -> (Rollouts, DeploymentSink) {
        let rollouts = Rollouts::new(ExcludedNamespaces::default(), Policies::default());
        let sink = rollouts.sink();
        (rollouts, sink)
    }

    #[test]
    fn only_rollouts_that_are_stuck_are_kept() {
        let (rollouts, mut sink) = rollouts();
        sink.applied(stuck("shop", "web"));
        sink.applied(deployment("shop", "db", None));
        sink.applied(stuck("kube-system", "dns"));
        let web = "Deployment/web: rollout is stuck: ProgressDeadlineExceeded";
        assert_eq!((of(&rollouts, "shop"), rollouts.len()), (vec![web.to_owned()], 1));
        sink.undecodable("shop", "web");
        assert_eq!(rollouts.len(), 1, "as it was");
        sink.applied(deployment("shop", "web", None));
        assert_eq!((of(&rollouts, "shop").len(), rollouts.len()), (0, 0));
        sink.applied(stuck("shop", "web"));
        sink.deleted("shop", "web");
        assert_eq!(rollouts.len(), 0);
    }

    #[test]
    fn what_a_list_lacks_is_gone() {
        let (rollouts, mut sink) = rollouts();
        for name in ["a", "b", "c"] {
            sink.applied(stuck("shop", name));
        }
        sink.list_begins();
        sink.applied(stuck("shop", "b"));
        sink.undecodable("shop", "c");
        assert_eq!(rollouts.len(), 3, "until it is complete");
        sink.list_completes();
        let names: Vec<_> =
            of(&rollouts, "shop").iter().map(|note| note[11..12].to_owned()).collect();
        assert_eq!((names, rollouts.len()), (vec!["b".to_owned(), "c".to_owned()], 2));
    }

    #[test]
    fn a_cluster_policy_has_those_of_its_namespaces() {
        let (rollouts, mut sink) = rollouts();
        sink.applied(stuck("bank", "web"));
        sink.applied(stuck("shop", "web"));
        let mut notes = Notes::default();
        rollouts.note_all(|namespace| namespace == "shop", &mut notes);
        let web = "shop/Deployment/web: rollout is stuck: ProgressDeadlineExceeded";
        assert_eq!(notes.finish(), [web]);
    }

    #[test]
    fn their_number_is_bounded() {
        let (rollouts, mut sink) = rollouts();
        for number in 0..=MAX_STUCK {
            sink.applied(stuck("shop", &format!("web-{number}")));
        }
        assert_eq!(rollouts.len(), MAX_STUCK);
        sink.deleted("shop", "web-0");
        sink.applied(stuck("shop", &format!("web-{MAX_STUCK}")));
        assert_eq!(rollouts.len(), MAX_STUCK);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_change_makes_policies_due() {
        let policies = Policies::default();
        let policy = serde_json::json!({ "metadata": { "namespace": "shop", "name": "strict" } });
        policies.sink().applied(serde_json::from_value(policy).unwrap());
        let rollouts = Rollouts::new(ExcludedNamespaces::default(), policies.clone());
        let due = async || {
            let next = tokio::time::timeout(GATHERING * 2, policies.queue.next()).await;
            next.inspect(|key| policies.queue.finish(key, crate::queue::Outcome::default())).is_ok()
        };
        let mut sink = rollouts.sink();
        assert!(due().await, "the policy is new");
        sink.applied(deployment("shop", "web", None));
        assert!(!due().await, "not stuck");
        for _ in 0..2 {
            sink.applied(stuck("shop", "web"));
        }
        assert!(due().await);
        sink.applied(stuck("shop", "web"));
        assert!(!due().await, "stuck as before");
        sink.applied(deployment("shop", "web", None));
        assert!(due().await);
    }
}
