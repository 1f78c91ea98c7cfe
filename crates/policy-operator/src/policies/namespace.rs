//! The policies of one namespace, and which of them are judged.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use policy_core::api::DevOpsPolicyStatus;
use policy_core::policy::{PoliciesByRank, PolicyRank};
use policy_core::view::PolicyView;

use super::{PolicyGauges, SharedState};
use crate::policy_key::PolicyKey;
use crate::queue::ReconcileQueue;

/// The policies of a namespace.
#[derive(Default)]
pub(super) struct Namespace {
    /// Sorted by name. A tree has space for eleven, and most namespaces have one or two; boxed, because
    /// one that is added moves those after it.
    policies: Vec<(Arc<str>, Box<Known>)>,
    /// Those that are not being deleted.
    by_rank: PoliciesByRank<()>,
}

pub(super) struct Known {
    /// Without its status.
    pub(super) policy: Arc<PolicyView>,
    status: StatusText,
    pub(super) state: SharedState,
    pub(super) gauges: Option<PolicyGauges>,
    /// Of a cluster policy, the namespaces that changed since they were judged; `None` where all
    /// have to be judged.
    pub(super) changed: Option<BTreeSet<Arc<str>>>,
}

/// A status as JSON, which takes half of the memory of the decoded one; each policy has one, and few
/// are read at a time.
#[derive(Clone)]
pub(super) struct StatusText(Option<Arc<str>>);

impl StatusText {
    /// Takes the status out of a policy.
    fn take(policy: &mut PolicyView) -> Self {
        let text = policy.status.take().and_then(|status| serde_json::to_string(&status).ok());
        Self(text.map(Into::into))
    }

    pub(super) fn read(&self) -> Option<DevOpsPolicyStatus> {
        serde_json::from_str(self.0.as_deref()?).ok()
    }
}

impl Known {
    fn new(mut policy: PolicyView) -> Self {
        let status = StatusText::take(&mut policy);
        let (policy, state) = (Arc::new(policy), SharedState::default());
        Self { policy, status, state, gauges: None, changed: None }
    }

    /// The status that was written last.
    pub(super) fn status(&self) -> StatusText {
        self.status.clone()
    }

    /// Whether it is the same object, not one that was created later under the same name.
    pub(super) fn is(&self, policy: &PolicyView) -> bool {
        self.policy.metadata.uid == policy.metadata.uid
    }

    /// Whether a version of the object is older than the known one. Versions can be compared since
    /// Kubernetes 1.35 (<https://github.com/kubernetes/enhancements/issues/5504>), and with etcd
    /// always could.
    pub(super) fn is_newer_than(&self, policy: &PolicyView) -> bool {
        let version = |policy: &PolicyView| -> Option<u64> {
            policy.metadata.resource_version.as_deref()?.parse().ok()
        };
        version(&self.policy).zip(version(policy)).is_some_and(|(known, other)| known > other)
    }

    /// Replaces the policy by another version, and adds it to the queue where it changed. A status
    /// is no change, so that the operator's own writes cause no reconcile.
    fn replace(&mut self, mut policy: PolicyView, key: &PolicyKey, queue: &ReconcileQueue) {
        let (old, new) = (&self.policy.metadata, &policy.metadata);
        if old.generation != new.generation || old.deletion_timestamp != new.deletion_timestamp {
            queue.add_urgent(key);
        } else if self.policy.finalizers != policy.finalizers {
            queue.add_after(key, Duration::ZERO);
        }
        self.status = StatusText::take(&mut policy);
        self.policy = Arc::new(policy);
    }
}

impl Namespace {
    /// Where the policy of a name is, or would be.
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.policies.binary_search_by(|(known, _)| (**known).cmp(name))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Known> {
        let (_, known) = self.policies.get(self.place(name).ok()?)?;
        Some(known)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Known> {
        let place = self.place(name).ok()?;
        let (_, known) = self.policies.get_mut(place)?;
        Some(known)
    }

    fn insert(&mut self, name: &Arc<str>, policy: PolicyView) {
        let Err(place) = self.place(name) else { return };
        self.policies.reserve_exact(1);
        self.policies.insert(place, (Arc::clone(name), Box::new(Known::new(policy))));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Known)> {
        self.policies.iter().map(|(name, known)| (name, &**known))
    }

    pub(super) fn len(&self) -> usize {
        self.policies.len()
    }

    /// How many are not judged, because of others before them.
    pub(super) fn excess(&self) -> usize {
        self.by_rank.excess().len()
    }

    /// The names of those that are judged.
    pub(super) fn judged(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_rank.judged().map(|(rank, ())| rank.name())
    }

    /// Whether a policy is judged.
    pub(super) fn is_judged(&self, policy: &PolicyView) -> bool {
        self.by_rank.is_judged(&policy.rank())
    }

    /// Adds or replaces a policy, and adds it to the queue where it changed. Returns the policies
    /// that are judged from now on, or no longer.
    pub(super) fn set(
        &mut self,
        policy: PolicyView,
        key: &PolicyKey,
        queue: &ReconcileQueue,
    ) -> Vec<Arc<str>> {
        let rank = policy.rank();
        let is_deleted = policy.metadata.deletion_timestamp.is_some();
        let mut changed = Vec::new();
        let known = self.get_mut(&key.name).filter(|known| known.is(&policy));
        if let Some(known) = known {
            let before = known.policy.rank();
            known.replace(policy, key, queue);
            // The priority of a cluster policy may change, and with it whether it is judged.
            if before != rank {
                known.changed = None;
                changed.extend(self.forget(&before));
            }
        } else {
            changed.extend(self.remove(&key.name));
            self.insert(&key.name, policy);
            queue.add_urgent(key);
        }
        changed.extend(if is_deleted { self.forget(&rank) } else { self.count(rank) });
        changed
    }

    /// Removes a policy. Returns the one that is judged in its place.
    pub(super) fn remove(&mut self, name: &str) -> Option<Arc<str>> {
        let (_, removed) = self.policies.remove(self.place(name).ok()?);
        self.forget(&removed.policy.rank())
    }

    /// Counts a policy. Returns the one that is no longer judged for it.
    fn count(&mut self, rank: PolicyRank) -> Option<Arc<str>> {
        let is_judged = self.by_rank.is_judged(&rank);
        if self.by_rank.insert(rank, ()).is_some() || !is_judged {
            return None;
        }
        self.by_rank.excess().next().map(|(displaced, ())| Arc::clone(displaced.name()))
    }

    /// Counts a policy no more. Returns the one that is judged in its place.
    fn forget(&mut self, rank: &PolicyRank) -> Option<Arc<str>> {
        let was_judged = self.by_rank.is_judged(rank);
        if self.by_rank.remove(rank).is_none() || !was_judged {
            return None;
        }
        self.by_rank.last_judged().map(|next| Arc::clone(next.name()))
    }
}
