//! Requests and limits that a container lacks.

use crate::view::{Amount, AmountsView, ResourcesView};

/// The requests and limits that a container lacks, after the pod's own resources and the API
/// server's defaults. A CPU limit is not demanded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResourceGaps {
    /// The CPU request.
    pub cpu_request: ResourceGap,
    /// The memory request.
    pub memory_request: ResourceGap,
    /// The memory limit.
    pub memory_limit: ResourceGap,
}

/// Whether a request or limit is lacking. Ordered: the smaller of two counts, because a container
/// and its pod need to set a value only once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceGap {
    /// It is set.
    #[default]
    None,
    /// Its value is not a quantity that the API server accepts, such as `1GB`.
    Invalid,
    /// It is not set.
    Missing,
}

impl ResourceGaps {
    /// As the API server stores a pod: a limit sets the request that is absent, a limit of 0
    /// included. The pod's own resources
    /// ([KEP-2837](https://github.com/kubernetes/enhancements/issues/2837)) count for every
    /// container.
    pub(super) fn of(container: &ResourcesView, pod: &ResourcesView) -> Self {
        let cpu = |amounts: &AmountsView| amounts.cpu;
        let memory = |amounts: &AmountsView| amounts.memory;
        Self {
            cpu_request: request_gap(container, cpu).min(request_gap(pod, cpu)),
            memory_request: request_gap(container, memory).min(request_gap(pod, memory)),
            memory_limit: limit_gap(container.limits.memory).min(limit_gap(pod.limits.memory)),
        }
    }

    /// Every combination.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        const EACH: [ResourceGap; 3] =
            [ResourceGap::None, ResourceGap::Invalid, ResourceGap::Missing];
        EACH.into_iter().flat_map(|cpu_request| {
            EACH.into_iter().flat_map(move |memory_request| {
                EACH.map(|memory_limit| Self { cpu_request, memory_request, memory_limit })
            })
        })
    }

    /// The lacking ones, each with the name that messages use.
    pub fn lacking(self) -> impl Iterator<Item = (ResourceGap, &'static str)> {
        [
            (self.cpu_request, "cpu request"),
            (self.memory_request, "memory request"),
            (self.memory_limit, "memory limit"),
        ]
        .into_iter()
        .filter(|(gap, _)| *gap != ResourceGap::None)
    }
}

fn request_gap(resources: &ResourcesView, of: impl Fn(&AmountsView) -> Amount) -> ResourceGap {
    match (of(&resources.requests), of(&resources.limits)) {
        (Amount::Invalid, _) => ResourceGap::Invalid,
        (Amount::Unset, Amount::Unset | Amount::Invalid) => ResourceGap::Missing,
        _ => ResourceGap::None,
    }
}

fn limit_gap(limit: Amount) -> ResourceGap {
    match limit {
        Amount::Positive => ResourceGap::None,
        Amount::Invalid => ResourceGap::Invalid,
        Amount::Unset | Amount::Zero => ResourceGap::Missing,
    }
}
