//! One look at one policy: judge its namespace, then write what is new.
//!
//! Every replica judges, so that its memory is warm; the leader writes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::counter;
use policy_core::Timestamp;
use policy_core::api::{DevOpsPolicyStatus, FINALIZER};
use policy_core::policy::CompiledPolicy;
use policy_core::report::Summary;
use policy_core::verdict::Verdict;
use policy_core::view::PolicyView;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::audit::{self, Results};
use crate::herald::Tell;
use crate::judgement::{Judgement, Refusal, says_the_same, sentence, status};
use crate::key::Key;
use crate::memory::{Memory, Shown};
use crate::pods::Pods;
use crate::policies::Policies;
use crate::trail::STALE;
use crate::write::{Class, WriteError, Writer};

/// Audit results are written within so many seconds after the end of their minute: those of all
/// policies would else come at the same time.
const MINUTE_SPREAD: i64 = 5;
/// A moment, as no time at all would be now again.
const SHORTEST_REST: Duration = Duration::from_millis(100);
/// A policy is looked at again after that time, whatever happens.
const LONGEST_REST: Duration = Duration::from_secs(290);

/// All that a look at a policy needs.
pub(crate) struct Reconciler {
    pub(crate) pods: Pods,
    pub(crate) policies: Policies,
    pub(crate) results: Results,
    pub(crate) writer: Writer,
    pub(crate) cluster_name: Option<String>,
    /// How many audit results of a policy are kept.
    pub(crate) retention: usize,
    /// The time of day.
    pub(crate) now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

/// What is remembered of the policy that is looked at.
type Remembered = Arc<Mutex<Memory>>;

fn locked(memory: &Remembered) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What came of a look.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    /// It was not the policy's turn yet.
    NotYet(Duration),
    /// All is written; nothing has to be done for so long, if nothing changes. `None`: for good.
    Done(Option<Duration>),
}

impl Reconciler {
    /// Brings the cluster up to date with one policy.
    pub(crate) async fn reconcile(&self, policy: &PolicyView) -> Result<Looked, WriteError> {
        let metadata = &policy.metadata;
        let Some(memory) = self.policies.memory(&Key::of(metadata)) else {
            return Ok(Looked::Done(None));
        };
        let now = Instant::now();
        if let Some(rest) = locked(&memory).rest(metadata.generation, now) {
            return Ok(Looked::NotYet(rest));
        }
        let looked = self.look(policy, &memory, now).await;
        match &looked {
            Ok(_) => locked(&memory).succeeded(),
            Err(error) => {
                let delay = locked(&memory).failed(error.class(), metadata.generation, now);
                tell_failure(error, delay);
            }
        }
        looked.map(Looked::Done)
    }

    /// How long the policy has to wait for its turn, where it has to.
    pub(crate) fn rest(&self, policy: &PolicyView) -> Option<Duration> {
        let memory = self.policies.memory(&Key::of(&policy.metadata))?;
        let rest = locked(&memory).rest(policy.metadata.generation, Instant::now());
        Some(rest.unwrap_or(SHORTEST_REST))
    }

    async fn look(
        &self,
        policy: &PolicyView,
        memory: &Remembered,
        now: Instant,
    ) -> Result<Option<Duration>, WriteError> {
        let metadata = &policy.metadata;
        let leads = self.writer.leads();
        let is_held = metadata.finalizers.iter().flatten().any(|name| name == FINALIZER);
        if metadata.deletion_timestamp.is_some() {
            locked(memory).release();
            if leads && is_held {
                self.writer.release(metadata).await?;
            }
            return Ok(None);
        }
        if leads && !is_held {
            self.writer.hold(metadata).await?;
            // The change that this makes leads back here.
            return Ok(None);
        }
        let second = (self.now)();
        let Some(judgement) = self.judge(policy, second) else {
            // The namespace counts as changed once its pods are known.
            return Ok(None);
        };
        locked(memory).judges(metadata.generation, now);
        self.note(policy, memory, &judgement, second);
        if leads {
            self.write(policy, memory, &judgement, second).await?;
        }
        Ok(Some(self.next_look(memory, &judgement, leads)))
    }

    /// Judges the namespace of a policy. `None` while its pods are not known as a whole.
    pub(crate) fn judge(&self, policy: &PolicyView, now: Timestamp) -> Option<Judgement> {
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        if self.pods.excludes(namespace) {
            return Some(Judgement::Refused(Refusal::ExcludedNamespace));
        }
        let rules = match &policy.rules {
            Ok(rules) => rules,
            Err(refused) => {
                return Some(Judgement::Refused(Refusal::Policy(refused.clone())));
            }
        };
        let verdict = self.pods.read(namespace, |pods| Verdict::of(pods, rules, now))?;
        counter!("devopspolicy_pods_scanned_total").increment(verdict.tally.pods());
        Some(Judgement::Judged(Arc::clone(rules), Box::new(verdict)))
    }

