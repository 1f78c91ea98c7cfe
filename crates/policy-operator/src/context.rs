//! The context of one reconcile: everything that the decisions about status, Events, audit results
//! and the next reconcile are made from. Pure: [`crate::reconcile`] carries the decisions out.

use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use policy_core::Timestamp;
use policy_core::api::{DevOpsPolicyStatus, PolicyAuditResult};
use policy_core::score::Classification;
use policy_core::view::{PolicyView, Refused};

use crate::audit_queue::{OVERDUE_SECONDS, WrittenResult};
use crate::audit_result;
use crate::event_throttle::{ClassChange, event, reference};
use crate::judgement::{Judged, Judgement, Rejection};
use crate::policy_state::PolicyState;
use crate::remediation::Report;
use crate::status::{condition, is_unchanged, status, whole_seconds};
use crate::writer::Role;

/// Audit results are written within so many seconds after the end of their minute, so that those
/// of all policies do not come together.
const AUDIT_SPREAD: i64 = 5;
/// A policy is reconciled again after that time, even if a changed clock makes nothing due.
const LONGEST_REQUEUE: Duration = Duration::from_secs(290);
/// For what is due already.
const SHORTEST_REQUEUE: Duration = Duration::from_millis(100);

/// One reconcile of one policy.
pub(crate) struct ReconcileContext<'a> {
    pub(crate) policy: &'a PolicyView,
    pub(crate) state: &'a mut PolicyState,
    pub(crate) judgement: Judgement,
    pub(crate) role: Role,
    /// The time of the judgement.
    pub(crate) now: Timestamp,
    /// What enforce mode does.
    pub(crate) report: Option<Report>,
    /// The status that was written in this reconcile.
    pub(crate) written: Option<DevOpsPolicyStatus>,
}

impl ReconcileContext<'_> {
    /// Takes the judgement into the state, as every replica does. `newest` is the newest audit
    /// result that exists. Returns how many verdicts were dropped because too many wait.
    pub(crate) fn observe(
        &mut self,
        newest: Option<WrittenResult>,
        cluster_name: Option<&str>,
    ) -> usize {
        let class = self.policy.status.as_ref().and_then(|status| status.classification);
        if self.role == Role::Leader {
            self.state.events.initialize(class);
        } else {
            self.state.events.assume(class);
            self.state.clear_heartbeat();
        }
        self.state.audit.remove_written(newest);
        if self.role == Role::Standby {
            self.state.audit.drop_overdue(self.now);
        }
        let judged = self.judgement.judged().filter(|judged| judged.is_complete());
        let Some(Judged { verdict, .. }) = judged else { return 0 };
        let spec = || audit_result::spec(self.policy, cluster_name, verdict, self.now);
        self.state.audit.observe(newest, verdict.fingerprint, self.now, spec)
    }

    /// The status, where it changed or the heartbeat is due.
    pub(crate) fn due_status(&mut self) -> Option<DevOpsPolicyStatus> {
        let before = self.written.as_ref().or(self.policy.status.as_deref());
        let generation = self.policy.metadata.generation;
        let mut new = status(&self.judgement, generation, before, self.now);
        if let Some(report) = &self.report {
            report.write_to(&mut new);
            if let Some(stated) = report.condition.clone() {
                let now = whole_seconds(self.now);
                new.conditions.push(condition(stated, generation, before, &now));
            }
        }
        let is_due = match before {
            None => true,
            Some(before) => {
                let is_heartbeat_due = self.state.is_heartbeat_due(before, self.now);
                (is_heartbeat_due && !self.judgement.is_excess()) || !is_unchanged(&mut new, before)
            }
        };
        is_due.then_some(new)
    }

    /// The Event about a change of the class, where one is due. `identity` is that of the replica.
    pub(crate) fn due_event(&self, identity: &str) -> Option<(Classification, Event)> {
        let judged = self.judgement.judged().filter(|judged| judged.is_complete())?;
        let (class, events) = (judged.verdict.score.classification(), &self.state.events);
        let ClassChange::Due { previous } = events.change(class, self.now) else { return None };
        let mut note = judged.sentence();
        if let Some(previous) = previous {
            note = format!("{note}; was {previous}");
        }
        let policy = reference(self.policy);
        Some((class, events.event(class, policy, note, identity, self.now)))
    }

    /// The Event that the policy is refused, where the status that was just written says so and the
    /// one before did not.
    pub(crate) fn due_refusal(&self, identity: &str) -> Option<Event> {
        let Judgement::Rejected(rejection) = &self.judgement else { return None };
        let is_of_its_spec =
            matches!(rejection, Rejection::Policy(Refused::Invalid(_) | Refused::Undecodable(_)));
        if !is_of_its_spec {
            return None;
        }
        let message = self.written.as_ref()?.message.clone()?;
        let before = self.policy.status.as_ref().and_then(|before| before.message.as_ref());
        if before == Some(&message) {
            return None;
        }
        let policy = reference(self.policy);
        Some(event(policy, (rejection.reason(), "Judge"), false, message, identity, self.now))
    }

    /// The oldest audit result whose minute is over, and that minute.
    /// It is for that namespace.
    pub(crate) fn due_audit_result(&self, namespace: &str) -> Option<(i64, PolicyAuditResult)> {
        let due = self.state.audit.due(self.now)?;
        Some((due.minute, audit_result::object(self.policy, namespace, due)))
    }

    /// How long nothing is due, if nothing changes; `None` where only a change makes anything due.
    /// `now` is the time after the writes.
    pub(crate) fn requeue_after(&self, now: Timestamp) -> Option<Duration> {
        (!self.judgement.is_excess()).then(|| self.next_due_after(now))
    }

    fn next_due_after(&self, now: Timestamp) -> Duration {
        let judged = self.judgement.judged();
        let is_leader = self.role == Role::Leader;
        // A standby only removes what the leader did not write.
        let delay = if is_leader { fastrand::i64(0..=AUDIT_SPREAD) } else { OVERDUE_SECONDS };
        let audit = self.state.audit.next_due().map(|second| second + delay);
        let change = judged
            .map(|judged| self.state.events.change(judged.verdict.score.classification(), now));
        let event = match change {
            Some(ClassChange::Throttled { until }) if is_leader => Some(until),
            _ => None,
        };
        let pods = judged.and_then(|judged| judged.verdict.due);
        let next = [pods, audit, event, self.state.heartbeat()].into_iter().flatten().min();
        let Some(next) = next else { return LONGEST_REQUEUE };
        let millis = next.saturating_mul(1_000).saturating_sub(now.as_millisecond());
        let remaining = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        remaining.clamp(SHORTEST_REQUEUE, LONGEST_REQUEUE)
    }
}

