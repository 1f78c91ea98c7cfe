//! How many rollouts run at a time, and what stops new ones. Pure but for the counters that all
//! policies share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::Mutex;
use policy_core::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::RemediationConfig;
use crate::policy_key::PolicyKey;

/// So many remediations that were taken back within [`REVERT_SECONDS`] open the circuit breaker.
const MAX_REVERTS: usize = 2;
const REVERT_SECONDS: i64 = 600;
/// The most times of reverts that a status has.
const MAX_TIMES: usize = 10;
/// One in so many repaired workloads that is unhealthy opens the circuit breaker.
const ONE_IN: usize = 10;

/// Why a remediation does not start now. The texts have no running numbers.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    thiserror::Error,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantNames,
)]
pub(crate) enum Withheld {
    /// Configuration says so.
    #[error("remediation is disabled by the operator's configuration (remediation.enabled)")]
    Disabled,
    /// The operator may not do it.
    #[error(
        "the operator is not permitted to read or patch workloads; install the ClusterRole \
         kube-devops-policy-operator-remediation, see docs/remediation.md"
    )]
    NotPermitted,
    /// The API server cannot be asked what planning needs.
    #[error("the API server did not answer; it is asked again")]
    Unreachable,
    /// Several remediations were taken back.
    #[error("two remediations were taken back within ten minutes; nothing new starts until then")]
    Reverts,
    /// Repaired workloads are unhealthy.
    #[error("a tenth or more of the remediated workloads are not healthy")]
    Unhealthy,
    /// No window is open before that time, or ever again.
    #[error("no window of spec.remediation.windows is open; {}", opening(*.opens))]
    Window { opens: Option<Timestamp> },
    /// The first workload of the policy is still observed.
    #[error("the first remediated workload of the policy is still observed")]
    Canary,
    /// As many rollouts of the policy run as may.
    #[error("as many rollouts of the policy run as may (remediation.maxConcurrentPerPolicy)")]
    PolicyBudget,
    /// As many rollouts of the cluster run as may.
    #[error("as many rollouts of the cluster run as may (remediation.maxConcurrent)")]
    ClusterBudget,
    /// As many rollouts were started lately as may.
    #[error("as many rollouts were started lately as may (remediation.maxStarted)")]
    Rate,
    /// The operator has written to the namespace as often as it may for now.
    #[error(
        "the operator has used up its writes to the namespace (128 at once, then 10 a second, dry \
         runs among them); it goes on within seconds"
    )]
    WriteBudget,
    /// It is about to start.
    #[error("it is about to start")]
    Starting,
}

fn opening(opens: Option<Timestamp>) -> String {
    match opens {
        Some(opens) => format!("the next one opens at {opens}"),
        None => "none opens in the next eight years".to_owned(),
    }
}

impl Withheld {
    /// The reason in one word.
    pub(crate) fn code(self) -> &'static str {
        self.into()
    }
}

/// The budgets of the cluster. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budgets {
    config: Arc<RemediationConfig>,
    spent: Arc<Mutex<Spent>>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Spent {
    running: BTreeMap<PolicyKey, usize>,
    /// When the latest rollouts were started, in order.
    started: VecDeque<Instant>,
}

/// While this exists, a rollout runs.
#[derive(Debug)]
pub(crate) struct Permit {
    policy: PolicyKey,
    started: Option<Instant>,
    spent: Arc<Mutex<Spent>>,
}

impl Permit {
    /// Ends a permit for a rollout that has not started after all: it does not count as started
    /// lately.
    pub(crate) fn give_back(self) {
        let started = &mut self.spent.lock().started;
        if let Some(index) = self.started.and_then(|at| started.binary_search(&at).ok()) {
            started.remove(index);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut spent = self.spent.lock();
        if let Some(running) = spent.running.get_mut(&self.policy) {
            *running -= 1;
            if *running == 0 {
                spent.running.remove(&self.policy);
            }
        }
    }
}

impl Budgets {
    /// Nothing starts once `stop` is cancelled.
    pub(crate) fn new(config: RemediationConfig, stop: CancellationToken) -> Self {
        Self { config: Arc::new(config), spent: Arc::default(), stop }
    }

    /// Whether the service is not stopping, so that one that starts with other settings finds
    /// nothing that has just begun.
    pub(crate) fn may_start(&self) -> bool {
        !self.stop.is_cancelled()
    }

    pub(crate) fn config(&self) -> &RemediationConfig {
        &self.config
    }

