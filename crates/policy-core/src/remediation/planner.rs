//! From facts and policies to what is done with a workload.

use std::sync::Arc;

use super::facts::{MemoryPeaks, NamespaceFacts};
use super::fields::Fields;
use super::fill::{Filled, MemoryUse, Withheld, fill};
use super::reason::Reason;
use super::rules::NamespaceRules;
use super::target::Target;
use super::vetoes;
use crate::api::{RemediatedWorkload, RemediationMethod};
use crate::facts::{ContainerFacts, ResourceGaps};

/// Everything that a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    /// The enforce policies of the namespace.
    pub rules: &'a NamespaceRules,
    /// The namespace.
    pub namespace: &'a NamespaceFacts,
    /// The workload.
    pub target: &'a Target,
    /// What its containers use; `None` where metrics.k8s.io does not answer.
    pub peaks: Option<&'a MemoryPeaks>,
    /// What the status of a policy says of it.
    pub memory: Option<&'a RemediatedWorkload>,
}

/// What is done with a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing is missing.
    Nothing,
    /// The operator patches its template.
    Patch {
        /// What is filled in.
        fields: Fields,
        /// What is missing and is not filled in.
        withheld: Vec<Withheld>,
    },
    /// The webhook injects into its new pods.
    InjectAtAdmission {
        /// What is filled in.
        fields: Fields,
        /// What is missing and is not filled in.
        withheld: Vec<Withheld>,
    },
    /// Nothing can be filled in: what is missing is withheld, each for its reason.
    Withhold {
        /// What is missing.
        withheld: Vec<Withheld>,
    },
    /// Its owner should change it.
    Propose {
        /// What would be filled in.
        fields: Fields,
        /// Why it is not.
        reason: Reason,
    },
    /// It is not changed.
    NotPatchable {
        /// Why.
        reason: Reason,
    },
}

/// A plan, and the policy that it is made for: the oldest of those that ask for its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What is done.
    pub plan: Plan,
    /// The name of the policy; `None` where no policy asks for anything.
    pub policy: Option<Arc<str>>,
}

/// Plans what is done with a workload. Pure: the same input has the same plan.
#[must_use]
pub fn plan(input: &PlanInput<'_>) -> Planned {
    let Filled { fields, withheld, policies } =
        fill(input.rules, input.namespace, input.target, MemoryUse::Measured(input.peaks));
    let oldest = input.rules.oldest(&policies);
    let (policy, method) = match oldest {
        Some((policy, method)) => (Some(policy), method),
        None => (None, RemediationMethod::Auto),
    };
    let plan = if policy.is_none() {
        let fields = Fields::default();
        missing_default(input.rules, input.target)
            .map_or(Plan::Nothing, |reason| Plan::Propose { fields, reason })
    } else if let Some(reason) = vetoes::withdrawn(input, &fields) {
        // Before the others, for the same reason as `reverted`.
        Plan::NotPatchable { reason }
    } else if let Some(reason) = vetoes::first(vetoes::ALWAYS, input) {
        Plan::NotPatchable { reason }
    } else if fields.is_empty() {
        if withheld.is_empty() { Plan::Nothing } else { Plan::Withhold { withheld } }
    } else {
        planned(input, method, fields, withheld)
    };
    Planned { plan, policy }
}

fn planned(
    input: &PlanInput<'_>,
    method: RemediationMethod,
    fields: Fields,
    withheld: Vec<Withheld>,
) -> Plan {
    let is_injected = match method {
        RemediationMethod::Admission => true,
        RemediationMethod::Auto => !input.target.owner.can_share(),
        RemediationMethod::Patch | RemediationMethod::Propose => false,
    };
    let vetoes = if is_injected { vetoes::INJECTION } else { vetoes::ROLLOUT };
    let reason = vetoes::method(input, method).or_else(|| vetoes::first(vetoes, input));
    match reason {
        Some(reason) => Plan::Propose { fields, reason },
        None if is_injected => Plan::InjectAtAdmission { fields, withheld },
        None => Plan::Patch { fields, withheld },
    }
}

/// The first field that a container lacks and no policy has a value for.
pub(super) fn missing_default(rules: &NamespaceRules, target: &Target) -> Option<Reason> {
    let containers = target.facts.containers.iter().filter(|c| c.role.is_long_running());
    let containers: Vec<_> = containers
        .map(|container| (container, rules.of_container(target, &container.name)))
        .collect();
    let lacks_probe = containers.iter().any(|(container, rules)| {
        let has_probe = rules.liveness.is_some() || rules.readiness.is_some();
        container.needs_probes() && rules.lacks_probe(container) && !has_probe
    });
    let missing = if lacks_probe {
        Some("defaultProbe")
    } else {
        containers.iter().find_map(|(container, rules)| {
            rules.amount_without_default(container.missing_resources)
        })
    };
    missing.map(Reason::NoDefault)
}

impl NamespaceRules {
    fn lacks_probe(&self, container: &ContainerFacts) -> bool {
        (self.needs_liveness && !container.has_liveness_probe)
            || (self.needs_readiness && !container.has_readiness_probe)
    }

    /// The first amount that a container lacks and no policy has a default for.
    fn amount_without_default(&self, gaps: ResourceGaps) -> Option<&'static str> {
        let mut lacking = gaps.lacking().map(|(_, name)| match name {
            "cpu request" => ("defaultResources.cpuRequest", self.cpu_request.is_some()),
            "memory request" => ("defaultResources.memoryRequest", self.memory_request.is_some()),
            _ => ("defaultResources.memoryLimit", self.memory_limit.is_some()),
        });
        let first = lacking.find(|(_, has_default)| self.needs_resources && !has_default);
        first.map(|(field, _)| field)
    }
}