    /// Takes the judgement into the memory that every replica keeps.
    fn note(
        &self,
        policy: &PolicyView,
        memory: &Remembered,
        judgement: &Judgement,
        now: Timestamp,
    ) {
        let metadata = &policy.metadata;
        let last = self.results.last(metadata, now);
        let class = policy.status.as_ref().and_then(|status| status.classification);
        let mut memory = locked(memory);
        memory.shown = Shown::of(judgement);
        memory.trail.settle(last);
        memory.herald.begin(class);
        if !self.writer.leads() {
            memory.follows();
            memory.herald.assume(class);
        }
        if self.writer.follows() {
            memory.trail.forget_stale(now.as_second());
        }
        let Judgement::Judged(_, verdict) = judgement else { return };
        let name = metadata.name.as_deref().unwrap_or_default();
        let spec = || audit::spec(name, self.cluster_name.as_deref(), verdict, now);
        let left_out = memory.trail.observe(last, verdict.fingerprint, now.as_second(), spec);
        if left_out > 0 {
            counter!("dropped_total", "what" => "audit results").increment(left_out as u64);
        }
    }

    /// Writes what is new: the status first, for it is what people look at.
    async fn write(
        &self,
        policy: &PolicyView,
        memory: &Remembered,
        judgement: &Judgement,
        now: Timestamp,
    ) -> Result<(), WriteError> {
        self.write_status(policy, memory, judgement, now).await?;
        if let Judgement::Judged(compiled, verdict) = judgement {
            self.tell(policy, memory, compiled, verdict).await;
        }
        self.write_audit_results(policy, memory, now).await
    }

    async fn write_status(
        &self,
        policy: &PolicyView,
        memory: &Remembered,
        judgement: &Judgement,
        now: Timestamp,
    ) -> Result<(), WriteError> {
        let Some(new) = due_status(policy, &mut locked(memory), judgement, now) else {
            return Ok(());
        };
        let version = self.writer.status(policy, &new).await?;
        locked(memory).wrote(Arc::new(new), version.as_deref());
        Ok(())
    }

    async fn tell(
        &self,
        policy: &PolicyView,
        memory: &Remembered,
        compiled: &CompiledPolicy,
        verdict: &Verdict,
    ) {
        let (class, now) = (verdict.score.classification(), Instant::now());
        let Tell::Since(before) = locked(memory).herald.news(class, now) else { return };
        let sentence = sentence(&Summary::of(&verdict.tally, compiled));
        self.writer.class_changed(policy, before, class, &sentence).await;
        locked(memory).herald.told(class, now);
    }

    async fn write_audit_results(
        &self,
        policy: &PolicyView,
        memory: &Remembered,
        now: Timestamp,
    ) -> Result<(), WriteError> {
        let (metadata, key) = (&policy.metadata, Key::of(&policy.metadata));
        loop {
            let due = locked(memory).trail.due(now.as_second()).cloned();
            let Some(due) = due else { break };
            let object = audit::object(metadata, &due);
            if self.writer.audit_result(&key, &object).await? {
                self.results.wrote(&object.metadata, due.minute);
                locked(memory).trail.settle(self.results.last(metadata, now));
            } else {
                // By then the watch will have told which verdict has this minute.
                locked(memory).trail.postpone();
            }
        }
        for name in self.results.excess(metadata, self.retention) {
            self.writer.delete_audit_result(&key, &name).await?;
            self.results.deleted(&key.namespace, &name);
        }
        Ok(())
    }

    /// How long nothing has to be done, if nothing changes.
    fn next_look(&self, memory: &Remembered, judgement: &Judgement, leads: bool) -> Duration {
        let now = (self.now)();
        let memory = locked(memory);
        let verdict = match judgement {
            Judgement::Judged(_, verdict) => Some(verdict),
            Judgement::Refused(_) => None,
        };
        // A follower has nothing to write at the end of a minute, but to forget what was written.
        let after = if leads { fastrand::i64(0..=MINUTE_SPREAD) } else { STALE };
        let minute = memory.trail.next().map(|second| second + after);
        let times = [verdict.and_then(|verdict| verdict.due), minute, memory.beat()];
        let next = times.into_iter().flatten().min();
        // Whatever the clock does meanwhile.
        let until = next.map_or(LONGEST_REST, |second| until(second, now)).min(LONGEST_REST);
        let news = verdict
            .map(|verdict| memory.herald.news(verdict.score.classification(), Instant::now()));
        match news {
            Some(Tell::At(at)) if leads => until.min(at.saturating_duration_since(Instant::now())),
            _ => until,
        }
    }
}

/// The status to be written, where it says something new or was not written for long.
fn due_status(
    policy: &PolicyView,
    memory: &mut Memory,
    judgement: &Judgement,
    now: Timestamp,
) -> Option<DevOpsPolicyStatus> {
    let before = memory.status(policy);
    let mut new = status(judgement, policy.metadata.generation, before.as_deref(), now);
    let is_news = before.as_ref().is_none_or(|before| !says_the_same(&mut new, before));
    let is_due = before.is_some_and(|before| memory.is_to_beat(&before, now));
    (is_news || is_due).then_some(new)
}

/// Says that a write failed, and when it is tried again.
fn tell_failure(error: &WriteError, delay: Duration) {
    let class = error.class();
    counter!("devopspolicy_reconcile_errors_total", "class" => class.as_str()).increment(1);
    if class == Class::NotLeader {
        debug!("{error}");
    } else {
        warn!(class = class.as_str(), ?delay, "{error}");
    }
}

/// From now to the beginning of a second.
fn until(second: i64, now: Timestamp) -> Duration {
    let millis = second.saturating_mul(1_000).saturating_sub(now.as_millisecond());
    Duration::from_millis(u64::try_from(millis).unwrap_or(0)).max(SHORTEST_REST)
}

#[cfg(test)]
mod tests;
