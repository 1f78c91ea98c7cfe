//! What stands against changing a workload, each as a function of its own.

use serde_json::Value;

use super::facts::OptIn;
use super::fields::Fields;
use super::planner::PlanInput;
use super::reason::Reason;
use crate::api::{RemediatedWorkload, RemediationMethod, RemediationState};
use crate::workload::ObjectKind;

/// The most containers of a template that is patched.
const MAX_CONTAINERS: usize = 64;

pub(super) type Veto = fn(&PlanInput<'_>) -> Option<Reason>;

/// Whatever the method is.
pub(super) const ALWAYS: &[Veto] = &[
    // Before what passes, such as a pause, and would make that forgotten.
    reverted,
    excluded_namespace,
    opted_out,
    deleted,
    foreign_owner,
    too_many_containers,
    paused,
    scaled_to_zero,
];

/// For a manifest, which its owner changes and rolls out: without what is about the live object.
pub(super) const MANIFEST: &[Veto] =
    &[excluded_namespace, opted_out, deleted, foreign_owner, too_many_containers];

/// For a patch of the workload, which rolls it out.
pub(super) const ROLLOUT: &[Veto] = &[
    no_mutating_webhook,
    recreate,
    on_delete,
    partitioned,
    single_pod,
    all_unavailable,
    small_history,
    not_ready,
];

/// For an injection into new pods.
pub(super) const INJECTION: &[Veto] = &[no_mutating_webhook];

/// The first veto of a list.
pub(super) fn first(vetoes: &[Veto], input: &PlanInput<'_>) -> Option<Reason> {
    vetoes.iter().find_map(|veto| veto(input))
}

fn excluded_namespace(input: &PlanInput<'_>) -> Option<Reason> {
    input.namespace.is_excluded.then_some(Reason::ExcludedNamespace)
}

fn opted_out(input: &PlanInput<'_>) -> Option<Reason> {
    if input.target.opt_in == OptIn::Disabled {
        Some(Reason::OptedOut("workload"))
    } else {
        let is_off = input.namespace.opt_in == OptIn::Disabled;
        is_off.then_some(Reason::OptedOut("namespace"))
    }
}

fn deleted(input: &PlanInput<'_>) -> Option<Reason> {
    input.target.is_deleted.then_some(Reason::Deleted)
}

fn foreign_owner(input: &PlanInput<'_>) -> Option<Reason> {
    input.target.controller.clone().map(Reason::ForeignOwner)
}

fn too_many_containers(input: &PlanInput<'_>) -> Option<Reason> {
    let number = input.target.containers.len();
    (number > MAX_CONTAINERS).then_some(Reason::TooManyContainers(number))
}

fn paused(input: &PlanInput<'_>) -> Option<Reason> {
    input.target.rollout.is_paused.then_some(Reason::Paused)
}

fn scaled_to_zero(input: &PlanInput<'_>) -> Option<Reason> {
    (input.target.rollout.replicas == 0).then_some(Reason::ScaledToZero)
}

fn reverted(input: &PlanInput<'_>) -> Option<Reason> {
    let is_reverted = |memory: &RemediatedWorkload| memory.state == RemediationState::Reverted;
    remembered(input).filter(|memory| is_reverted(memory)).map(|_| Reason::Reverted)
}

/// What the status says of this workload with this template.
fn remembered<'a>(input: &PlanInput<'a>) -> Option<&'a RemediatedWorkload> {
    input
        .memory
        .filter(|memory| memory.template == input.target.template && memory.uid == input.target.uid)
}

/// Whether the owner has removed what is to be filled in: it was filled in under the same template.
pub(super) fn withdrawn(input: &PlanInput<'_>, missing: &Fields) -> Option<Reason> {
    use RemediationState::{Observing, Patched, Withdrawn};
    // What is taken back for the owner's sake was not removed by the owner.
    let memory = remembered(input).filter(|_| !input.target.locks_out())?;
    let before = Fields::parse(memory.fields.iter().map(String::as_str));
    let was_filled_in = missing.0.iter().any(|now| {
        before.of(&now.name).is_some_and(|before| {
            let probe = now.probes().any(|(name, _)| before.probes().any(|(old, _)| old == name));
            let amount = now.amounts().any(|(list, name, _)| {
                before.amounts().any(|(old, resource, _)| (old, resource) == (list, name))
            });
            probe || amount
        })
    });
    let is_withdrawn = match memory.state {
        Withdrawn => true,
        Observing | Patched => was_filled_in,
        _ => false,
    };
    is_withdrawn.then_some(Reason::Withdrawn)
}

/// `propose`, and `patch` where the owner would be locked out.
pub(super) fn method(input: &PlanInput<'_>, method: RemediationMethod) -> Option<Reason> {
    let owner = &input.target.owner;
    match method {
        RemediationMethod::Propose => Some(Reason::MethodPropose),
        RemediationMethod::Patch if !owner.can_share() => {
            Some(Reason::OwnerLockedOut(owner.to_string()))
        }
        _ => None,
    }
}

fn no_mutating_webhook(input: &PlanInput<'_>) -> Option<Reason> {
    (!input.namespace.has_mutating_webhook).then_some(Reason::NoMutatingWebhook)
}

fn recreate(input: &PlanInput<'_>) -> Option<Reason> {
    (input.target.rollout.strategy == "Recreate").then_some(Reason::Recreate)
}

fn on_delete(input: &PlanInput<'_>) -> Option<Reason> {
    (input.target.rollout.strategy == "OnDelete").then_some(Reason::OnDelete)
}

fn partitioned(input: &PlanInput<'_>) -> Option<Reason> {
    (input.target.rollout.partition > 0).then_some(Reason::Partitioned)
}

/// A `StatefulSet` replaces a pod after it has stopped; a Deployment starts the next one first,
/// unless it may not have more.
fn single_pod(input: &PlanInput<'_>) -> Option<Reason> {
    let rollout = &input.target.rollout;
    let has_no_surge = is_zero(&rollout.max_surge);
    let stops_first = match input.target.kind {
        ObjectKind::StatefulSet => true,
        ObjectKind::Deployment => has_no_surge,
        _ => false,
    };
    (stops_first && rollout.replicas == 1).then_some(Reason::SinglePod)
}

fn is_zero(amount: &Value) -> bool {
    amount == 0 || amount == "0%"
}

fn all_unavailable(input: &PlanInput<'_>) -> Option<Reason> {
    let rollout = &input.target.rollout;
    let all = match &rollout.max_unavailable {
        Value::String(percent) => {
            percent.trim_end_matches('%').parse().is_ok_and(|percent: u32| percent >= 100)
        }
        // One of one is what `single_pod` is about.
        number => {
            number.as_i64().is_some_and(|number| rollout.replicas > 1 && number >= rollout.replicas)
        }
    };
    all.then_some(Reason::AllUnavailable)
}

fn small_history(input: &PlanInput<'_>) -> Option<Reason> {
    let history = input.target.rollout.history;
    (history < 2).then_some(Reason::SmallHistory(history))
}

fn not_ready(input: &PlanInput<'_>) -> Option<Reason> {
    let rollout = &input.target.rollout;
    (rollout.ready < rollout.replicas).then_some(Reason::NotReady)
}
