//! What a plan means for a workload of one policy. Pure.

use std::sync::Arc;

use policy_core::Timestamp;
use policy_core::api::{FIELD_MANAGER, RemediatedWorkload, RemediationState};
use policy_core::quantity::ParsedQuantity;
use policy_core::remediation::{
    Amounts, ContainerFields, Fields, Plan, Planned, Reason, RemediationRules, Target, Withheld,
    is_disowned, present,
};
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
    (policy, enforcing): (&PolicyKey, &[(Arc<str>, RemediationRules)]),
    now: Timestamp,
) -> bool {
    entry.start = None;
    if is_left_alone(entry, target, object, &planned.plan) || is_kept(entry, target, object) {
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
    let is_known = entry.remembers(target);
    let is_patched = !target.ours.is_empty()
        && !target.locks_out()
        && target.patched_by.as_deref().is_none_or(|by| {
            let of_namespace = by.split_once('/').filter(|(of, _)| *of == &*policy.namespace);
            let by = of_namespace.map(|(_, name)| name);
            // What a policy has patched that enforces no more belongs to who took it over.
            by == Some(&*policy.name)
                || (is_known && !enforcing.iter().any(|(name, _)| by == Some(&**name)))
        });
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
    let is_older = |older: &Arc<str>| Reason::OlderPolicy(older.to_string());
    let is_on = entry.shown.as_ref().is_some_and(|shown| {
        shown.state == RemediationState::Injecting
            && (&shown.uid, &shown.template) == (&target.uid, &target.template)
    });
    let plan = if is_on { with_known_limits(planned.plan, &entry.fields()) } else { planned.plan };
    let next = match (plan, planned.policy) {
        (Plan::Nothing, _) if is_patched => patched(entry),
        // It stays known until that is taken back.
        (Plan::Nothing, _) => return target.locks_out() && entry.shown.is_some(),
        // It is about the workload, whichever policy it is planned for.
        (_, Some(_)) if !is_mine && is_known => return true,
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
            let next = with_withheld(next, &withheld);
            entry.start = Some(Start::Patch(fields, withheld));
            next
        }
        (Plan::InjectAtAdmission { fields, withheld }, _) => {
            let state = if is_on { RemediationState::Injecting } else { RemediationState::Waiting };
            let next = of_target(state, &fields);
            if !is_on {
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
    let Some(shown) = entry.shown.as_ref().filter(|shown| shown.uid == target.uid) else {
        return false;
    };
    let is_installed_again = || {
        let fields = entry.fields();
        *plan == Plan::Nothing && !fields.is_empty() && present(object, &fields) == fields
    };
    shown.state.is_taken_back() && (shown.template == target.template || is_installed_again())
}

/// Whether the entry is the only record of what was filled in, since `managedFields` were cleared.
fn is_kept(entry: &Entry, target: &Target, object: &Value) -> bool {
    use RemediationState::{Observing, Patched};
    let is_same = entry.shown.as_ref().is_some_and(|shown| shown.uid == target.uid);
    is_same
        && matches!(entry.state(), Some(Observing | Patched))
        && is_disowned(object, &entry.fields())
}

/// The plan with the memory limits that are injected already, where the use of memory is not known
/// for a while, as that of new pods, or has fallen: a limit that followed it would change the status
/// again and again.
fn with_known_limits(plan: Plan, before: &Fields) -> Plan {
    let (mut fields, mut withheld) = match plan {
        Plan::InjectAtAdmission { fields, withheld } => (fields, withheld),
        Plan::Withhold { withheld } => (Fields::default(), withheld),
        other => return other,
    };
    let limits = before.0.iter().filter_map(|before| {
        let limit = before.limits.memory.as_deref()?;
        Some((before, limit, ParsedQuantity::parse(limit)?))
    });
    for (before, limit, amount) in limits {
        let is_unknown = |held: &Withheld| {
            held.container == before.name && matches!(held.reason, Reason::UnknownMemoryUse(_))
        };
        let known = fields.0.iter_mut().find(|fields| fields.name == before.name);
        let now = known.as_ref().and_then(|fields| fields.limits.memory.as_deref());
        let has_fallen = now.and_then(ParsedQuantity::parse).is_some_and(|now| now < amount);
        if !has_fallen && !withheld.iter().any(is_unknown) {
            continue;
        }
        withheld.retain(|held| !is_unknown(held));
        if let Some(fields) = known {
            fields.limits.memory = Some(limit.to_owned());
        } else {
            let limits = Amounts { memory: Some(limit.to_owned()), cpu: None };
            let name = before.name.clone();
            fields.0.push(ContainerFields { name, limits, ..ContainerFields::default() });
        }
    }
    if fields.is_empty() {
        return Plan::Withhold { withheld };
    }
    Plan::InjectAtAdmission { fields, withheld }
}

/// The fields that are not filled in, and why.
pub(crate) fn with_withheld(
    workload: RemediatedWorkload,
    withheld: &[Withheld],
) -> RemediatedWorkload {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_injected_memory_limit_stays_while_the_use_is_not_known_or_falls() {
        let line = |limit: &str| format!("web: requests.cpu=100m limits.memory={limit}");
        let before = Fields::parse([&*line("256Mi")]);
        let held = || Withheld {
            container: "web".to_owned(),
            field: "limits.memory",
            reason: Reason::UnknownMemoryUse("web".to_owned()),
        };
        let plan = |fields: &str, withheld| {
            let fields = Fields::parse([fields]);
            match with_known_limits(Plan::InjectAtAdmission { fields, withheld }, &before) {
                Plan::InjectAtAdmission { fields, withheld } => (fields.lines(), withheld.len()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(plan(&line("128Mi"), vec![]), (vec![line("256Mi")], 0), "it has fallen");
        assert_eq!(plan(&line("512Mi"), vec![]), (vec![line("512Mi")], 0), "it has grown");
        let request = "web: requests.cpu=100m";
        assert_eq!(plan(request, vec![held()]), (vec![line("256Mi")], 0), "it is not known");
        assert_eq!(plan(request, vec![]), (vec![request.to_owned()], 0), "no policy asks for it");
        let nothing = with_known_limits(Plan::Withhold { withheld: vec![held()] }, &before);
        let Plan::InjectAtAdmission { fields, .. } = nothing else { panic!("{nothing:?}") };
        assert_eq!(fields.lines(), ["web: limits.memory=256Mi"]);
        let none = Fields::parse([request]);
        let proposed = with_known_limits(Plan::Withhold { withheld: vec![held()] }, &none);
        assert!(matches!(proposed, Plan::Withhold { .. }), "{proposed:?}");
    }
}
