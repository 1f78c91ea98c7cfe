//! Containers that restart too often.

use std::borrow::Cow;

use super::{Check, CheckMeta, Parameters, Subject};
use crate::evaluate::FindingSink;
use crate::facts::CheckedFacts;

pub(super) struct HighRestarts;

/// Further restarts of a container do not count, so that one crash loop does not hide all other
/// findings in the score.
const MAX_COUNTED: u32 = 5;

static META: CheckMeta = CheckMeta {
    id: "high-restarts",
    field: "maxRestartCount",
    severity_key: "highRestarts",
    violation_type: "high_restarts",
    title: "Container restarts too often",
    summary_label: "Restart severity score",
    counts_restarts: true,
    text: "restarted more than {limit} times",
    what: "A regular, sidecar or init container that restarted more often than `maxRestartCount`. It counts with all its restarts, but at most 5. With `restartWindow`, a container whose last end is longer ago than that many seconds does not count: the finding leaves when that time is over. Where the kubelet no longer knows when the container ended, it counts. The finding names how the container ended the last time: the reason, such as OOMKilled, else the exit code and the signal.",
    why: "A container that restarts is down each time, loses what it held in memory, and often has a bug or a memory limit that is too low.",
    fix: "Find out why it ended: `kubectl logs POD -c CONTAINER --previous`, and the last state in `kubectl describe pod POD`.",
    remedy: "find out why it ends",
    weight: 6,
    at_admission: false,
    needs_budgets: false,
    is_filled_in_later: false,
    patchable: false,
    configure: |spec| {
        let window = super::number(spec.restart_window);
        super::limit(spec.max_restart_count).map(|limit| Parameters { window, ..limit })
    },
    weight_override: Some(|weights| weights.high_restarts),
    severity_override: |severities| severities.high_restarts,
};

impl Check for HighRestarts {
    fn meta(&self) -> &'static CheckMeta {
        &META
    }

    fn evaluate(
        &self,
        pod: &CheckedFacts,
        Parameters { limit, window }: Parameters,
        sink: &mut FindingSink<'_>,
    ) {
        for run in pod.runs.iter().filter(|run| run.restarts > limit) {
            let (index, count) = (run.container, run.restarts.min(MAX_COUNTED));
            let ended = run.last_end.as_ref().and_then(|end| end.at);
            match ended.zip(window) {
                None => sink.container(index, count),
                Some((at, window)) => sink.container_within(index, count, (at, window)),
            }
        }
    }

    fn message(&self, subject: Subject<'_>, parameters: Parameters) -> Cow<'static, str> {
        let text = META.text_with(parameters);
        match subject.run.and_then(|run| run.last_end.as_ref()) {
            Some(end) => format!("{text} ({end})").into(),
            None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use crate::api::DevOpsPolicySpec;
    use crate::checks::testing::{NOW, findings};
    use crate::evaluate::evaluate;
    use crate::facts::PodFacts;
    use crate::policy::CompiledPolicy;

    fn counts(limit: i32, restarts: i64) -> Vec<u32> {
        let status =
            format!(r#"{{"containerStatuses": [{{"name": "c", "restartCount": {restarts}}}]}}"#);
        let found = findings("high-restarts", limit, r#"{"containers": [{"name": "c"}]}"#, &status);
        found.into_iter().map(|(_, count)| count).collect()
    }

    #[test]
    fn over_the_limit_all_restarts_count_up_to_five() {
        for (limit, restarts, expected) in [
            (3, 3, None),
            (3, 4, Some(4)),
            (3, 5, Some(5)),
            (3, 6, Some(5)),
            (3, 1_000_000, Some(5)),
            (0, 0, None),
            (0, 1, Some(1)),
            (10, 11, Some(5)),
        ] {
            assert_eq!(
                counts(limit, restarts).first().copied(),
                expected,
                "{restarts} over {limit}"
            );
        }
    }

    #[test]
    fn every_sort_but_the_ephemeral_is_checked() {
        let spec = crate::checks::testing::one_of_each(r#""image": "a:1""#);
        let restarted = |name: &str| format!(r#"{{"name": "{name}", "restartCount": 4}}"#);
        let status = format!(
            r#"{{"containerStatuses": [{}], "initContainerStatuses": [{}, {}], "ephemeralContainerStatuses": [{}]}}"#,
            restarted("regular"),
            restarted("init"),
            restarted("sidecar"),
            restarted("ephemeral"),
        );
        let texts: Vec<_> =
            findings("high-restarts", 3, &spec, &status).into_iter().map(|f| f.0).collect();
        let words = |name: &str| format!("{name}: restarted more than 3 times");
        assert_eq!(texts, [words("regular"), words("init"), words("sidecar")]);
    }

    /// The findings of a policy of 3 restarts within 100 s in a container with that status, and
    /// when that changes. The pods of the checks' tests are seen at 00:10:00.
    fn windowed(window: Option<i32>, status: &str) -> (Vec<String>, Option<String>) {
        let text = format!(
            r#"{{"spec": {{"containers": [{{"name": "c"}}]}}, "status": {{"phase": "Running",
                "containerStatuses": [{{"name": "c", "restartCount": 4, {status}}}]}}}}"#
        );
        let pod = PodFacts::of_pod(&serde_json::from_str(&text).unwrap(), "default");
        let spec = DevOpsPolicySpec {
            max_restart_count: Some(3),
            restart_window: window,
            ..DevOpsPolicySpec::default()
        };
        let policy = CompiledPolicy::compile(&spec).unwrap();
        let found = evaluate(&pod, &policy, NOW.parse().unwrap());
        let texts = found.findings.iter().map(|finding| {
            format!("{} x{}", finding.message(&pod.checked, &policy), finding.count)
        });
        let next = found.next_change().map(|at| Timestamp::from_second(at).unwrap().to_string());
        (texts.collect(), next)
    }

    fn ended(at: &str) -> String {
        format!(
            r#""lastState": {{"terminated": {{"reason": "OOMKilled", "exitCode": 137, "finishedAt": {at}}}}}"#
        )
    }

    #[test]
    fn with_a_window_only_what_ended_within_it_counts() {
        let found = || vec!["restarted more than 3 times (OOMKilled) x4".to_owned()];
        let at = |time: &str| windowed(Some(100), &ended(&format!(r#""2026-01-01T00:{time}Z""#)));
        assert_eq!(at("08:20"), (found(), Some("2026-01-01T00:10:01Z".to_owned())));
        assert_eq!(at("08:19"), (vec![], None), "longer ago");
        assert_eq!(at("10:30"), (found(), Some("2026-01-01T00:12:11Z".to_owned())), "a fast clock");
        assert_eq!(windowed(Some(100), &ended("null")), (found(), None), "it is not known when");
        let old = ended(r#""2025-04-01T00:00:00Z""#);
        assert_eq!(windowed(None, &old), (found(), None), "without a window");
        let now =
            r#""state": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:09:59Z"}}, "#;
        let (texts, next) = windowed(Some(100), &(now.to_owned() + &old));
        assert_eq!(texts, ["restarted more than 3 times (exit code 1) x4"], "the end that is last");
        assert_eq!(next.as_deref(), Some("2026-01-01T00:11:40Z"));
    }

    #[test]
    fn without_a_state_the_cause_is_not_known() {
        let waits = r#""state": {"waiting": {"reason": "CrashLoopBackOff"}}"#;
        assert_eq!(windowed(Some(100), waits).0, ["restarted more than 3 times x4"]);
    }
}
