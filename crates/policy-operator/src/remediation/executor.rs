//! Carries out enforce mode for one policy: reads workloads that are due, follows rollouts, starts
//! what the budgets allow. What decides is in [`super::decision`], [`super::guard`] and
//! [`super::budget`].

mod choose;
mod injection;
mod observe;
mod read;
mod start;
mod unlock;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use policy_core::Timestamp;
use policy_core::api::{RemediatedWorkload, RemediationState};
use policy_core::facts::PodFacts;
use policy_core::remediation::{
    NamespaceRules, Plan, PlanInput, Planned, Reason, RemediationRules, Surroundings, Target,
    memory, plan,
};
use policy_core::verdict::JudgedWorkload;
use policy_core::workload::Workload;
use serde_json::Value;
use tokio::time::Instant;

use super::budget::{Budgets, Withheld};
use super::counters::Failure;
use super::pod_health::PodHealth;
use super::record::Record;
use super::surroundings::SurroundingsCache;
use crate::policies::OthersMemory;
use crate::policy_key::PolicyKey;
use crate::write_error::WriteError;
use crate::writer::Writer;
use choose::say;
use injection::check_injected;
use read::{Found, take_in_found};

/// The most requests of one policy at a time.
const CONCURRENCY: usize = 8;
/// No further request begins after that time of one reconcile; what is left has its turn in the
/// next.
const TURN: Duration = Duration::from_secs(5);
/// The most bytes of JSON of workloads that are kept between their reads and their patches, so that
/// a namespace of many large ones takes no memory without end. In memory they are several times as
/// large.
const LARGEST_FRESH: usize = 8 << 20;
/// What a budget, or the circuit breaker, withholds is tried again after that time.
const BUDGET_POLL: Duration = Duration::from_secs(5);
const BREAKER_POLL: Duration = Duration::from_secs(15);
/// Whether the mutating webhook is installed is asked again after that time.
const WEBHOOK_POLL: Duration = Duration::from_secs(60);

/// Remediates workloads. All policies share it.
pub(crate) struct Executor {
    writer: Writer,
    budgets: Budgets,
    surroundings: SurroundingsCache,
}

/// What one reconcile of an enforce policy works with.
pub(crate) struct Scope<'a> {
    pub(crate) policy: &'a PolicyKey,
    pub(crate) rules: &'a RemediationRules,
    /// The enforce policies of the namespace, the oldest first.
    pub(crate) enforcing: Vec<(Arc<str>, RemediationRules)>,
    /// What the other policies of the namespace remember.
    pub(crate) others: OthersMemory,
    pub(crate) pods: &'a [Arc<PodFacts>],
    pub(crate) judged: &'a [JudgedWorkload],
    /// The pods of the namespace that are not healthy.
    pub(crate) unhealthy: Vec<(Box<str>, PodHealth)>,
    pub(crate) now: Timestamp,
}

impl Scope<'_> {
    fn second(&self) -> i64 {
        self.now.as_second()
    }

    /// The pods of a workload that are not healthy.
    fn unhealthy<'a>(&'a self, of: &'a Workload) -> impl Iterator<Item = &'a PodHealth> {
        let pods = self.unhealthy.iter().map(|(_, pod)| pod);
        pods.filter(|pod| pod.belongs_to(of))
    }
}

/// A workload as it was read.
pub(crate) type Read = (Target, Value);
/// The workloads that were read in this reconcile and are to be patched. One that does not fit is
/// read again before its patch.
#[derive(Default)]
pub(crate) struct Fresh {
    reads: HashMap<String, Box<Read>>,
    /// About the size of their JSON.
    bytes: usize,
}

impl Fresh {
    fn insert(&mut self, label: &str, read: Box<Read>) {
        let bytes = size(&read.1);
        if self.bytes.saturating_add(bytes) <= LARGEST_FRESH {
            self.bytes += bytes;
            self.reads.insert(label.to_owned(), read);
        }
    }
}

/// About the size of a value in JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| size(item) + 1).sum::<usize>() + 2,
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| key.len() + 4 + size(value)).sum::<usize>() + 2
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

/// What plans are made from.
struct Planner<'a> {
    rules: NamespaceRules,
    surroundings: Arc<Surroundings>,
    /// What the other policies of the namespace remember.
    others: &'a OthersMemory,
}

impl Planner<'_> {
    /// The plan for a workload, and what another policy remembers where the plan rests on that.
    fn plan(
        &self,
        workload: &Workload,
        own: Option<&RemediatedWorkload>,
        target: &Target,
    ) -> (Planned, Option<&RemediatedWorkload>) {
        let input = |memory| PlanInput {
            rules: &self.rules,
            namespace: &self.surroundings.facts,
            target,
            peaks: self.surroundings.peaks_of(workload),
            memory,
        };
        let OthersMemory { enforcing, left } = self.others;
        let is_known = memory(target, own, []).is_some();
        let others = || memory(target, None, enforcing.iter().chain(left));
        let inherited = if is_known { None } else { others() };
        let planned = plan(&input(inherited.or(own)));
        let is_remembered = matches!(
            planned.plan,
            Plan::NotPatchable { reason: Reason::Reverted | Reason::Withdrawn }
        );
        (planned, inherited.filter(|_| is_remembered))
    }
}

