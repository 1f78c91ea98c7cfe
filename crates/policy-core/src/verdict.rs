//! A verdict: the result of judging the pods of a namespace by a policy at one time.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::checks::CheckId;
use crate::evaluate::{Due, Finding, evaluate};
use crate::facts::PodFacts;
use crate::policy::CompiledPolicy;
use crate::score::{Score, Tally};
use crate::severity::Severity;
use crate::workload::Workload;

/// The most findings that a verdict lists: as many as an audit result may hold.
pub const MAX_LISTED: usize = 100;

/// The result of judging a set of pods by a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The counts of pods and findings.
    pub tally: Tally,
    /// The score of the tally.
    pub score: Score,
    /// The most severe findings, at most [`MAX_LISTED`].
    pub worst: Vec<ListedFinding>,
    /// Identifies the verdict.
    pub fingerprint: Fingerprint,
    /// The second (since 1970) at which the verdict changes only because time passes.
    pub due: Option<i64>,
}

/// A finding as statuses and audit results list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFinding {
    /// The check.
    pub check: CheckId,
    /// Its severity under the policy.
    pub severity: Severity,
    /// The name of the pod.
    pub pod: Box<str>,
    /// The container; `None` where the finding is about the pod.
    pub container: Option<Arc<str>>,
    /// The text, without names. It has no running seconds or ages, so that it does not change by
    /// itself.
    pub message: Cow<'static, str>,
}

/// Equal for two verdicts with the same score, class and set of (check, severity, workload,
/// container). Pod names do not count, so a rollout that changes nothing does not change it.
///
/// It is the first half of a SHA-256, because it is stored in the cluster and compared by other
/// versions of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(u128);

impl Verdict {
    /// The verdict of a policy on these pods.
    #[must_use]
    pub fn of<'a>(
        pods: impl IntoIterator<Item = &'a PodFacts>,
        policy: &CompiledPolicy,
        now: Timestamp,
    ) -> Self {
        let mut tally = Tally::default();
        let mut due: Option<i64> = None;
        let mut found: Vec<(&PodFacts, Finding)> = Vec::new();
        for pod in pods {
            let evaluation = evaluate(&pod.checked, policy, now);
            if !evaluation.is_counted {
                continue;
            }
            tally.add(&evaluation.tally());
            due = due.into_iter().chain(evaluation.due.map(|Due { at, .. }| at)).min();
            found.extend(evaluation.findings.into_iter().map(|finding| (pod, finding)));
        }
        let score = tally.score(policy);
        Self {
            tally,
            score,
            fingerprint: Fingerprint::of(score, &found),
            worst: worst(found, policy),
            due,
        }
    }
}

/// The first findings by severity, check, pod and container.
fn worst(mut found: Vec<(&PodFacts, Finding)>, policy: &CompiledPolicy) -> Vec<ListedFinding> {
    fn order<'a>((pod, finding): &(&'a PodFacts, Finding)) -> impl Ord + use<'a> {
        (Reverse(finding.severity), finding.check, &*pod.name, finding.container)
    }
    if found.len() > MAX_LISTED {
        found.select_nth_unstable_by(MAX_LISTED, |a, b| order(a).cmp(&order(b)));
        found.truncate(MAX_LISTED);
    }
    found.sort_unstable_by(|a, b| order(a).cmp(&order(b)));
    let listed = |(pod, finding): (&PodFacts, Finding)| ListedFinding {
        check: finding.check,
        severity: finding.severity,
        pod: pod.name.clone(),
        container: finding.container(&pod.checked).map(|container| Arc::clone(&container.name)),
        message: finding.message(&pod.checked, policy),
    };
    found.into_iter().map(listed).collect()
}

/// The part of a finding that counts for a fingerprint.
type FingerprintPart<'a> = (CheckId, Severity, &'a Workload, Option<&'a str>);

