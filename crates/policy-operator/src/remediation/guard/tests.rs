use policy_core::workload::Workload;

use super::super::pod_health::Terminated;
use super::*;

const PATCHED: i64 = 1_800_000_000;

fn fields(text: &[&str]) -> Fields {
    Fields::parse(text.iter().copied())
}

/// A liveness probe that fails 5 + 9 × 10 seconds after the start.
fn probes() -> Fields {
    fields(&["web: readinessProbe=tcp:8080,delay=5,period=10,failures=3 \
              livenessProbe=tcp:8080,delay=5,period=10,failures=9"])
}

fn complete() -> Rollout {
    Rollout {
        is_observed: true,
        desired: 3,
        current: 3,
        updated: 3,
        available: 3,
        grace_seconds: 30,
        ..Rollout::default()
    }
}

fn stuck() -> Rollout {
    Rollout { current: 4, updated: 1, ..complete() }
}

fn pod(created: i64) -> PodHealth {
    PodHealth {
        workload: Workload { group: "apps".into(), kind: "Deployment".into(), name: "web".into() },
        created,
        template: None,
        is_ready: false,
        since: Some(created),
        is_unschedulable: false,
        restarts: 0,
        terminated: None,
        waiting: None,
        is_injected: false,
    }
}

fn restarted(created: i64, reason: &str, at: i64) -> PodHealth {
    let terminated = Terminated { at: Some(at), reason: reason.into(), container: "web".into() };
    PodHealth { restarts: 1, is_ready: true, terminated: Some(terminated), ..pod(created) }
}

/// A guard that begins at its start time, and a clock.
struct Run {
    guard: Guard,
    start: Instant,
}

impl Run {
    fn of(fields: &Fields) -> Self {
        let start = Instant::now();
        Self { guard: Guard::new(PATCHED, fields, start), start }
    }

    fn at(&mut self, second: u64, rollout: &Rollout, pods: &[PodHealth]) -> Assessment {
        self.guard.observe(rollout, pods, self.start + Duration::from_secs(second))
    }
}

fn reason(assessment: Assessment) -> Option<RevertReason> {
    match assessment {
        Assessment::Revert(cause) => Some(cause.reason),
        Assessment::Wait(_) | Assessment::Settled => None,
    }
}

#[test]
fn a_rollout_settles_when_its_probe_would_have_failed() {
    let mut run = Run::of(&probes());
    assert_eq!(run.at(0, &stuck(), &[]), Assessment::Wait(POLL));
    assert_eq!(run.at(20, &complete(), &[]), Assessment::Wait(POLL));
    // 95 s for the probe, 30 s to stop the container, 10 s for the report.
    assert_eq!(run.at(20 + 134, &complete(), &[]), Assessment::Wait(POLL));
    assert!(!run.guard.is_proven());
    assert_eq!(run.at(20 + 135, &complete(), &[]), Assessment::Settled);
    assert!(run.guard.is_proven());
}

#[test]
fn a_memory_limit_is_observed_for_ten_minutes_and_is_no_rollout_meanwhile() {
    let mut run = Run::of(&fields(&["web: limits.memory=256Mi"]));
    run.at(0, &complete(), &[]);
    assert_eq!(run.at(60, &complete(), &[]), Assessment::Wait(SLOW_POLL));
    assert!(run.guard.is_proven());
    let killed = restarted(PATCHED + 1, "OOMKilled", PATCHED + 599);
    assert_eq!(reason(run.clone_at(599, &killed)), Some(RevertReason::OutOfMemory));
    assert_eq!(run.at(600, &complete(), &[]), Assessment::Settled);
}

impl Run {
    fn clone_at(&self, second: u64, pod: &PodHealth) -> Assessment {
        let mut copy = Self { guard: self.guard.clone(), start: self.start };
        copy.at(second, &complete(), std::slice::from_ref(pod))
    }
}

#[test]
fn a_rollout_without_progress_is_taken_back_and_the_cause_is_named() {
    let mut run = Run::of(&probes());
    run.at(0, &stuck(), &[]);
    assert_eq!(run.at(119, &stuck(), &[]), Assessment::Wait(POLL));
    let Assessment::Revert(cause) = run.at(120, &stuck(), &[pod(PATCHED - 9), pod(PATCHED)]) else {
        panic!()
    };
    assert_eq!(cause.reason, RevertReason::NoProgress);
    assert_eq!(
        cause.sentence,
        "the rollout made no progress for 120 s; of a new pod: it is not ready"
    );
}

#[test]
fn only_what_was_never_reached_before_is_progress() {
    let mut run = Run::of(&probes());
    run.at(0, &stuck(), &[]);
    for second in 1..119 {
        // A pod becomes ready and unready in turns.
        let available = if second % 2 == 0 { 3 } else { 2 };
        run.at(second, &Rollout { available, ..stuck() }, &[]);
    }
    assert_eq!(reason(run.at(120, &stuck(), &[])), Some(RevertReason::NoProgress));
    let mut run = Run::of(&probes());
    run.at(0, &stuck(), &[]);
    run.at(100, &Rollout { updated: 2, ..stuck() }, &[]);
    assert_eq!(run.at(219, &Rollout { updated: 2, ..stuck() }, &[]), Assessment::Wait(POLL));
}

