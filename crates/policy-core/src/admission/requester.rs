//! Who makes a request.

use super::Operation;
use crate::installation::OPERATOR_USER;
use crate::workload::ObjectKind;

/// The user of a controller manager that runs without `--use-service-account-credentials`.
pub const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
/// The prefix of the users of the controllers' own service accounts.
pub const CONTROLLER_ACCOUNTS: &str = "system:serviceaccount:kube-system:";
/// The prefix of the users of kubelets, whose pods are mirrors of static ones.
pub const NODE_USERS: &str = "system:node:";

/// The controllers of the cluster that create objects of that kind from templates.
#[must_use]
pub const fn controllers_of(kind: ObjectKind) -> &'static [&'static str] {
    match kind {
        ObjectKind::Pod => &[
            "replicaset-controller",
            "daemon-set-controller",
            "statefulset-controller",
            "job-controller",
            "replication-controller",
        ],
        ObjectKind::ReplicaSet => &["deployment-controller"],
        ObjectKind::Job => &["cronjob-controller"],
        _ => &[],
    }
}

/// Who makes a request, by the user that the API server authenticated. Metadata does not count,
/// because anybody may write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requester {
    /// A controller of the cluster that creates such objects from templates, which were judged when
    /// they were applied.
    Controller,
    /// A kubelet. It may create only mirrors of static pods, which it runs whatever the API server
    /// answers:
    /// <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction>.
    Node,
    /// The operator, which changes workloads under enforce policies, and takes its changes back.
    Operator,
    /// Anybody else.
    Other,
}

impl Requester {
    /// The requester of a request for an object of that kind. Only in creating objects do controllers
    /// and kubelets differ from others, and the operator only in changing them.
    pub(super) fn of_request(operation: Operation, user: &str, kind: ObjectKind) -> Self {
        match operation {
            Operation::Create => Self::of(user, kind),
            Operation::Update if kind.is_patchable() && user == OPERATOR_USER => Self::Operator,
            _ => Self::Other,
        }
    }

    /// The requester by that user name, for the creation of an object of that kind.
    pub(super) fn of(user: &str, kind: ObjectKind) -> Self {
        let controllers = controllers_of(kind);
        if controllers.is_empty() {
            return Self::Other;
        }
        let account = user.strip_prefix(CONTROLLER_ACCOUNTS);
        if user == CONTROLLER_MANAGER || account.is_some_and(|name| controllers.contains(&name)) {
            Self::Controller
        } else if kind == ObjectKind::Pod && user.starts_with(NODE_USERS) {
            Self::Node
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_and_nodes_are_recognised_each_for_its_kinds() {
        use ObjectKind::{CronJob, Deployment, Job, Pod, ReplicaSet};
        for (user, kind, expected) in [
            ("system:serviceaccount:kube-system:replicaset-controller", Pod, Requester::Controller),
            ("system:serviceaccount:kube-system:daemon-set-controller", Pod, Requester::Controller),
            (
                "system:serviceaccount:kube-system:statefulset-controller",
                Pod,
                Requester::Controller,
            ),
            ("system:serviceaccount:kube-system:job-controller", Pod, Requester::Controller),
            (
                "system:serviceaccount:kube-system:replication-controller",
                Pod,
                Requester::Controller,
            ),
            ("system:kube-controller-manager", Pod, Requester::Controller),
            ("system:kube-controller-manager", ReplicaSet, Requester::Controller),
            ("system:kube-controller-manager", Job, Requester::Controller),
            ("system:kube-controller-manager", Deployment, Requester::Other),
            (
                "system:serviceaccount:kube-system:deployment-controller",
                ReplicaSet,
                Requester::Controller,
            ),
            ("system:serviceaccount:kube-system:cronjob-controller", Job, Requester::Controller),
            ("system:serviceaccount:kube-system:deployment-controller", Pod, Requester::Other),
            ("system:serviceaccount:kube-system:deployment-controller", Job, Requester::Other),
            ("system:serviceaccount:kube-system:cronjob-controller", CronJob, Requester::Other),
            (
                "system:serviceaccount:kube-system:replicaset-controller",
                ReplicaSet,
                Requester::Other,
            ),
            ("system:serviceaccount:kube-system:namespace-controller", Pod, Requester::Other),
            ("system:serviceaccount:shop:replicaset-controller", Pod, Requester::Other),
            ("system:serviceaccount:kube-system:replicaset-controller ", Pod, Requester::Other),
            ("System:kube-controller-manager", Pod, Requester::Other),
            ("system:node:node-0", Pod, Requester::Node),
            ("system:node:node-0", Job, Requester::Other),
            ("system:node:node-0", Deployment, Requester::Other),
            ("system:nodes", Pod, Requester::Other),
            ("system:serviceaccount:system:node:", Pod, Requester::Other),
            ("", Pod, Requester::Other),
        ] {
            assert_eq!(Requester::of(user, kind), expected, "{user} {kind}");
        }
    }

    #[test]
    fn the_operator_is_recognised_where_it_changes_what_it_may_patch() {
        use ObjectKind::{DaemonSet, Deployment, Pod, StatefulSet};
        let of = Requester::of_request;
        for kind in [Deployment, StatefulSet, DaemonSet] {
            assert_eq!(of(Operation::Update, OPERATOR_USER, kind), Requester::Operator);
            assert_eq!(of(Operation::Create, OPERATOR_USER, kind), Requester::Other);
            let other = "system:serviceaccount:shop:policy-operator";
            assert_eq!(of(Operation::Update, other, kind), Requester::Other);
        }
        assert_eq!(of(Operation::Update, OPERATOR_USER, Pod), Requester::Other);
    }
}
