//! One look at one policy: judge its namespace, then write what is new.
//!
//! Every replica judges, so that its memory is warm; the leader writes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Resource as _;
use kube_runtime::controller::Action;
use metrics::counter;
use policy_core::Timestamp;
use policy_core::api::{DevOpsPolicy, DevOpsPolicyStatus, FINALIZER};
use policy_core::policy::CompiledPolicy;
use policy_core::report::Summary;
use policy_core::verdict::Verdict;
use tokio::time::Instant;

use crate::audit::{self, Results};
use crate::herald::Tell;
use crate::judgement::{Judgement, Refusal, says_the_same, sentence, status};
use crate::memory::{Memory, Shown};
use crate::pods::Pods;
use crate::policies::{Guarded, Key, Policies};
use crate::write::{WriteError, Writer};

/// A follower whose policies rest looks at them again after that time.
const FOLLOWER_REST: Duration = Duration::from_secs(240);

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

impl Reconciler {
    /// Brings the cluster up to date with one policy, and says when to look again at the latest.
    pub(crate) async fn reconcile(&self, policy: &Guarded) -> Result<Action, WriteError> {
        let metadata = policy.meta();
        let key = Key::of(metadata);
        let Some(memory) = self.policies.memory(&key) else {
            return Ok(Action::await_change());
        };
        let leads = self.writer.leads();
        let is_held = metadata.finalizers.iter().flatten().any(|name| name == FINALIZER);
        if metadata.deletion_timestamp.is_some() {
            *locked(&memory) = Memory::default();
            if leads && is_held {
                self.writer.release(metadata).await?;
            }
            return Ok(Action::await_change());
        }
        if leads && !is_held {
            self.writer.hold(metadata).await?;
            // The change that this makes leads back here.
            return Ok(Action::await_change());
        }
        let now = Instant::now();
        if let Some(rest) = locked(&memory).rest(metadata.generation, now) {
            return Ok(Action::requeue(rest));
        }
        let second = (self.now)();
        let Some(judgement) = self.judge(policy, second) else {
            // The namespace counts as changed once its pods are known.
            return Ok(Action::await_change());
        };
        locked(&memory).judges(metadata.generation, now);
        self.note(&key, policy, &memory, &judgement, second);
        if leads {
            self.write(policy, &memory, &judgement, second).await?;
        }
        Ok(Action::requeue(self.next_look(&memory, &judgement, leads)))
    }

    /// Judges the namespace of a policy. `None` while its pods are not known as a whole.
    pub(crate) fn judge(&self, policy: &Guarded, now: Timestamp) -> Option<Judgement> {
        let namespace = policy.meta().namespace.as_deref().unwrap_or_default();
        if self.pods.excludes(namespace) {
            return Some(Judgement::Refused(Refusal::ExcludedNamespace));
        }
        let spec = match &policy.0 {
            Ok(policy) => &policy.spec,
            Err(invalid) => {
                return Some(Judgement::Refused(Refusal::Undecodable(invalid.error.clone())));
            }
        };
        let compiled = match CompiledPolicy::compile(spec) {
            Ok(compiled) => compiled,
            Err(problems) => return Some(Judgement::Refused(Refusal::Invalid(problems))),
        };
        let verdict = self.pods.read(namespace, |pods| Verdict::of(pods, &compiled, now))?;
        counter!("devopspolicy_pods_scanned_total").increment(verdict.tally.pods());
        Some(Judgement::Judged(Box::new(compiled), Box::new(verdict)))
    }

    /// Takes the judgement into the memory that every replica keeps.
    fn note(
        &self,
        key: &Key,
        policy: &Guarded,
        memory: &Remembered,
        judgement: &Judgement,
        now: Timestamp,
    ) {
        let mut memory = locked(memory);
        memory.shown = Shown::of(judgement);
        let Judgement::Judged(_, verdict) = judgement else { return };
        let last = self.results.last(uid(policy));
        let spec = || audit::spec(&key.name, self.cluster_name.as_deref(), verdict, now);
        let left_out = memory.trail.observe(last, verdict.fingerprint, now.as_second(), spec);
        if left_out > 0 {
            counter!("dropped_total", "what" => "audit results").increment(left_out as u64);
        }
        if !self.writer.leads() {
            memory.trail.forget_stale(now.as_second());
            let status = policy.0.as_ref().ok().and_then(|policy| policy.status.as_ref());
            memory.herald.assume(status.and_then(|status| status.classification));
        }
    }

    /// Writes what is new: the status first, for it is what people look at.
    async fn write(
        &self,
        policy: &Guarded,
        memory: &Remembered,
        judgement: &Judgement,
        now: Timestamp,
    ) -> Result<(), WriteError> {
        self.write_status(policy, memory, judgement, now).await?;
        if let (Ok(policy), Judgement::Judged(compiled, verdict)) = (&policy.0, judgement) {
            self.tell(policy, memory, compiled, verdict).await;
        }
        self.write_audit_results(policy, memory, now).await
    }

    async fn write_status(
        &self,
        policy: &Guarded,
        memory: &Remembered,
        judgement: &Judgement,
        now: Timestamp,
    ) -> Result<(), WriteError> {
        let decoded = policy.0.as_ref().ok();
        let Some(new) = due_status(decoded, policy, &mut locked(memory), judgement, now) else {
            return Ok(());
        };
        let version = self.writer.status(policy.meta(), &new).await?;
        locked(memory).wrote(new, version.as_deref());
        Ok(())
    }

    async fn tell(
        &self,
        policy: &DevOpsPolicy,
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
        policy: &Guarded,
        memory: &Remembered,
        now: Timestamp,
    ) -> Result<(), WriteError> {
        let (metadata, key, uid) = (policy.meta(), Key::of(policy.meta()), uid(policy));
        loop {
            let due = locked(memory).trail.due(now.as_second()).cloned();
            let Some(due) = due else { break };
            let object = audit::object(metadata, &due);
            self.writer.audit_result(&key, &object).await?;
            self.results.wrote(&object.metadata, due.minute);
            locked(memory).trail.settle(self.results.last(uid));
        }
        for name in self.results.excess(uid, self.retention) {
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
        let beat = if leads { memory.beat() } else { None };
        let times = [verdict.and_then(|verdict| verdict.due), memory.trail.next(), beat];
        let next = times.into_iter().flatten().min();
        let until = next.map_or(FOLLOWER_REST, |second| until(second, now));
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
    decoded: Option<&DevOpsPolicy>,
    policy: &Guarded,
    memory: &mut Memory,
    judgement: &Judgement,
    now: Timestamp,
) -> Option<DevOpsPolicyStatus> {
    let before = memory.status(decoded);
    let new = status(judgement, policy.meta().generation, before.as_ref(), now);
    let is_news = before.as_ref().is_none_or(|before| !says_the_same(before, &new));
    let is_due = before.is_some_and(|before| memory.beat_after(&before) <= now.as_second());
    (is_news || is_due).then_some(new)
}

/// From now to the beginning of a second; never nothing, since that would be now again.
fn until(second: i64, now: Timestamp) -> Duration {
    let millis = second.saturating_mul(1_000).saturating_sub(now.as_millisecond());
    Duration::from_millis(u64::try_from(millis).unwrap_or(0).max(100))
}

fn uid(policy: &Guarded) -> &str {
    policy.meta().uid.as_deref().unwrap_or_default()
}
