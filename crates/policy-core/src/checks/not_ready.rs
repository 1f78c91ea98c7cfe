//! Pods that run without being ready for too long.

use std::borrow::Cow;

use super::{Check, CheckMeta, Parameters, Subject};
use crate::evaluate::FindingSink;
use crate::facts::{CheckedFacts, End, Lifecycle, RunFacts};

pub(super) struct NotReady;

static META: CheckMeta = CheckMeta {
    id: "not-ready",
    field: "forbidNotReadyDuration",
    severity_key: "notReady",
    violation_type: "not_ready",
    title: "Pod is not ready for too long",
    summary_label: "Pods not ready",
    counts_restarts: false,
    text: "not ready for longer than {limit} s",
    what: "A pod that is Running and whose condition `Ready` has been `False` for longer than `forbidNotReadyDuration` seconds; a pod that was never ready has it since its start. The finding names why a container waits, such as CrashLoopBackOff, ImagePullBackOff or CreateContainerConfigError, or how one ended that is not started again, or ReadinessGatesNotReady where all containers are ready. Two sorts of pods are left out: a pod without the condition, and one in which only containers that completed with exit code 0 and are not restarted are not ready, as in the pod of a Job. A pod whose images cannot be pulled at its start is Pending, not Running.",
    why: "The pod is counted as running and gets no traffic: the workload serves with fewer replicas than intended, or not at all, and a rollout does not go on.",
    fix: "Read the state of the containers and the events in `kubectl describe pod POD`, then `kubectl logs POD -c CONTAINER`, with `--previous` where it was restarted.",
    remedy: "find out why it is not ready",
    weight: 4,
    at_admission: false,
    needs_budgets: false,
    is_filled_in_later: false,
    patchable: false,
    configure: |spec| super::limit(spec.forbid_not_ready_duration),
    weight_override: Some(|weights| weights.not_ready),
    severity_override: |severities| severities.not_ready,
};

impl Check for NotReady {
    fn meta(&self) -> &'static CheckMeta {
        &META
    }

    fn evaluate(
        &self,
        pod: &CheckedFacts,
        Parameters { limit, .. }: Parameters,
        sink: &mut FindingSink<'_>,
    ) {
        if let Lifecycle::NotReady { since: Some(since), .. } = pod.lifecycle {
            sink.pod_later_than(since.get().into(), limit);
        }
    }

    fn message(&self, subject: Subject<'_>, parameters: Parameters) -> Cow<'static, str> {
        let text = META.text_with(parameters);
        match reason(subject.pod) {
            Some(reason) => format!("{text} ({reason})").into(),
            None => text,
        }
    }
}

