//! A verdict: what a policy says of its namespace, and whether it says something new.

use std::collections::BTreeSet;

use crate::checks::CheckId;
use crate::evaluate::Evaluation;
use crate::facts::PodFacts;
use crate::policy::CompiledPolicy;
use crate::score::{Score, Tally};
use crate::severity::Severity;
use crate::workload::Workload;

/// What a policy says of a set of pods. Two verdicts are equal when score, class and the set of
/// (check, severity, workload, container) are: pod names alone are no change, so a rollout that
/// changes nothing leaves the verdict as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The score; it decides the class.
    pub score: Score,
    /// What was found, whatever the pod.
    pub violations: BTreeSet<Violation>,
}

/// A finding without the pod that it was found in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The check.
    pub check: CheckId,
    /// Its severity under the policy.
    pub severity: Severity,
    /// The workload of the pod.
    pub workload: Workload,
    /// The container; `None` where the finding is about the pod.
    pub container: Option<Box<str>>,
}

impl Verdict {
    /// The verdict on pods that were evaluated under the policy.
    #[must_use]
    pub fn of<'a>(
        pods: impl IntoIterator<Item = (&'a PodFacts, &'a Evaluation)>,
        policy: &CompiledPolicy,
    ) -> Self {
        let mut tally = Tally::default();
        let mut violations = BTreeSet::new();
        for (pod, evaluation) in pods.into_iter().filter(|(_, evaluation)| evaluation.is_counted) {
            tally.add(&evaluation.tally());
            violations.extend(evaluation.findings.iter().map(|finding| Violation {
                check: finding.check,
                severity: finding.severity,
                workload: pod.workload.clone(),
                container: finding.container(pod).map(|container| container.name.clone()),
            }));
        }
        Self { score: tally.score(policy), violations }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::evaluate;
    use k8s_openapi::jiff::Timestamp;

    fn verdict(pods: &[(&str, &str)]) -> Verdict {
        let policy = CompiledPolicy::default_profile();
        let facts: Vec<PodFacts> = pods
            .iter()
            .map(|(name, image)| {
                let text = format!(
                    r#"{{"metadata": {{"name": "web-5d8-{name}", "labels": {{"pod-template-hash": "5d8"}},
                         "ownerReferences": [{{"kind": "ReplicaSet", "name": "web-5d8", "controller": true}}]}},
                        "spec": {{"containers": [{{"name": "c", "image": "{image}"}}]}}}}"#
                );
                PodFacts::of_pod(&serde_json::from_str(&text).unwrap(), "default")
            })
            .collect();
        let evaluations: Vec<_> =
            facts.iter().map(|pod| evaluate(pod, &policy, Timestamp::UNIX_EPOCH)).collect();
        Verdict::of(facts.iter().zip(&evaluations), &policy)
    }

    #[test]
    fn new_pods_of_the_same_workload_change_nothing() {
        let before = verdict(&[("a", "nginx"), ("b", "nginx")]);
        assert_eq!(before, verdict(&[("c", "nginx"), ("d", "nginx")]));
        assert_eq!(before.violations.len(), 4);
    }

    #[test]
    fn another_score_or_another_finding_is_a_change() {
        let before = verdict(&[("a", "nginx"), ("b", "nginx")]);
        let other_score = verdict(&[("a", "nginx"), ("b", "nginx:1")]);
        assert_eq!(before.violations, other_score.violations);
        assert_ne!(before, other_score);
        assert_ne!(before, verdict(&[("a", "nginx:1")]));
    }
}