impl Fingerprint {
    fn of(score: Score, found: &[(&PodFacts, Finding)]) -> Self {
        let parts = found.iter().map(|(pod, finding)| -> FingerprintPart<'_> {
            let container = finding.container(&pod.checked).map(|container| &*container.name);
            (finding.check, finding.severity, &pod.workload, container)
        });
        let mut parts: Vec<_> = parts.collect();
        parts.sort_unstable();
        parts.dedup();
        let mut hash = Sha256::new();
        // The class follows from the score.
        hash.update([score.value()]);
        for (check, severity, workload, container) in parts {
            let Workload { group, kind, name } = workload;
            let container = container.unwrap_or_default();
            for text in [check.as_str(), severity.as_str(), group, kind, name, container] {
                hash.update(text);
                // A separator that no name contains.
                hash.update([0]);
            }
        }
        let mut first = [0; 16];
        first.copy_from_slice(&hash.finalize()[..16]);
        Self(u128::from_be_bytes(first))
    }

    /// Parses the text that `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| is_plain)?;
        Some(Self(number))
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pods(pods: &[(&str, &str)]) -> Vec<PodFacts> {
        let facts = pods.iter().map(|(name, image)| {
            let text = format!(
                r#"{{"metadata": {{"name": "web-5d8-{name}", "labels": {{"pod-template-hash": "5d8"}},
                     "ownerReferences": [{{"kind": "ReplicaSet", "name": "web-5d8", "controller": true}}]}},
                    "spec": {{"containers": [{{"name": "c", "image": "{image}"}}]}}}}"#
            );
            PodFacts::of_pod(&serde_json::from_str(&text).unwrap(), "default")
        });
        facts.collect()
    }

    fn verdict(facts: &[(&str, &str)]) -> Verdict {
        Verdict::of(&pods(facts), &CompiledPolicy::default_profile(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn new_pods_of_the_same_workload_change_nothing() {
        let before = verdict(&[("a", "nginx"), ("b", "nginx")]);
        let after = verdict(&[("c", "nginx"), ("d", "nginx")]);
        assert_eq!(before.fingerprint, after.fingerprint);
        assert_ne!(before.worst, after.worst);
        assert_eq!(before.worst.len(), 8);
    }

    #[test]
    fn another_score_or_another_finding_is_a_change() {
        let of = |facts: &[(&str, &str)]| verdict(facts).fingerprint;
        let before = of(&[("a", "nginx"), ("b", "nginx")]);
        assert_ne!(before, of(&[("a", "nginx"), ("b", "nginx:1")]), "the score");
        assert_ne!(before, of(&[("a", "nginx:1")]), "the findings");
        let lenient = CompiledPolicy::compile(&crate::policy::default_profile_spec()).unwrap();
        let strict = crate::api::DevOpsPolicySpec {
            severity_overrides: Some(crate::api::SeverityOverrides {
                latest_tag: Some(Severity::Critical),
                ..Default::default()
            }),
            ..crate::policy::default_profile_spec()
        };
        let strict = CompiledPolicy::compile(&strict).unwrap();
        let [lenient, strict] = [lenient, strict].map(|policy| {
            Verdict::of(&pods(&[("a", "nginx")]), &policy, Timestamp::UNIX_EPOCH).fingerprint
        });
        assert_ne!(lenient, strict, "the severity");
    }

    #[test]
    fn the_most_severe_come_first_and_no_more_than_may_be_listed() {
        let many: Vec<(String, &str)> =
            (0..60).map(|number| (format!("{number:02}"), "nginx")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, image)| (&**name, *image)).collect();
        let found = verdict(&many);
        assert_eq!(found.tally.total_findings(), 240);
        assert_eq!(found.worst.len(), MAX_LISTED);
        let first: Vec<(&str, &str)> = found
            .worst
            .iter()
            .take(2)
            .map(|listed| (listed.check.as_str(), &*listed.pod))
            .collect();
        assert_eq!(first, [("latest-tag", "web-5d8-00"), ("latest-tag", "web-5d8-01")]);
    }

    #[test]
    fn without_pods_nothing_is_found() {
        let none = verdict(&[]);
        assert_eq!((none.score.value(), none.tally.pods(), none.due), (100, 0, None));
        assert_eq!(none.worst, []);
    }

    proptest! {
        #[test]
        fn a_fingerprint_is_read_as_it_is_written(number: u128) {
            let fingerprint = Fingerprint(number);
            prop_assert_eq!(Fingerprint::parse(&fingerprint.to_string()), Some(fingerprint));
        }

        #[test]
        fn the_order_of_the_pods_changes_nothing(seed: u64) {
            let mut facts = pods(&[("a", "nginx"), ("b", "nginx:1"), ("c", "redis")]);
            let policy = CompiledPolicy::default_profile();
            let before = Verdict::of(&facts, &policy, Timestamp::UNIX_EPOCH);
            facts.rotate_left((seed % 3) as usize);
            facts.swap(0, (seed % 2) as usize);
            prop_assert_eq!(Verdict::of(&facts, &policy, Timestamp::UNIX_EPOCH), before);
        }
    }
}
