//! Pods that stay Pending too long.

use super::{Check, CheckMeta, Parameters};
use crate::evaluate::FindingSink;
use crate::facts::{CheckedFacts, Lifecycle};

pub(super) struct Pending;

static META: CheckMeta = CheckMeta {
    id: "pending",
    field: "forbidPendingDuration",
    severity_key: "pending",
    violation_type: "pending",
    title: "Pod is pending for too long",
    summary_label: "Pending pods",
    counts_restarts: false,
    text: "pending longer than {limit} s",
    what: "A pod that is Pending for longer than `forbidPendingDuration` seconds, counted from its creation. A pod held by scheduling gates is not Pending in this sense; once its gates are gone, it counts from when it got a node (the condition `PodScheduled`), or from its creation while the scheduler finds none, because Kubernetes does not record when a gate ended.",
    why: "The workload runs with fewer replicas than intended, or not at all: no node has capacity, a volume is missing, or an image cannot be pulled.",
    fix: "Read the events at the end of `kubectl describe pod POD`: they name the cause.",
    remedy: "find out what it waits for",
    weight: 4,
    at_admission: false,
    needs_budgets: false,
    is_filled_in_later: false,
    patchable: false,
    configure: |spec| super::limit(spec.forbid_pending_duration),
    weight_override: Some(|weights| weights.pending),
    severity_override: |severities| severities.pending,
};

impl Check for Pending {
    fn meta(&self) -> &'static CheckMeta {
        &META
    }

    fn evaluate(
        &self,
        pod: &CheckedFacts,
        Parameters { limit, .. }: Parameters,
        sink: &mut FindingSink<'_>,
    ) {
        let Lifecycle::Pending { since: Some(since) } = pod.lifecycle else {
            return;
        };
        sink.pod_later_than(since.get().into(), limit);
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::findings;

    /// The pods of these tests are ten minutes old.
    fn found(limit: i32, spec: &str, phase: &str) -> Vec<(String, u32)> {
        findings("pending", limit, spec, &format!(r#"{{"phase": "{phase}"}}"#))
    }

    #[test]
    fn the_limit_itself_is_allowed() {
        assert!(found(600, "{}", "Pending").is_empty());
        assert_eq!(found(599, "{}", "Pending"), [(": pending longer than 599 s".to_owned(), 1)]);
        assert_eq!(found(0, "{}", "Pending").len(), 1);
    }

    #[test]
    fn only_pods_that_wait_for_the_cluster_count() {
        assert!(found(0, "{}", "Running").is_empty());
        assert!(found(0, r#"{"schedulingGates": [{"name": "quota"}]}"#, "Pending").is_empty());
    }
}