    /// Takes what one rollout needs, if that is left. `has_proof` is whether a rollout of the policy
    /// did no harm before.
    pub(crate) fn start(
        &self,
        policy: &PolicyKey,
        has_proof: bool,
        now: Instant,
    ) -> Result<Permit, Withheld> {
        let config = &self.config;
        let mut spent = self.spent.lock();
        let window = Duration::from_secs(config.started_within_seconds.into());
        while spent.started.front().is_some_and(|at| now.duration_since(*at) >= window) {
            spent.started.pop_front();
        }
        let running = spent.running.get(policy).copied().unwrap_or_default();
        let all: usize = spent.running.values().sum();
        let is_canary = config.canary && !has_proof;
        if is_canary && running > 0 {
            Err(Withheld::Canary)
        } else if running >= config.max_concurrent_per_policy {
            Err(Withheld::PolicyBudget)
        } else if all >= config.max_concurrent {
            Err(Withheld::ClusterBudget)
        } else if spent.started.len() >= config.max_started {
            Err(Withheld::Rate)
        } else {
            spent.started.push_back(now);
            Ok(self.permit(&mut spent, policy, Some(now)))
        }
    }

    /// Counts a rollout that runs already, started that long ago by any replica.
    pub(crate) fn resume(&self, policy: &PolicyKey, age: Duration, now: Instant) -> Permit {
        let mut spent = self.spent.lock();
        let window = Duration::from_secs(self.config.started_within_seconds.into());
        // The clock has not run for that long where the machine has just started.
        let started = (age < window).then(|| now.checked_sub(age).unwrap_or(now));
        if let Some(started) = started {
            let at = spent.started.partition_point(|other| *other <= started);
            spent.started.insert(at, started);
        }
        self.permit(&mut spent, policy, started)
    }

    fn permit(&self, spent: &mut Spent, policy: &PolicyKey, started: Option<Instant>) -> Permit {
        *spent.running.entry(policy.clone()).or_default() += 1;
        Permit { policy: policy.clone(), started, spent: Arc::clone(&self.spent) }
    }
}

/// The remediations of a policy that were taken back lately, as its status has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reverts(Vec<i64>);

impl Reverts {
    /// Those of a status. A time in the future, of a clock that was set back, counts as now.
    pub(crate) fn of(times: &[Time], now: i64) -> Self {
        Self(times.iter().map(|time| time.0.as_second().min(now)).collect())
    }

    pub(crate) fn add(&mut self, now: i64) {
        self.0.push(now);
    }

    /// Drops those that count no more, and returns the others for the status.
    pub(crate) fn recent(&mut self, now: i64) -> Vec<Time> {
        for at in &mut self.0 {
            *at = (*at).min(now);
        }
        self.0.retain(|at| now.saturating_sub(*at) < REVERT_SECONDS);
        let first = self.0.len().saturating_sub(MAX_TIMES);
        self.0.drain(..first);
        let times = self.0.iter().filter_map(|at| Timestamp::from_second(*at).ok());
        times.map(Time).collect()
    }

