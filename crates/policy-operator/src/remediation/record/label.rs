//! Workloads as a status names them.

use policy_core::workload::{ObjectKind, Workload};

/// The name of a workload in a status. The group tells apart kinds that other projects also have.
pub(crate) fn label(workload: &Workload) -> String {
    let Workload { group, kind, name } = workload;
    if ObjectKind::in_group(group, kind).is_some() || group.is_empty() {
        format!("{kind}/{name}")
    } else {
        format!("{kind}.{group}/{name}")
    }
}

pub(crate) fn workload_of(label: &str) -> Workload {
    let (kind, name) = label.split_once('/').unwrap_or((label, ""));
    let (kind, group) = kind.split_once('.').unwrap_or_else(|| {
        let group = match kind {
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => "apps",
            "Job" | "CronJob" => "batch",
            _ => "",
        };
        (kind, group)
    });
    Workload { group: group.into(), kind: kind.into(), name: name.into() }
}
