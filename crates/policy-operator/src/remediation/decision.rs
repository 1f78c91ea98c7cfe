//! What a plan means for a workload of one policy. Pure.

use policy_core::Timestamp;
use policy_core::api::{FIELD_MANAGER, RemediatedWorkload, RemediationState};
use policy_core::remediation::{Fields, Plan, Planned, Reason, Target, Withheld, present};
use policy_core::text::truncated;
use serde_json::Value;

use super::record::{Entry, Start, shown};
use crate::policy_key::PolicyKey;

/// The longest message of a workload, in bytes.
const LONGEST_MESSAGE: usize = 512;
/// A patch that is not older than that is observed by who finds it.
const OBSERVED_SECONDS: i64 = 900;

/// Takes a plan into the entry of a workload. Returns whether there is anything to say of it.
pub(crate) fn take_in(
    entry: &mut Entry,
    label: &str,
    planned: Planned,
    (target, object): (&Target, &Value),
    policy: &PolicyKey,
    now: Timestamp,
) -> bool {
    entry.start = None;
    if is_left_alone(entry, target, object, &planned.plan) {
        return true;
    }
    let of_target = |state: RemediationState, fields: &Fields| RemediatedWorkload {
        uid: target.uid.clone(),
        template: target.template.clone(),
        ..shown(label, state, fields, now)
    };
    let with_reason = |workload: RemediatedWorkload, reason: &Reason| RemediatedWorkload {
        reason: reason.code().to_owned(),
        message: message(&reason.to_string()),
        ..workload
    };
    let is_mine = planned.policy.as_ref().is_none_or(|name| *name == policy.name);
    let is_patched = !target.ours.is_empty()
        && target.patched_by.as_deref().is_none_or(|by| by == policy.to_string());
    let patched = |entry: &Entry| {
        let at = patched_at(object).unwrap_or_else(|| now.as_second());
        let was_known = entry.state() == Some(RemediationState::Patched);
        let is_recent = now.as_second().saturating_sub(at) < OBSERVED_SECONDS;
        let state = if is_recent && !was_known {
            RemediationState::Observing
        } else {
            RemediationState::Patched
        };
        let mut next = of_target(state, &target.ours);
        if let Ok(at) = Timestamp::from_second(at) {
            next.since.0 = at;
        }
        next
    };
    let is_older = |older: &std::sync::Arc<str>| Reason::OlderPolicy(older.to_string());
    let next = match (planned.plan, planned.policy) {
        (Plan::Nothing, _) if is_patched => patched(entry),
        (Plan::Nothing, _) => return false,
        (_, Some(older)) if !is_mine => {
            let reason = is_older(&older);
            with_reason(of_target(RemediationState::NotPatchable, &Fields::default()), &reason)
        }
        (Plan::Withhold { withheld }, _) if is_patched => with_withheld(patched(entry), &withheld),
        (Plan::Withhold { withheld }, _) => {
            with_withheld(of_target(RemediationState::Proposed, &Fields::default()), &withheld)
        }
        (Plan::Patch { fields, withheld }, _) => {
            let next = of_target(RemediationState::Waiting, &fields);
            entry.start = Some(Start::Patch(fields));
            with_withheld(next, &withheld)
        }
        (Plan::InjectAtAdmission { fields, withheld }, _) => {
            let is_on = entry.shown.as_ref().is_some_and(|shown| {
                shown.state == RemediationState::Injecting && shown.template == target.template
            });
            let state = if is_on { RemediationState::Injecting } else { RemediationState::Waiting };
            let mut next = of_target(state, &fields);
            if is_on {
                // The use of memory moves, and with it the limit, which stays as it was decided.
                if let Some(before) = &entry.shown {
                    next.fields.clone_from(&before.fields);
                }
            } else {
                entry.start = Some(Start::Inject(fields));
            }
            with_withheld(next, &withheld)
        }
        (Plan::NotPatchable { reason: Reason::Withdrawn }, _) => {
            let fields = entry.fields();
            with_reason(of_target(RemediationState::Withdrawn, &fields), &Reason::Withdrawn)
        }
        // The rest is proposed.
        (Plan::Propose { reason, .. }, _) if is_patched => with_reason(patched(entry), &reason),
        (Plan::Propose { fields, reason }, _) => {
            with_reason(of_target(RemediationState::Proposed, &fields), &reason)
        }
        // What was filled in has to be remembered.
        (Plan::NotPatchable { reason }, _) if is_patched => with_reason(patched(entry), &reason),
        (Plan::NotPatchable { reason }, _) => {
            with_reason(of_target(RemediationState::NotPatchable, &Fields::default()), &reason)
        }
    };
    entry.show(next);
    true
}

/// Whether what was taken back, or what the owner removed, is remembered whatever the plan is: a
/// workload that is paused meanwhile, or scaled to zero, is not to be patched again afterwards.
/// `rollout undo` also installs again what was taken back; the next one brings the template back
/// (<https://kubernetes.io/docs/reference/kubectl/generated/kubectl_rollout/kubectl_rollout_undo/>).
fn is_left_alone(entry: &Entry, target: &Target, object: &Value, plan: &Plan) -> bool {
    use RemediationState::{Reverted, Withdrawn};
    let Some(shown) = entry.shown.as_ref().filter(|shown| shown.uid == target.uid) else {
        return false;
    };
    let is_installed_again = || {
        let fields = entry.fields();
        *plan == Plan::Nothing && !fields.is_empty() && present(object, &fields) == fields
    };
    matches!(shown.state, Reverted | Withdrawn)
        && (shown.template == target.template || is_installed_again())
}

/// The fields that are not filled in, and why.
fn with_withheld(workload: RemediatedWorkload, withheld: &[Withheld]) -> RemediatedWorkload {
    let (reason, text) = Withheld::summary(withheld);
    RemediatedWorkload { reason: reason.to_owned(), message: message(&text), ..workload }
}

/// A message of a workload.
pub(crate) fn message(text: &str) -> String {
    truncated(text.into(), usize::MAX, LONGEST_MESSAGE).into_owned()
}

/// When the operator last applied a workload, in seconds since 1970 by the API server's clock.
pub(crate) fn patched_at(object: &Value) -> Option<i64> {
    let entries = object["metadata"]["managedFields"].as_array()?;
    let ours = entries
        .iter()
        .find(|entry| entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply")?;
    ours["time"].as_str()?.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

/// Whether all of these are among the fields that the operator owns of a workload.
pub(crate) fn has_all(target: &Target, fields: &Fields) -> bool {
    fields.0.iter().all(|wanted| {
        target.ours.of(&wanted.name).is_some_and(|ours| {
            let probe = |name: &str| ours.probes().any(|(other, _)| other == name);
            let amount = |list: &str, resource: &str| {
                ours.amounts().any(|(kind, name, _)| (kind, name) == (list, resource))
            };
            wanted.probes().all(|(name, _)| probe(name))
                && wanted.amounts().all(|(list, resource, _)| amount(list, resource))
        })
    })
}