    /// When one fewer counts, in seconds since 1970.
    pub(crate) fn next_change(&self) -> Option<i64> {
        self.0.iter().min().map(|at| at + REVERT_SECONDS)
    }
}

/// Whether the circuit breaker of a policy is open: `reverts` of its remediations were taken back
/// lately, and of its `repaired` workloads so many are unhealthy.
pub(crate) fn circuit_breaker(
    reverts: usize,
    repaired: usize,
    unhealthy: usize,
) -> Option<Withheld> {
    if reverts >= MAX_REVERTS {
        Some(Withheld::Reverts)
    } else {
        (unhealthy > 0 && unhealthy * ONE_IN >= repaired).then_some(Withheld::Unhealthy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str) -> PolicyKey {
        PolicyKey::new("shop", name)
    }

    fn budgets() -> Budgets {
        let config = RemediationConfig { max_concurrent: 4, ..RemediationConfig::default() };
        Budgets::new(config, CancellationToken::new())
    }

    #[test]
    fn one_workload_of_a_policy_comes_first() {
        let (budgets, now) = (budgets(), Instant::now());
        let first = budgets.start(&policy("a"), false, now).unwrap();
        assert_eq!(budgets.start(&policy("a"), false, now).unwrap_err(), Withheld::Canary);
        let second = budgets.start(&policy("a"), true, now).unwrap();
        assert!(budgets.start(&policy("b"), false, now).is_ok(), "another policy has its own");
        drop((first, second));
        assert!(budgets.start(&policy("a"), false, now).is_ok());
        let without = RemediationConfig { canary: false, ..RemediationConfig::default() };
        let without = Budgets::new(without, CancellationToken::new());
        let _both = [0; 2].map(|_| without.start(&policy("a"), false, now).unwrap());
    }

    #[test]
    fn a_policy_and_the_cluster_have_so_many_rollouts_at_a_time() {
        let (budgets, now) = (budgets(), Instant::now());
        let mut running: Vec<_> =
            (0..3).map(|_| budgets.start(&policy("a"), true, now).unwrap()).collect();
        assert_eq!(budgets.start(&policy("a"), true, now).unwrap_err(), Withheld::PolicyBudget);
        running.push(budgets.start(&policy("b"), true, now).unwrap());
        assert_eq!(budgets.start(&policy("c"), true, now).unwrap_err(), Withheld::ClusterBudget);
        running.pop();
        assert!(budgets.start(&policy("c"), true, now).is_ok(), "one has ended");
    }

    #[test]
    fn so_many_rollouts_start_in_a_time_also_over_a_restart() {
        let (budgets, start) = (budgets(), Instant::now() + Duration::from_secs(3_600));
        let age = Duration::from_secs(500);
        for _ in 0..30 {
            drop(budgets.resume(&policy("a"), age, start));
        }
        assert_eq!(budgets.start(&policy("a"), true, start).unwrap_err(), Withheld::Rate);
        let later = start + Duration::from_secs(100);
        for _ in 0..30 {
            drop(budgets.start(&policy("a"), true, later).unwrap());
        }
        assert_eq!(budgets.start(&policy("a"), true, later).unwrap_err(), Withheld::Rate);
    }

    #[test]
    fn what_has_not_started_after_all_does_not_count() {
        let (budgets, now) = (budgets(), Instant::now());
        for _ in 0..100 {
            budgets.start(&policy("a"), true, now).unwrap().give_back();
        }
        for _ in 0..30 {
            drop(budgets.start(&policy("a"), true, now).unwrap());
        }
        assert_eq!(budgets.start(&policy("a"), true, now).unwrap_err(), Withheld::Rate);
    }

    #[test]
    fn what_started_before_the_machine_did_counts_as_started_now() {
        let (budgets, now) = (budgets(), Instant::now());
        // The monotonic clock cannot name a time that long ago.
        let budgets = Budgets {
            config: Arc::new(RemediationConfig {
                started_within_seconds: u32::MAX,
                max_started: 1,
                ..(*budgets.config).clone()
            }),
            ..budgets
        };
        drop(budgets.resume(&policy("a"), Duration::from_secs(u64::from(u32::MAX) - 1), now));
        assert_eq!(budgets.start(&policy("a"), true, now).unwrap_err(), Withheld::Rate);
    }

    #[test]
    fn what_waits_for_a_window_says_when_it_opens() {
        let opens = Some("2026-11-30T09:00:00Z".parse().unwrap());
        assert_eq!(
            Withheld::Window { opens }.to_string(),
            "no window of spec.remediation.windows is open; the next one opens at \
             2026-11-30T09:00:00Z"
        );
        assert_eq!(Withheld::Window { opens }.code(), "Window");
    }

    #[test]
    fn two_reverts_in_ten_minutes_open_the_circuit_breaker() {
        let mut reverts = Reverts::default();
        let is_open = |reverts: &mut Reverts, now: i64| {
            circuit_breaker(reverts.recent(now).len(), 0, 0) == Some(Withheld::Reverts)
        };
        reverts.add(1_000);
        assert!(!is_open(&mut reverts, 1_000));
        reverts.add(1_500);
        assert!(is_open(&mut reverts, 1_500));
        assert!(is_open(&mut reverts, 1_599));
        assert_eq!(reverts.next_change(), Some(1_600));
        assert!(!is_open(&mut reverts, 1_600), "the first is ten minutes old");
        reverts.add(1_601);
        let mut again = Reverts::of(&reverts.recent(1_601), 1_601);
        assert!(is_open(&mut again, 1_601), "after a restart");
        assert!(is_open(&mut again, 100), "the clock was set back");
        assert!(!is_open(&mut again, 700), "and they age by the new clock");
    }

    #[test]
    fn a_tenth_of_the_repaired_workloads_opens_the_circuit_breaker() {
        assert_eq!(circuit_breaker(1, 30, 2), None);
        assert_eq!(circuit_breaker(1, 30, 3), Some(Withheld::Unhealthy));
        assert_eq!(circuit_breaker(0, 1, 1), Some(Withheld::Unhealthy));
        assert_eq!(circuit_breaker(0, 0, 0), None);
    }
}
