//! The policies that a watch has brought.

use std::collections::HashMap;
use std::sync::Arc;

use policy_core::admission::Injection;
use policy_core::api::{DevOpsPolicyStatus, MAX_WORKLOADS, RemediatedWorkload, RemediationState};
use policy_core::policy::{CompiledPolicy, PoliciesByRank, PolicyRank};
use policy_core::remediation::Fields;
use policy_core::text::truncated;
use policy_core::view::{ClusterPart, PolicyView};
use tracing::warn;

/// The longest reason of an invalid policy that is kept, in bytes. It may quote the policy.
const MAX_REASON: usize = 1024;

/// All policies of a namespace, or all cluster policies, also those over the limit: each of them is
/// judged once one before it is deleted.
#[derive(Default)]
pub(super) struct KnownPolicies {
    by_rank: PoliciesByRank<KnownPolicy>,
    by_name: HashMap<Arc<str>, PolicyRank>,
}

pub(super) struct KnownPolicy {
    pub(super) rules: Result<Arc<CompiledPolicy>, String>,
    /// What only a cluster policy has.
    pub(super) cluster: Option<Arc<ClusterPart>>,
    /// What its status says is filled in for the new pods of workloads.
    injected: Injected,
    /// The number of the last list that has it.
    list: u64,
}

/// The fields that are filled in for the new pods of workloads, sorted by kind and name.
type Injected = Vec<(Arc<str>, Fields)>;

/// What the status of an enforce policy says is filled in for new pods. Most policies have none.
fn injected(rules: &CompiledPolicy, status: Option<&DevOpsPolicyStatus>) -> Injected {
    if rules.remediation().is_none() {
        return Injected::new();
    }
    let status = status.and_then(|status| status.remediation.as_ref());
    let workloads = status.into_iter().flat_map(|status| &status.workloads);
    let injected = workloads.filter(|workload| workload.state == RemediationState::Injecting);
    let injected =
        injected.take(MAX_WORKLOADS).map(|RemediatedWorkload { workload, fields, .. }| {
            (Arc::from(workload.as_str()), Fields::parse(fields.iter().map(String::as_str)))
        });
    let mut injected: Injected = injected.collect();
    injected.sort_by(|(one, _), (other, _)| one.cmp(other));
    injected
}

impl KnownPolicies {
    fn get_mut(&mut self, name: &str) -> Option<&mut KnownPolicy> {
        self.by_rank.get_mut(self.by_name.get(name)?)
    }

    /// Adds a policy, or replaces the one of the same name.
    fn insert(&mut self, rank: PolicyRank, policy: KnownPolicy) {
        let name = Arc::clone(rank.name());
        if let Some(before) = self.by_name.insert(name, rank.clone()) {
            self.by_rank.remove(&before);
        }
        self.by_rank.insert(rank, policy);
    }

    pub(super) fn remove(&mut self, name: &str) -> bool {
        let rank = self.by_name.remove(name);
        rank.is_some_and(|rank| self.by_rank.remove(&rank).is_some())
    }

    /// Drops those that the list does not have.
    pub(super) fn keep_listed(&mut self, list: u64) {
        self.by_rank.retain(|policy| policy.list == list);
        self.by_name.retain(|_, rank| self.by_rank.contains(rank));
    }

    /// Adds a policy as a list or a change has it. Returns whether anything changed that counts for
    /// requests, which of most updates of a status nothing does.
    pub(super) fn apply(&mut self, policy: PolicyView, list: u64) -> bool {
        let rank = policy.rank();
        // A deleted policy no longer applies, also while a finalizer delays its removal.
        if policy.metadata.deletion_timestamp.is_some() {
            return self.remove(rank.name());
        }
        let PolicyView { metadata, rules, cluster, status, .. } = policy;
        let rules = rules.map_err(|invalid| {
            truncated(invalid.to_string().into(), MAX_REASON, MAX_REASON).into_owned()
        });
        let injected =
            rules.as_ref().map(|rules| injected(rules, status.as_deref())).unwrap_or_default();
        if self.by_name.get(rank.name()) == Some(&rank)
            && let Some(known) = self.get_mut(rank.name())
        {
            known.list = list;
            let is_same = known.rules == rules && known.cluster == cluster;
            if is_same && known.injected == injected {
                return false;
            }
        }
        if let Err(reason) = &rules {
            let policy = rank.policy().qualified(metadata.namespace.as_deref().unwrap_or_default());
            warn!("policy {policy} is invalid and does not apply: {reason}");
        }
        self.insert(rank, KnownPolicy { rules, cluster, injected, list });
        true
    }

    /// That a policy is in a list, which cannot be decoded now.
    pub(super) fn keep(&mut self, name: &str, list: u64) {
        if let Some(known) = self.get_mut(name) {
            known.list = list;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// All of them, those that are judged first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&PolicyRank, &KnownPolicy)> {
        self.by_rank.judged().chain(self.by_rank.excess())
    }

    /// What is filled in for the new pods of workloads. Where two policies have a workload, the
    /// older one fills it in.
    pub(super) fn injections(&self, namespace: &str) -> HashMap<Arc<str>, Injection> {
        let mut injections = HashMap::new();
        for (rank, policy) in self.by_rank.judged() {
            for (workload, fields) in &policy.injected {
                injections.entry(Arc::clone(workload)).or_insert_with(|| Injection {
                    policy: format!("{namespace}/{}", rank.name()),
                    fields: fields.clone(),
                });
            }
        }
        injections
    }
}
