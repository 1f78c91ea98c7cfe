//! Containers that restart too often.

use super::{Check, CheckMeta};
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
    comes_with_time: false,
    text: "restarted more than {limit} times",
    what: "A regular, sidecar or init container that restarted more often than `maxRestartCount`. It counts with all its restarts, but at most 5.",
    why: "A container that restarts is down each time, loses what it held in memory, and often has a bug or a memory limit that is too low.",
    fix: "Find out why it ended: `kubectl logs POD -c CONTAINER --previous`, and the last state in `kubectl describe pod POD`.",
    remedy: "find out why it ends",
    weight: 6,
    at_admission: false,
    is_filled_in_later: false,
    patchable: false,
    configure: |spec| super::limit(spec.max_restart_count),
    weight_override: |weights| weights.high_restarts,
    severity_override: |severities| severities.high_restarts,
};

impl Check for HighRestarts {
    fn meta(&self) -> &'static CheckMeta {
        &META
    }

    fn evaluate(&self, pod: &CheckedFacts, limit: u32, _now: i64, sink: &mut FindingSink<'_>) {
        for (index, container) in pod.containers.iter().enumerate() {
            if container.restarts > limit {
                sink.container(index, container.restarts.min(MAX_COUNTED));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::findings;

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
}
