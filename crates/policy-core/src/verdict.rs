//! A verdict: the result of judging the pods of a namespace by a policy at one time.

mod fingerprint;
mod listed;
mod sum;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

pub use fingerprint::Fingerprint;
use fingerprint::FingerprintParts;
use k8s_openapi::jiff::Timestamp;
use listed::WorstFindings;
pub use listed::{ListedFinding, ReportedFindings};
pub use sum::FingerprintSum;

use crate::custom::CustomResults;
use crate::evaluate::{ExemptedFinding, Finding, evaluate_with};
use crate::facts::PodFacts;
use crate::policy::{CompiledPolicy, ExemptionNote, ExemptionUse};
use crate::score::{Score, Tally};
use crate::workload::Workload;

/// The most findings that a verdict lists: as many as an audit result may hold.
pub const MAX_LISTED: usize = 100;

/// The most exempted findings that a verdict lists.
pub const MAX_EXEMPTED: usize = 50;

/// The most findings of a verdict, and the most exempted ones, that a Report may show.
pub const MAX_REPORTED: usize = 500;

/// Which findings a verdict lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists {
    /// Those of statuses and audit results.
    Status,
    /// Those of Reports as well.
    StatusAndReport,
}

/// The result of judging a set of pods by a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The counts of pods and findings.
    pub tally: Tally,
    /// The score of the tally.
    pub score: Score,
    /// The most severe findings, those of the pods of one workload as one; at most [`MAX_LISTED`].
    pub worst: Vec<ListedFinding>,
    /// The findings that are known and accepted, in the same order; at most [`MAX_EXEMPTED`].
    pub exempted: Vec<ListedFinding>,
    /// What a Report may show; `None` where nobody writes one.
    pub reported: Option<ReportedFindings>,
    /// Which exemptions exempt something.
    pub used: ExemptionUse,
    /// The exemptions that have ended, or exempt nothing.
    pub notes: Vec<ExemptionNote>,
    /// Identifies the verdict.
    pub fingerprint: Fingerprint,
    /// The second (since 1970) at which the verdict changes only because time passes.
    pub due: Option<i64>,
    /// The workloads of the pods; none in audit mode, where nobody needs them.
    pub workloads: Vec<JudgedWorkload>,
}

/// A workload, as enforce mode sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedWorkload {
    /// The workload.
    pub workload: Workload,
    /// Identifies the patchable findings in its pods, the pods included; `None` without any. Only
    /// to be compared with that of an earlier verdict of the same process.
    pub findings: Option<u64>,
}

/// A pod, with what the custom checks of the policy found in it.
#[derive(Clone, Copy, Debug)]
pub struct JudgedPod<'a> {
    /// The pod.
    pub pod: &'a PodFacts,
    /// What was found, if anything.
    pub custom: Option<&'a CustomResults>,
    /// Whether it was judged by custom checks at all.
    pub is_judged: bool,
}

impl<'a> From<&'a PodFacts> for JudgedPod<'a> {
    fn from(pod: &'a PodFacts) -> Self {
        Self { pod, custom: None, is_judged: false }
    }
}

impl JudgedPod<'_> {
    /// Whether each custom check has a result.
    fn has_results(&self) -> bool {
        self.is_judged && self.custom.is_none_or(|custom| custom.failures.is_empty())
    }
}

impl Verdict {
    /// The verdict of a policy on these pods.
    #[must_use]
    pub fn of<'a>(
        pods: impl IntoIterator<Item: Into<JudgedPod<'a>>>,
        policy: &CompiledPolicy,
        now: Timestamp,
    ) -> Self {
        Self::listing(Lists::Status, pods, policy, now)
    }

    /// The verdict of a policy on these pods, with these lists.
    #[must_use]
    pub fn listing<'a>(
        lists: Lists,
        pods: impl IntoIterator<Item: Into<JudgedPod<'a>>>,
        policy: &CompiledPolicy,
        now: Timestamp,
    ) -> Self {
        let workloads = Workloads(policy.remediation().is_some().then(BTreeMap::new));
        Self::with((lists, workloads), pods, policy, now, |score| score)
    }

    /// The verdict of a policy on these pods, which are those of one namespace of several. Its
    /// fingerprint is that of its findings alone: the score of a part is nobody's. It has no
    /// workloads.
    #[must_use]
    pub fn of_part<'a>(
        lists: Lists,
        pods: impl IntoIterator<Item: Into<JudgedPod<'a>>>,
        policy: &CompiledPolicy,
        now: Timestamp,
    ) -> Self {
        Self::with((lists, Workloads(None)), pods, policy, now, |_| Score::of(0, 0))
    }

    fn with<'a>(
        (lists, mut workloads): (Lists, Workloads<'a>),
        pods: impl IntoIterator<Item: Into<JudgedPod<'a>>>,
        policy: &CompiledPolicy,
        now: Timestamp,
        identifying: impl FnOnce(Score) -> Score,
    ) -> Self {
        let mut tally = Tally::default();
        let mut due: Option<i64> = None;
        let mut worst = WorstFindings::new(policy, MAX_LISTED);
        let mut exempted = WorstFindings::new(policy, MAX_EXEMPTED);
        let mut reported = (lists == Lists::StatusAndReport)
            .then(|| [(); 2].map(|()| WorstFindings::for_report(policy, MAX_REPORTED)));
        let mut used = ExemptionUse::default();
        let mut has_results = true;
        let mut fingerprint = FingerprintParts::default();
        for pod in pods {
            let judged = pod.into();
            has_results &= judged.has_results();
            let JudgedPod { pod, custom, .. } = judged;
            let evaluation = evaluate_with(pod, policy, custom, None, now);
            if !evaluation.is_counted {
                continue;
            }
            tally.add(&evaluation.tally());
            workloads.add(pod, &evaluation.findings);
            due = due.into_iter().chain(evaluation.next_change()).min();
            for finding in &evaluation.findings {
                fingerprint.add(pod, finding);
                worst.add(pod, finding, None);
                if let Some([worst, _]) = &mut reported {
                    worst.add(pod, finding, None);
                }
            }
            for ExemptedFinding { finding, exemption } in &evaluation.exempted {
                exempted.add(pod, finding, Some(*exemption));
                if let Some([_, exempted]) = &mut reported {
                    exempted.add(pod, finding, Some(*exemption));
                }
            }
            used.merge(evaluation.exemption_use);
        }
        let score = tally.score(policy);
        has_results |= policy.custom().is_none();
        let exemptions = policy.exemptions();
        Self {
            exempted: exempted.finish(),
            reported: reported.map(|lists| {
                let [worst, exempted] = lists.map(WorstFindings::finish);
                ReportedFindings { worst, exempted }
            }),
            used,
            notes: exemptions
                .map(|all| all.notes(used, |one| has_results || !one.has_custom(), now.as_second()))
                .unwrap_or_default(),
            tally,
            score,
            fingerprint: fingerprint.finish(identifying(score)),
            worst: worst.finish(),
            due,
            workloads: workloads.finish(),
        }
    }
}