/// Why the pod is not ready, where its status says so.
fn reason(pod: &CheckedFacts) -> Option<Cow<'_, str>> {
    if matches!(pod.lifecycle, Lifecycle::NotReady { lacks_only_gates: true, .. }) {
        return Some("ReadinessGatesNotReady".into());
    }
    let waiting = pod.runs.iter().find_map(|run| run.waiting.as_deref());
    let ended =
        |run: &RunFacts| run.last_end.as_ref().filter(|_| run.has_ended).map(End::to_string);
    waiting.map(Cow::Borrowed).or_else(|| pod.runs.iter().find_map(ended).map(Cow::Owned))
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::findings;

    /// The pod of these tests is not ready for nine minutes.
    fn found(limit: i32, spec: &str, phase: &str, statuses: &str) -> Vec<String> {
        let status = format!(
            r#"{{"phase": "{phase}", {statuses} "conditions": [{{"type": "Ready", "status": "False",
                "reason": "ContainersNotReady", "lastTransitionTime": "2026-01-01T00:01:00Z"}}]}}"#
        );
        let found = findings("not-ready", limit, spec, &status);
        found.into_iter().map(|(text, count)| format!("{text} x{count}")).collect()
    }

    fn two(restart_policy: &str) -> String {
        format!(
            r#"{{"restartPolicy": "{restart_policy}", "containers": [{{"name": "a"}}, {{"name": "b"}}]}}"#
        )
    }

    #[test]
    fn the_limit_itself_is_allowed() {
        assert!(found(540, "{}", "Running", "").is_empty());
        assert_eq!(found(539, "{}", "Running", ""), [": not ready for longer than 539 s x1"]);
    }

    #[test]
    fn only_a_running_pod_that_is_known_not_to_be_ready_counts() {
        for phase in ["Pending", "Unknown", "Succeeded", "Failed"] {
            assert!(found(0, "{}", phase, "").is_empty(), "{phase}");
        }
        for condition in [
            "",
            r#"{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}"#,
            r#"{"type": "Ready", "status": "False"}"#,
            r#"{"type": "ContainersReady", "status": "False", "lastTransitionTime": "2026-01-01T00:01:00Z"}"#,
        ] {
            let status = format!(r#"{{"phase": "Running", "conditions": [{condition}]}}"#);
            assert!(findings("not-ready", 0, "{}", &status).is_empty(), "{condition}");
        }
    }

    #[test]
    fn the_text_has_the_reason_where_there_is_one() {
        let text = |statuses: &str| {
            found(60, &two("Always"), "Running", &format!(r#""containerStatuses": [{statuses}],"#))
        };
        let with = |reason: &str| [format!(": not ready for longer than 60 s{reason} x1")];
        let running = r#"{"name": "a", "ready": false, "state": {"running": {}}}"#;
        assert_eq!(text(running), with(""));
        let waits = |reason: &str| {
            format!(
                r#"{{"name": "b", "ready": false, "state": {{"waiting": {{"reason": "{reason}"}}}}}}"#
            )
        };
        for reason in ["CrashLoopBackOff", "ImagePullBackOff", "CreateContainerConfigError"] {
            let both = format!("{running}, {}", waits(reason));
            assert_eq!(text(&both), with(&format!(" ({reason})")));
        }
        assert_eq!(text(&waits("two\\nlines")), with(""));
        let ended = r#"{"name": "a", "ready": false, "state": {"terminated": {"reason": "Error", "exitCode": 1}}}"#;
        assert_eq!(text(ended), with(" (exit code 1)"));
        let gate = r#"{"phase": "Running", "conditions": [{"type": "Ready", "status": "False",
            "reason": "ReadinessGatesNotReady", "lastTransitionTime": "2026-01-01T00:01:00Z"}]}"#;
        let (text, _) = findings("not-ready", 60, "{}", gate).remove(0);
        assert_eq!(text, ": not ready for longer than 60 s (ReadinessGatesNotReady)");
    }

    /// The pod of a Job with two containers, of which one has done its work.
    #[test]
    fn a_container_that_completed_for_good_makes_no_finding() {
        let statuses = |exit_code: u8, other_is_ready: bool| {
            format!(
                r#""containerStatuses": [{{"name": "a", "ready": false, "state": {{"terminated": {{"exitCode": {exit_code}}}}}}},
                    {{"name": "b", "ready": {other_is_ready}, "state": {{"running": {{}}}}}}],"#
            )
        };
        let count =
            |policy: &str, statuses: &str| found(60, &two(policy), "Running", statuses).len();
        for policy in ["Never", "OnFailure"] {
            assert_eq!(count(policy, &statuses(0, true)), 0, "{policy}");
            assert_eq!(count(policy, &statuses(0, false)), 1, "{policy}: the other is not ready");
            assert_eq!(count(policy, &statuses(3, true)), 1, "{policy}: it failed");
        }
        assert_eq!(count("Always", &statuses(0, true)), 1, "it will be started again");
        let sidecar = r#""initContainerStatuses": [{"name": "s", "ready": false}],"#;
        assert_eq!(count("Never", &(statuses(0, true) + sidecar)), 1, "a sidecar is not ready");
        let once = r#"{"containers": [{"name": "a", "restartPolicy": "Never"}, {"name": "b"}]}"#;
        assert_eq!(found(60, once, "Running", &statuses(0, true)).len(), 0, "KEP-5307");
    }

    /// Labels, annotations and deletionTimestamp are the user's; a check that they skip is none.
    #[test]
    fn a_pod_that_is_being_deleted_counts() {
        let pod = r#"{"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running",
            "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "1970-01-01T00:01:00Z"}]}}"#;
        let pod = crate::facts::PodFacts::of_pod(&serde_json::from_str(pod).unwrap(), "default");
        let since = std::num::NonZeroU32::new(60);
        let lifecycle = crate::facts::Lifecycle::NotReady { since, lacks_only_gates: false };
        assert_eq!(pod.checked.lifecycle, lifecycle);
    }
}
