//! How far the rollout of a workload is, as its controller reports it.

use policy_core::workload::ObjectKind;
use serde_json::Value;

/// What the controller of a Deployment, `StatefulSet` or `DaemonSet` reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rollout {
    /// Whether the controller has seen the current spec.
    pub(crate) is_observed: bool,
    pub(crate) is_paused: bool,
    /// How many pods there should be.
    pub(crate) desired: i64,
    /// How many pods there are, of all templates.
    pub(crate) current: i64,
    /// How many have the current template.
    pub(crate) updated: i64,
    /// How many are ready for long enough, of all templates.
    pub(crate) available: i64,
    /// Why the controller has given up, where it has.
    pub(crate) deadline_exceeded: Option<String>,
    /// Why pods could not be created, where that failed.
    pub(crate) replica_failure: Option<String>,
    /// The revision of the current template: of a Deployment its number, of a `StatefulSet` its
    /// name, which its pods have as a label.
    pub(crate) revision: Option<String>,
    /// How long a pod has to be ready until it counts as available, in seconds.
    pub(crate) min_ready_seconds: u64,
    /// How long a container may take to stop, in seconds.
    pub(crate) grace_seconds: u64,
}

impl Rollout {
    pub(crate) fn read(kind: ObjectKind, workload: &Value) -> Self {
        let (spec, status) = (&workload["spec"], &workload["status"]);
        let number = |value: &Value| value.as_i64().unwrap_or_default();
        let unsigned = |value: &Value, default| value.as_u64().unwrap_or(default);
        let generation = number(&workload["metadata"]["generation"]);
        let is_daemon_set = kind == ObjectKind::DaemonSet;
        let (desired, current, updated, available) = if is_daemon_set {
            let desired = number(&status["desiredNumberScheduled"]);
            let current = number(&status["currentNumberScheduled"]);
            (desired, current, &status["updatedNumberScheduled"], &status["numberAvailable"])
        } else {
            let desired = spec["replicas"].as_i64().unwrap_or(1);
            let current = number(&status["replicas"]);
            (desired, current, &status["updatedReplicas"], &status["availableReplicas"])
        };
        let condition = |type_: &str, is_it: &dyn Fn(&Value) -> bool| {
            let all = status["conditions"].as_array()?;
            let found = all.iter().find(|condition| condition["type"] == type_)?;
            is_it(found).then(|| found["message"].as_str().unwrap_or(type_).to_owned())
        };
        let revision = match kind {
            ObjectKind::Deployment => {
                &workload["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
            }
            _ => &status["updateRevision"],
        };
        Self {
            is_observed: number(&status["observedGeneration"]) >= generation,
            is_paused: spec["paused"] == true,
            desired,
            current,
            updated: number(updated),
            available: number(available),
            deadline_exceeded: condition("Progressing", &|condition| {
                condition["reason"] == "ProgressDeadlineExceeded"
            }),
            replica_failure: condition("ReplicaFailure", &|condition| {
                condition["status"] == "True"
            }),
            revision: revision.as_str().map(str::to_owned),
            min_ready_seconds: unsigned(&spec["minReadySeconds"], 0),
            grace_seconds: unsigned(&spec["template"]["spec"]["terminationGracePeriodSeconds"], 30),
        }
    }

    /// Whether all pods have the current template and are available.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_observed
            && self.updated >= self.desired
            && self.current <= self.updated
            && self.available >= self.desired
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rollout_is_complete_when_all_pods_are_new_and_available() {
        let read = |status: Value| {
            let workload = json!({
                "metadata": { "generation": 2,
                    "annotations": { "deployment.kubernetes.io/revision": "4" } },
                "spec": { "replicas": 3, "minReadySeconds": 7 },
                "status": status,
            });
            Rollout::read(ObjectKind::Deployment, &workload)
        };
        let status = |observed: i64, current: i64, updated: i64, available: i64| {
            json!({ "observedGeneration": observed, "replicas": current,
                "updatedReplicas": updated, "availableReplicas": available })
        };
        let done = read(status(2, 3, 3, 3));
        assert!(done.is_complete());
        assert_eq!((done.revision.as_deref(), done.min_ready_seconds), (Some("4"), 7));
        assert_eq!(done.grace_seconds, 30);
        for (observed, current, updated, available) in
            [(1, 3, 3, 3), (2, 4, 3, 3), (2, 3, 2, 3), (2, 3, 3, 2)]
        {
            assert!(!read(status(observed, current, updated, available)).is_complete());
        }
        let failed = read(json!({ "conditions": [
            { "type": "ReplicaFailure", "status": "True", "message": "exceeded quota" },
            { "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
              "message": "timed out" }] }));
        assert_eq!(failed.replica_failure.as_deref(), Some("exceeded quota"));
        assert_eq!(failed.deadline_exceeded.as_deref(), Some("timed out"));
    }

    #[test]
    fn other_kinds_count_their_pods_under_other_names() {
        let daemon_set = json!({ "metadata": { "generation": 1 }, "spec": {}, "status": {
            "observedGeneration": 1, "desiredNumberScheduled": 2, "currentNumberScheduled": 2,
            "updatedNumberScheduled": 2, "numberAvailable": 1 } });
        let mut daemon_set = Rollout::read(ObjectKind::DaemonSet, &daemon_set);
        assert_eq!((daemon_set.desired, daemon_set.available), (2, 1));
        assert!(!daemon_set.is_complete());
        daemon_set.available = 2;
        assert!(daemon_set.is_complete());
        let stateful_set = json!({ "spec": {}, "status": { "updateRevision": "db-5d8" } });
        let stateful_set = Rollout::read(ObjectKind::StatefulSet, &stateful_set);
        assert_eq!((stateful_set.desired, stateful_set.revision.as_deref()), (1, Some("db-5d8")));
    }
}