/// Whether every other request would fail as well.
fn blocks(error: &WriteError) -> Option<Withheld> {
    match Failure::of(error) {
        Failure::Forbidden => Some(Withheld::NotPermitted),
        Failure::Unreachable => Some(Withheld::Unreachable),
        _ => None,
    }
}

impl Executor {
    pub(crate) fn new(writer: Writer, budgets: Budgets) -> Self {
        Self { writer, budgets, surroundings: SurroundingsCache::default() }
    }

    /// Reads and decides, takes back what did harm, and chooses what starts now. It is carried out
    /// by [`Executor::start`] once the status has it.
    pub(crate) async fn prepare(&self, scope: &Scope<'_>, record: &mut Record) -> Fresh {
        let now = Instant::now();
        record.clock_is(scope.now);
        let is_oldest = scope.enforcing.first().is_some_and(|(name, _)| *name == scope.policy.name);
        record.take_over(scope.others.left.clone(), is_oldest, now);
        record.sync(scope.judged, now);
        let mut fresh = Fresh::default();
        if self.budgets.config().enabled {
            record.rules_are(scope.enforcing.clone(), now);
            if !record.blocks_reads(now) {
                self.observe(scope, record).await;
                self.read_due(scope, record, &mut fresh).await;
            }
            check_injected(scope, record);
        }
        self.choose(scope, record, Instant::now());
        fresh
    }

    /// When something is to be done next, if nothing changes.
    pub(crate) fn next_due(&self, scope: &Scope<'_>, record: &Record) -> Option<Duration> {
        let notices = record.notices.next_due().map(|second| second - scope.second());
        let notices = notices.map(|seconds| u64::try_from(seconds).unwrap_or_default());
        let notices = notices.map(Duration::from_secs);
        if !self.budgets.config().enabled {
            return notices;
        }
        let now = Instant::now();
        let block = record.block.as_ref().map(|block| block.until.saturating_duration_since(now));
        let reads = record.entries.values().map(|entry| entry.due).min();
        let reads = reads.map(|due| due.saturating_duration_since(now));
        let reads = reads.map(|reads| {
            let blocked = block.filter(|_| record.blocks_reads(now));
            blocked.map_or(reads, |blocked| reads.max(blocked))
        });
        let has_start = record.entries.values().any(|entry| entry.start.is_some());
        let until = |second: i64| {
            let seconds = u64::try_from(second.saturating_sub(scope.second())).unwrap_or_default();
            Duration::from_secs(seconds.max(1))
        };
        // It ends by itself, and the condition says so, also where nothing waits for that.
        let end = match record.stopped {
            Some(Withheld::Reverts) => record.reverts.next_change(),
            Some(Withheld::Window { opens }) => opens.map(Timestamp::as_second),
            _ => None,
        };
        let end = end.map(until);
        let starts = (has_start && end.is_none()).then(|| match record.stopped {
            Some(Withheld::NotPermitted | Withheld::Unreachable) => block.unwrap_or(BUDGET_POLL),
            Some(_) => BREAKER_POLL,
            None => BUDGET_POLL,
        });
        let webhook = record.lacks_webhook.then_some(WEBHOOK_POLL);
        // An injected pod that is never ready fails without any further change.
        let injecting = record
            .entries
            .values()
            .filter(|entry| entry.state() == Some(RemediationState::Injecting));
        let failures = injecting
            .flat_map(|entry| scope.unhealthy(&entry.workload))
            .filter_map(PodHealth::fails_at)
            .filter(|at| *at > scope.second())
            .map(until)
            .min();
        let starts = starts.into_iter().chain(end);
        reads.into_iter().chain(starts).chain(notices).chain(webhook).chain(failures).min()
    }

    async fn planner<'a>(&self, scope: &'a Scope<'_>) -> Result<Planner<'a>, WriteError> {
        let namespace = &scope.policy.namespace;
        let surroundings = self.surroundings.get(&self.writer, namespace, scope.pods).await?;
        let policies = scope.enforcing.iter().map(|(name, rules)| (&**name, rules));
        let rules = NamespaceRules::of(policies, scope.now);
        Ok(Planner { rules, surroundings, others: &scope.others })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn large_workloads_are_not_all_kept() {
        let read = |bytes: usize| {
            let object = json!({ "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": { "annotations": { "large": "x".repeat(bytes) } },
                "spec": { "template": { "spec": { "containers": [{ "name": "web" }] } } } });
            Box::new((Target::read(&object).unwrap(), object))
        };
        let mut fresh = Fresh::default();
        for number in 0..20 {
            fresh.insert(&format!("large-{number}"), read(1 << 20));
        }
        assert_eq!(fresh.reads.len(), 7);
        fresh.insert("small", read(1_000));
        assert!(fresh.reads.contains_key("small"));
    }
}
