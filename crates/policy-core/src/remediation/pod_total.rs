//! What the containers of a pod have together, as a `LimitRange` of pods counts it
//! (<https://github.com/kubernetes/kubernetes/blob/v1.37.0/plugin/pkg/admission/limitranger/admission.go>).

use super::amount::Amount;
use super::facts::quantity;
use super::fill::{Filler, Withheld, field_name};
use super::reason::Reason;
use super::target::TargetContainer;
use crate::facts::ContainerRole;
use crate::quantity::ParsedQuantity;

impl Filler<'_> {
    /// Their own requests and limits, what is filled in so far and in the container that is being filled in,
    /// and what the namespace gives.
    pub(super) fn of_pod(
        &self,
        resource: &str,
        current: Option<(&TargetContainer, &Amount)>,
    ) -> Amount {
        let of = |container: &TargetContainer, list: &str| {
            let current = current.filter(|(found, _)| found.name == container.name);
            let own = quantity(&container.live["resources"][list][resource]);
            let filled = self.filled.fields.of(&container.name);
            match (current, list) {
                (Some((_, amount)), "requests") => amount.request(),
                (Some((_, amount)), _) => amount.limit(),
                _ => own.or_else(|| ParsedQuantity::parse(filled?.amount(list, resource)?)),
            }
        };
        let roles = self.target.facts.containers.iter().map(|facts| facts.role);
        let containers = roles.zip(&self.target.containers);
        let limit = |container: &TargetContainer| of(container, "limits");
        let default = |list: &str| self.default_of(list, resource).map(|(_, amount)| amount);
        let requests = containers.clone().map(|(role, container)| {
            let own = of(container, "requests").or_else(|| limit(container));
            (role, own.or_else(|| default("requests")))
        });
        let limits = containers
            .map(|(role, container)| (role, limit(container).or_else(|| default("limits"))));
        let (request_now, limit_now) = (total(requests), total(limits));
        Amount { request_now, limit_now, ..Amount::default() }
    }

    /// Takes back limits that are together below what a `LimitRange` demands of the limits of a pod: of a
    /// pod without any it demands nothing. Only at the end, because each limit adds to the others.
    pub(super) fn withhold_small_limits(&mut self) {
        let ranges = self.namespace.limit_ranges.iter();
        let items = ranges.flat_map(|range| range.limits.iter().map(move |item| (range, item)));
        for (range, item) in items.filter(|(_, item)| item.type_ == "Pod") {
            for resource in ["cpu", "memory"] {
                let limit = self.of_pod(resource, None).limit_now;
                let is_small = limit.zip(item.min.get(resource)).is_some_and(|(is, min)| is < *min);
                if !is_small {
                    continue;
                }
                let why = format!("the limit is below min of {resource} for a Pod");
                let reason = Reason::LimitRange(range.name.clone(), why);
                let field = field_name("limits", resource);
                for fields in &mut self.filled.fields.0 {
                    if fields.limits.of(resource).and_then(Option::take).is_some() {
                        let (container, reason) = (fields.name.clone(), reason.clone());
                        self.filled.withheld.push(Withheld { container, field, reason });
                    }
                }
            }
        }
        self.filled.fields.0.retain(|fields| !fields.is_empty());
    }
}

/// The sum of what runs at the same time, or what an init container has beside the sidecars before it, if
/// that is more. `None` where no container has any.
fn total(
    containers: impl Iterator<Item = (ContainerRole, Option<ParsedQuantity>)>,
) -> Option<ParsedQuantity> {
    let plus = |a: Option<ParsedQuantity>, b: Option<ParsedQuantity>| {
        a.or(b).is_some().then(|| a.into_iter().chain(b).sum())
    };
    let (mut running, mut sidecars, mut starting) = (None, None, None);
    for (role, amount) in containers {
        match role {
            ContainerRole::Regular => running = plus(running, amount),
            ContainerRole::Sidecar => {
                running = plus(running, amount);
                sidecars = plus(sidecars, amount);
                starting = starting.max(sidecars);
            }
            ContainerRole::Init => starting = starting.max(plus(sidecars, amount)),
            ContainerRole::Ephemeral | ContainerRole::ImageVolume => {}
        }
    }
    running.max(starting)
}
