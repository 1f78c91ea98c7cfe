//! Judges the namespaces of a cluster policy within a reconcile.

use std::sync::Arc;

use metrics::counter;
use policy_core::Timestamp;
use policy_core::view::{ClusterPart, PolicyView};

use super::Reconciler;
use crate::cluster::{ClusterJudge, Interrupted};
use crate::judgement::{Judgement, Rejection};
use crate::policy_key::PolicyKey;
use crate::policy_state::PolicyState;
use policy_metrics::operator::PODS_SCANNED;

impl Reconciler {
    /// Judges the namespaces of a cluster policy that changed. `None` while a list of pods is being
    /// read; the policy is then due again once that is complete.
    pub(super) async fn judge_namespaces(
        &self,
        policy: &PolicyView,
        part: &Arc<ClusterPart>,
        state: &mut PolicyState,
        now: Timestamp,
    ) -> Option<Judgement> {
        let key = PolicyKey::of(&policy.metadata);
        if !self.policies.is_judged(policy) {
            state.cluster = None;
            self.pods.custom().retain_policies(|other| *other != key);
            return Some(Judgement::Rejected(Rejection::TooManyClusterPolicies));
        }
        let rules = match &policy.rules {
            Ok(rules) => rules,
            Err(refused) => {
                state.cluster = None;
                self.pods.custom().retain_policies(|other| *other != key);
                return Some(Judgement::Rejected(Rejection::Policy(refused.clone())));
            }
        };
        let (key, Self { pods, namespaces, rollouts, drains, labels, .. }) = (&key, self);
        let lists = self.lists();
        let judge = ClusterJudge {
            pods,
            namespaces,
            rollouts,
            drains,
            key,
            labels,
            rules,
            part,
            lists,
            now,
        };
        match judge.judge(&mut state.cluster, self.policies.take_changed(key)).await {
            Ok((judged, scanned)) => {
                counter!(PODS_SCANNED.name).increment(scanned);
                Some(Judgement::Judged(judged.into()))
            }
            Err(Interrupted(remaining)) => {
                self.policies.give_back(key, remaining);
                None
            }
        }
    }
}
