//! What is filled in in a manifest: the fields of enforce mode, without what is about the rollout of
//! a live object, as whoever changes the file rolls it out.

use super::facts::NamespaceFacts;
use super::fields::{ContainerFields, Fields};
use super::fill::{
    Filled, LIMITS_MEMORY, MemoryUse, REQUESTS_CPU, REQUESTS_MEMORY, Withheld, field_name, fill,
};
use super::planner::{PlanInput, missing_default};
use super::reason::Reason;
use super::rules::NamespaceRules;
use super::target::Target;
use super::vetoes;
use crate::facts::ResourceGap;

/// What is done with the workload of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestPlan {
    /// What is filled in.
    pub fields: Fields,
    /// What is missing and is not filled in.
    pub withheld: Vec<Withheld>,
    /// What is missing and the policy has no value for.
    pub no_default: Option<Reason>,
    /// What else is lacking in spite of the policy's value.
    pub unfilled: Vec<Unfilled>,
}

/// A request or limit that is not filled in though the policy demands it and has a value for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfilled {
    /// The container.
    pub container: String,
    /// The field, such as `requests.cpu`.
    pub field: &'static str,
    /// Whether it has a value, which the API server refuses. Otherwise that of the policy does not
    /// fit: a request may not be above its limit.
    pub is_refused: bool,
}

/// Plans what is filled in in the workload of a manifest, in a namespace with what its input says of it.
///
/// # Errors
/// The workload is not changed, for that reason.
pub fn plan_manifest(
    rules: &NamespaceRules,
    namespace: &NamespaceFacts,
    target: &Target,
) -> Result<ManifestPlan, Reason> {
    let input = PlanInput { rules, namespace, target, peaks: None, memory: None };
    if let Some(reason) = vetoes::first(vetoes::MANIFEST, &input) {
        return Err(reason);
    }
    let Filled { fields, withheld, .. } = fill(rules, namespace, target, MemoryUse::Reviewed);
    let no_default = missing_default(rules, target);
    let unfilled = unfilled(rules, target, &fields, &withheld);
    Ok(ManifestPlan { fields, withheld, no_default, unfilled })
}

fn unfilled(
    rules: &NamespaceRules,
    target: &Target,
    fields: &Fields,
    withheld: &[Withheld],
) -> Vec<Unfilled> {
    let mut unfilled = Vec::new();
    for container in target.facts.containers.iter().filter(|c| c.role.is_long_running()) {
        let rules = rules.of_container(target, &container.name);
        let name = container.name.to_string();
        let of_policy = |field: &str| match field {
            REQUESTS_CPU => rules.cpu_request.is_some(),
            REQUESTS_MEMORY => rules.memory_request.is_some(),
            _ => rules.memory_limit.is_some(),
        };
        let is_filled = |field: &str| {
            let filled = fields.of(&name).into_iter().flat_map(ContainerFields::amounts);
            let is_withheld = |w: &Withheld| w.container == name && w.field == field;
            filled.map(|(list, resource, _)| field_name(list, resource)).any(|of| of == field)
                || withheld.iter().any(is_withheld)
        };
        let gaps = container.missing_resources;
        let each = [
            (REQUESTS_CPU, gaps.cpu_request),
            (REQUESTS_MEMORY, gaps.memory_request),
            (LIMITS_MEMORY, gaps.memory_limit),
        ];
        let lacking = each.into_iter().filter(|(field, gap)| match gap {
            ResourceGap::None => false,
            ResourceGap::Missing => of_policy(field) && !is_filled(field),
            ResourceGap::Invalid => rules.needs_resources,
        });
        unfilled.extend(lacking.map(|(field, gap)| Unfilled {
            container: name.clone(),
            field,
            is_refused: gap == ResourceGap::Invalid,
        }));
    }
    unfilled
}