#[test]
fn a_slow_readiness_probe_has_the_time_that_it_needs() {
    let slow = fields(&["web: readinessProbe=tcp:8080,delay=300,period=10,failures=3"]);
    let mut run = Run::of(&slow);
    run.at(0, &stuck(), &[]);
    assert_eq!(run.at(389, &stuck(), &[]), Assessment::Wait(POLL));
    assert_eq!(reason(run.at(390, &stuck(), &[])), Some(RevertReason::NoProgress));
    let mut run = Run::of(&probes());
    let patient = Rollout { min_ready_seconds: 60, ..stuck() };
    run.at(0, &patient, &[]);
    assert_eq!(run.at(179, &patient, &[]), Assessment::Wait(POLL));
}

#[test]
fn a_restarted_new_pod_is_a_failure_and_an_old_one_is_not() {
    let mut run = Run::of(&probes());
    let old = restarted(PATCHED - 1, "Error", PATCHED + 5);
    assert_eq!(run.at(0, &complete(), &[old]), Assessment::Wait(POLL));
    let Assessment::Revert(cause) =
        run.at(40, &complete(), &[restarted(PATCHED, "Error", PATCHED + 40)])
    else {
        panic!()
    };
    assert_eq!(cause.reason, RevertReason::Restarted);
    assert_eq!(cause.sentence, "of a new pod: container web was restarted (Error)");
}

#[test]
fn pods_that_cannot_be_created_are_a_failure_once_it_lasts() {
    let refused = Rollout { replica_failure: Some("exceeded quota: small".to_owned()), ..stuck() };
    let mut run = Run::of(&probes());
    assert_eq!(run.at(0, &refused, &[]), Assessment::Wait(POLL));
    run.at(2, &stuck(), &[]);
    assert_eq!(run.at(4, &refused, &[]), Assessment::Wait(POLL), "the controller retries");
    let Assessment::Revert(cause) = run.at(9, &refused, &[]) else { panic!() };
    assert_eq!(cause.sentence, "new pods could not be created: exceeded quota: small");
}

#[test]
fn nothing_fails_while_nobody_works_on_the_rollout() {
    let mut run = Run::of(&probes());
    let paused = Rollout { is_paused: true, ..stuck() };
    let unseen = Rollout { is_observed: false, ..stuck() };
    run.at(0, &paused, &[]);
    assert_eq!(run.at(1_000, &paused, &[]), Assessment::Wait(POLL));
    assert_eq!(run.at(1_001, &unseen, &[]), Assessment::Wait(POLL));
    assert_eq!(run.at(1_120, &stuck(), &[]), Assessment::Wait(POLL));
    assert_eq!(reason(run.at(1_121, &stuck(), &[])), Some(RevertReason::NoProgress));
}

#[test]
fn a_rollout_that_is_no_longer_complete_has_its_time_again() {
    let mut run = Run::of(&probes());
    run.at(0, &complete(), &[]);
    let unready = Rollout { available: 2, ..complete() };
    run.at(100, &unready, &[]);
    assert_eq!(run.at(219, &unready, &[]), Assessment::Wait(POLL));
    assert_eq!(run.at(219, &complete(), &[]), Assessment::Wait(POLL), "the horizon begins anew");
    run.at(220, &unready, &[]);
    assert_eq!(reason(run.at(340, &unready, &[])), Some(RevertReason::NoProgress));
}

#[test]
fn a_workload_that_is_scaled_all_the_time_is_not_observed_for_ever() {
    let mut run = Run::of(&probes());
    for second in (0..1_800).step_by(60) {
        let desired = 3 + i64::try_from(second % 7).unwrap();
        let scaled = Rollout { desired, available: 3, ..complete() };
        assert_eq!(run.at(second, &scaled, &[]), Assessment::Wait(POLL), "{second}");
    }
    let scaled = Rollout { desired: 11, ..complete() };
    assert_eq!(run.at(1_800, &scaled, &[]), Assessment::Settled);
}

#[test]
fn injection_ends_with_the_first_pod_that_fails_for_it() {
    let since = PATCHED;
    let injected = |pod: PodHealth| PodHealth { is_injected: true, ..pod };
    let failed =
        |pod: PodHealth, now: i64| failed_injection([&pod], since, now).map(|cause| cause.sentence);
    assert_eq!(failed(injected(pod(since)), since + 119), None, "it starts");
    assert_eq!(
        failed(injected(pod(since)), since + 120).as_deref(),
        Some("of a pod that was injected into: it is not ready")
    );
    assert_eq!(failed(injected(pod(since - 1)), since + 120), None, "of an earlier injection");
    assert_eq!(failed(pod(since), since + 120), None, "nothing was injected");
    let killed = injected(restarted(since, "OOMKilled", since + 700));
    assert!(failed(killed, since + 700).is_some());
    let late = injected(restarted(since, "Error", since + 100_000));
    assert_eq!(failed(late, since + 100_000), None, "it ran for a day");
}

#[test]
fn a_clock_that_is_set_back_hides_no_new_pod() {
    let mut run = Run::of(&probes());
    let hour = 3_600;
    let new = restarted(PATCHED - hour + 10, "Error", PATCHED - hour + 20);
    assert_eq!(reason(run.at(1, &stuck(), std::slice::from_ref(&new))), None, "it seems old");
    run.guard.clock_is(PATCHED - hour);
    assert_eq!(reason(run.at(3, &stuck(), &[new])), Some(RevertReason::Restarted));
    run.guard.clock_is(PATCHED + hour);
    assert!(run.guard.is_new(&pod(PATCHED - hour)), "a clock that is right again changes nothing");
}
