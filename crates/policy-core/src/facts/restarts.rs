//! How often the containers of a pod restarted.

use std::collections::BTreeMap;

use super::ContainerRole;
use crate::view::{ContainerStatusView, PodStatusView};

/// The restart counts by container name. Containers that never restarted, which are most, are left
/// out.
#[derive(Default)]
pub(super) struct Restarts<'a> {
    containers: BTreeMap<&'a str, u32>,
    init_containers: BTreeMap<&'a str, u32>,
}

impl<'a> Restarts<'a> {
    pub(super) fn of(status: &'a PodStatusView) -> Self {
        let counts = |statuses: &'a [ContainerStatusView]| {
            statuses
                .iter()
                .filter_map(|status| Some((status.name.as_deref()?, status.restart_count?)))
                .filter(|(_, count)| *count > 0)
                .map(|(name, count)| (name, u32::try_from(count).unwrap_or(u32::MAX)))
                .collect()
        };
        Self {
            containers: counts(&status.container_statuses),
            init_containers: counts(&status.init_container_statuses),
        }
    }

    pub(super) fn count(&self, role: ContainerRole, name: &str) -> u32 {
        let counts = match role {
            ContainerRole::Regular => &self.containers,
            ContainerRole::Sidecar | ContainerRole::Init => &self.init_containers,
            ContainerRole::Ephemeral | ContainerRole::ImageVolume => return 0,
        };
        counts.get(name).copied().unwrap_or(0)
    }
}