#[cfg(test)]
mod tests {
    use policy_core::verdict::Verdict;

    use super::*;
    use crate::custom::CustomStanding;

    const SPEC: &str = r#"{"forbidLatestTag": true, "forbidPendingDuration": 30}"#;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn policy() -> PolicyView {
        let spec: serde_json::Value = serde_json::from_str(SPEC).unwrap();
        serde_json::from_value(serde_json::json!({
            "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
            "metadata": { "namespace": "shop", "name": "strict", "uid": "u-1", "generation": 1 },
            "spec": spec,
        }))
        .unwrap()
    }

    /// The context of a policy with one pod of that image and phase, created at second 0.
    fn context<'a>(
        policy: &'a PolicyView,
        state: &'a mut PolicyState,
        (image, phase): (&str, &str),
        (role, second): (Role, i64),
    ) -> ReconcileContext<'a> {
        let pod = serde_json::json!({
            "metadata": { "name": "web", "creationTimestamp": at(0).to_string() },
            "spec": { "containers": [{ "name": "c", "image": image }] },
            "status": { "phase": phase },
        });
        let pod = serde_json::from_value(pod).unwrap();
        let facts = policy_core::facts::PodFacts::of_pod(&pod, "shop");
        let rules = policy.rules.clone().unwrap();
        let verdict = Verdict::of([&facts], &rules, at(second));
        let judgement = Judgement::Judged(Judged::new(&rules, verdict).into());
        let now = at(second);
        ReconcileContext { policy, state, judgement, role, now, report: None, written: None }
    }

    fn written(policy: &mut PolicyView, status: DevOpsPolicyStatus) {
        policy.status = Some(status.into());
    }

    #[test]
    fn a_status_is_due_when_it_changes_and_for_the_heartbeat() {
        let (mut policy, mut state) = (policy(), PolicyState::default());
        let running = ("nginx:1", "Running");
        let first = context(&policy, &mut state, running, (Role::Leader, 0)).due_status().unwrap();
        state.status_written(at(0));
        written(&mut policy, first);
        let mut again = context(&policy, &mut state, running, (Role::Leader, 100));
        assert_eq!(again.due_status(), None);
        let heartbeat = context(&policy, &mut state, running, (Role::Leader, 300)).due_status();
        assert_eq!(heartbeat.unwrap().last_evaluated.unwrap().0, at(300));
        let mut changed = context(&policy, &mut state, ("nginx", "Running"), (Role::Leader, 100));
        assert_eq!(changed.due_status().unwrap().total_violations, Some(1));
    }

    /// Its score may be too good.
    #[test]
    fn no_audit_result_and_no_event_is_made_while_pods_wait_for_custom_checks() {
        let (mut policy, mut state) = (policy(), PolicyState::default());
        let bad = ("nginx", "Running");
        written(
            &mut policy,
            DevOpsPolicyStatus {
                classification: Some(Classification::Critical),
                ..DevOpsPolicyStatus::default()
            },
        );
        let mut made = |unjudged: u64| {
            let mut context = context(&policy, &mut state, bad, (Role::Leader, 0));
            let Judgement::Judged(judged) = &mut context.judgement else { unreachable!() };
            judged.custom = Some(CustomStanding { unjudged, ..CustomStanding::default() });
            context.observe(None, None);
            (context.state.audit.next_due().is_some(), context.due_event("me").is_some())
        };
        assert_eq!(made(1), (false, false));
        assert_eq!(made(0), (true, true));
    }

    #[test]
    fn a_policy_beyond_a_limit_costs_one_status() {
        let (mut policy, mut state) = (policy(), PolicyState::default());
        let mut rejected = |policy: &PolicyView, second: i64| {
            let judgement = Judgement::Rejected(Rejection::TooManyPolicies);
            let (role, now) = (Role::Leader, at(second));
            let state = &mut state;
            let mut context = ReconcileContext {
                policy,
                state,
                judgement,
                role,
                now,
                report: None,
                written: None,
            };
            context.observe(None, None);
            let status = context.due_status();
            assert_eq!(context.requeue_after(now), None);
            assert!(
                context.due_audit_result("shop").is_none() && context.due_event("me").is_none()
            );
            if status.is_some() {
                state.status_written(now);
            }
            status
        };
        let first = rejected(&policy, 0).unwrap();
        written(&mut policy, first);
        assert_eq!(rejected(&policy, 1_000), None, "no heartbeat");
    }

    #[test]
    fn the_next_reconcile_is_for_the_earliest_due_time() {
        let (mut policy, mut state) = (policy(), PolicyState::default());
        let pending = ("nginx:1", "Pending");
        let seconds = |second: u64| Duration::from_secs(second);
        let mut first = context(&policy, &mut state, pending, (Role::Leader, 0));
        first.observe(None, None);
        let status = first.due_status().unwrap();
        // The pod has been Pending for too long in the 31st second.
        assert_eq!(first.requeue_after(at(0)), Some(seconds(31)));
        assert_eq!(first.requeue_after(at(40)), Some(SHORTEST_REQUEUE), "the writes took long");
        state.status_written(at(0));
        written(&mut policy, status);
        let mut second = context(&policy, &mut state, pending, (Role::Leader, 31));
        second.observe(None, None);
        let audit = second.requeue_after(at(31)).unwrap();
        assert!(audit >= seconds(29) && audit <= seconds(34), "{audit:?}");
        assert!(second.due_audit_result("shop").is_none());
        second.now = at(60);
        let (minute, result) = second.due_audit_result("shop").unwrap();
        let exists = Some(WrittenResult { minute, fingerprint: None });
        assert_eq!(result.spec.total_violations, 1, "the last verdict of the minute");
        second.state.audit.remove_written(exists);
        let heartbeat = second.requeue_after(at(60)).unwrap();
        assert!(heartbeat >= seconds(180) && heartbeat <= seconds(230), "{heartbeat:?}");
    }

    #[test]
    fn a_standby_has_nothing_to_write_and_drops_what_the_leader_did_not() {
        let (policy, mut state) = (policy(), PolicyState::default());
        let running = ("nginx:1", "Running");
        let mut standby = context(&policy, &mut state, running, (Role::Standby, 0));
        standby.observe(None, None);
        let overdue = Duration::from_secs(180);
        assert_eq!(standby.requeue_after(at(0)), Some(overdue));
        let mut standby = context(&policy, &mut state, running, (Role::Standby, 180));
        standby.observe(None, None);
        assert_eq!(standby.state.audit.next_due(), Some(at(240).as_second()));
    }
}
