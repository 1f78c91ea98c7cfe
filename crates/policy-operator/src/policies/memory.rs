//! What the policies of a namespace remember of its workloads. A policy that is deleted leaves that
//! to the others, because it is about the workload: what did harm under one policy is not tried again
//! under another one.

use std::collections::HashSet;

use policy_core::api::{DevOpsPolicyStatus, RemediatedWorkload};
use policy_core::remediation::RemediationRules;
use policy_core::view::PolicyView;

use super::namespace::{Known, Namespace};
use super::{ByNamespace, Policies};
use crate::policy_key::PolicyKey;

/// What the other policies of a namespace remember of workloads.
#[derive(Debug, Default)]
pub(crate) struct OthersMemory {
    /// Of the policies that enforce.
    pub(crate) enforcing: Vec<RemediatedWorkload>,
    /// Of those that do not, or not any more: they are being deleted, are in audit mode, or cannot
    /// be judged.
    pub(crate) left: Vec<RemediatedWorkload>,
}

/// What a policy fills in, unless it is being deleted.
pub(super) fn enforced(policy: &PolicyView) -> Option<&RemediationRules> {
    let rules = policy.rules.as_ref().ok()?.remediation()?;
    policy.metadata.deletion_timestamp.is_none().then_some(rules)
}

fn remembered(status: Option<DevOpsPolicyStatus>) -> impl Iterator<Item = RemediatedWorkload> {
    let remediation = status.and_then(|status| status.remediation);
    let workloads = remediation.into_iter().flat_map(|remediation| remediation.workloads);
    workloads.filter(|workload| workload.state.is_remembered())
}

impl Namespace {
    /// The policies that are judged and enforce, except one.
    fn enforcing(&self, except: &str) -> impl Iterator<Item = (&std::sync::Arc<str>, &Known)> {
        let judged = self.judged().filter(move |name| &***name != except);
        let judged = judged.filter_map(|name| Some((name, self.get(name)?)));
        judged.filter(|(_, known)| enforced(&known.policy).is_some())
    }
}

impl Policies {
    /// What the other policies of its namespace remember.
    pub(crate) fn others_memory(&self, key: &PolicyKey) -> OthersMemory {
        let mut memory = OthersMemory::default();
        let all = self.known.lock();
        let Some(known) = all.get(&key.namespace).filter(|known| known.len() > 1) else {
            return memory;
        };
        let enforcing: HashSet<_> = known.enforcing(&key.name).map(|(name, _)| name).collect();
        for (name, other) in known.iter().filter(|(name, _)| **name != key.name) {
            let to =
                if enforcing.contains(name) { &mut memory.enforcing } else { &mut memory.left };
            to.extend(remembered(other.status().read()));
        }
        memory
    }

    /// Whether the statuses of the other enforce policies of its namespace have what a policy
    /// remembers.
    pub(crate) fn has_handed_over(&self, policy: &PolicyView) -> bool {
        let key = PolicyKey::of(&policy.metadata);
        let all = self.known.lock();
        let Some(known) = all.get(&key.namespace) else { return true };
        let identity = |memory: RemediatedWorkload| {
            let RemediatedWorkload { workload, uid, template, .. } = memory;
            (workload, uid, template)
        };
        let own: Vec<_> = remembered(policy.status.as_deref().cloned()).map(identity).collect();
        known.enforcing(&key.name).all(|(_, other)| {
            let has: HashSet<_> = remembered(other.status().read()).map(identity).collect();
            own.iter().all(|memory| has.contains(memory))
        })
    }

    /// Adds the other enforce policies of a namespace to the queue, because what is filled in there,
    /// or by which policy, has changed.
    pub(super) fn others_changed(&self, all: &ByNamespace, key: &PolicyKey) {
        if key.is_cluster() {
            return;
        }
        let Some(known) = all.get(&key.namespace) else { return };
        for (name, _) in known.enforcing(&key.name) {
            let (namespace, name) = (key.namespace.clone(), name.clone());
            self.queue.add_urgent(&PolicyKey { namespace, name });
        }
    }
}
