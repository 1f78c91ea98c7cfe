//! Who makes pods from templates: the cluster's own controllers.

use crate::workload::ObjectKind;

/// The user of a controller manager that has no accounts for its controllers.
pub const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
/// What the users of the controllers' own accounts begin with.
const ACCOUNTS: &str = "system:serviceaccount:kube-system:";

/// Whether the user makes objects of that kind from templates that were judged when they were
/// applied. By the name alone that the API server authenticated: anybody may write metadata.
pub(super) fn makes(user: &str, kind: ObjectKind) -> bool {
    let controllers: &[&str] = match kind {
        ObjectKind::Pod => &[
            "replicaset-controller",
            "daemon-set-controller",
            "statefulset-controller",
            "job-controller",
            "replication-controller",
        ],
        ObjectKind::ReplicaSet => &["deployment-controller"],
        ObjectKind::Job => &["cronjob-controller"],
        _ => return false,
    };
    let account = user.strip_prefix(ACCOUNTS);
    user == CONTROLLER_MANAGER || account.is_some_and(|account| controllers.contains(&account))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_clusters_own_controllers_are_known_each_for_its_kind() {
        use ObjectKind::{CronJob, Deployment, Job, Pod, ReplicaSet};
        for (user, kind, expected) in [
            ("system:serviceaccount:kube-system:replicaset-controller", Pod, true),
            ("system:serviceaccount:kube-system:daemon-set-controller", Pod, true),
            ("system:serviceaccount:kube-system:statefulset-controller", Pod, true),
            ("system:serviceaccount:kube-system:job-controller", Pod, true),
            ("system:serviceaccount:kube-system:replication-controller", Pod, true),
            ("system:kube-controller-manager", Pod, true),
            ("system:kube-controller-manager", ReplicaSet, true),
            ("system:kube-controller-manager", Job, true),
            ("system:kube-controller-manager", Deployment, false),
            ("system:serviceaccount:kube-system:deployment-controller", ReplicaSet, true),
            ("system:serviceaccount:kube-system:cronjob-controller", Job, true),
            ("system:serviceaccount:kube-system:deployment-controller", Pod, false),
            ("system:serviceaccount:kube-system:deployment-controller", Job, false),
            ("system:serviceaccount:kube-system:cronjob-controller", CronJob, false),
            ("system:serviceaccount:kube-system:replicaset-controller", ReplicaSet, false),
            ("system:serviceaccount:kube-system:namespace-controller", Pod, false),
            ("system:serviceaccount:shop:replicaset-controller", Pod, false),
            ("system:serviceaccount:kube-system:replicaset-controller ", Pod, false),
            ("System:kube-controller-manager", Pod, false),
            ("", Pod, false),
        ] {
            assert_eq!(makes(user, kind), expected, "{user} {kind}");
        }
    }
}