fn is_patchable(finding: &Finding) -> bool {
    finding.check.registered().is_some_and(|check| check.meta().patchable)
}

/// Collects the workloads of pods; `None` where nobody needs them.
struct Workloads<'a>(Option<BTreeMap<&'a Workload, Option<u64>>>);

impl<'a> Workloads<'a> {
    fn add(&mut self, pod: &'a PodFacts, findings: &[Finding]) {
        let Some(workloads) = &mut self.0 else { return };
        let known = workloads.entry(&pod.workload).or_default();
        for finding in findings.iter().filter(|finding| is_patchable(finding)) {
            let mut hash = DefaultHasher::new();
            (&pod.name, pod.created, &finding.check, finding.container).hash(&mut hash);
            // A sum, because the pods come in no order.
            *known = Some(known.unwrap_or_default().wrapping_add(hash.finish()));
        }
    }

    fn finish(self) -> Vec<JudgedWorkload> {
        let all = self.0.into_iter().flatten();
        all.map(|(workload, findings)| JudgedWorkload { workload: workload.clone(), findings })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::severity::Severity;

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
        let texts =
            |verdict: &Verdict| verdict.worst.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&before), texts(&after));
        assert_eq!(before.worst.len(), 4);
        assert_eq!(
            texts(&before)[0],
            "Deployment/web: uses :latest image tag (container c, 2 pods)"
        );
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
    fn a_part_is_identified_by_its_findings_alone() {
        let policy = CompiledPolicy::default_profile();
        let part = |facts: &[(&str, &str)]| {
            let pods = pods(facts);
            Verdict::of_part(Lists::Status, &pods, &policy, Timestamp::UNIX_EPOCH)
        };
        let one = part(&[("a", "nginx")]);
        assert_eq!(one.score, verdict(&[("a", "nginx")]).score);
        let two = part(&[("a", "nginx"), ("b", "nginx:1")]);
        assert_ne!(one.score, two.score);
        assert_eq!(one.fingerprint, two.fingerprint);
        assert_ne!(one.fingerprint, part(&[("a", "nginx:1")]).fingerprint);
    }

    #[test]
    fn without_pods_nothing_is_found() {
        let none = verdict(&[]);
        assert_eq!((none.score.value(), none.tally.pods(), none.due), (100, 0, None));
        assert_eq!(none.worst, []);
    }

    #[test]
    fn enforce_mode_has_the_workloads_and_whether_their_patchable_findings_changed() {
        let workloads = |mode: &str, facts: &[(&str, &str)]| {
            let spec = format!(
                r#"{{"enforcementMode": "{mode}", "forbidLatestTag": true, "requireReadinessProbe": true}}"#
            );
            let policy = CompiledPolicy::compile(&serde_json::from_str(&spec).unwrap()).unwrap();
            Verdict::of(&pods(facts), &policy, Timestamp::UNIX_EPOCH).workloads
        };
        let two = [("a", "nginx"), ("b", "nginx")];
        assert_eq!(workloads("audit", &two), []);
        let found = workloads("enforce", &two);
        let names: Vec<_> = found.iter().map(|found| &*found.workload.name).collect();
        assert_eq!(names, ["web"]);
        assert_eq!(found, workloads("enforce", &[("b", "nginx:1"), ("a", "nginx:1")]));
        assert_ne!(found, workloads("enforce", &[("a", "nginx"), ("c", "nginx")]), "another pod");
        let spec = r#"{"enforcementMode": "enforce", "forbidLatestTag": true}"#;
        let policy = CompiledPolicy::compile(&serde_json::from_str(spec).unwrap()).unwrap();
        let found = Verdict::of(&pods(&two), &policy, Timestamp::UNIX_EPOCH).workloads;
        assert_eq!(found[0].findings, None, "a tag cannot be patched");
    }

    proptest! {
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
