//! What is found of a policy, and the status that says so. Pure.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use policy_core::Timestamp;
use policy_core::api::{AdmissionMode, DevOpsPolicyStatus};
use policy_core::checks::CheckId;
use policy_core::policy::CompiledPolicy;
use policy_core::report::Summary;
use policy_core::score::Classification;
use policy_core::verdict::{Listed, Verdict};
use policy_core::view::Refused;

/// Most findings that a status lists.
const MAX_VIOLATIONS: usize = 50;
/// The longest text of a condition, in characters: the API server takes 32 768 bytes.
const LONGEST_MESSAGE: usize = 2_000;

/// What is found of a policy.
#[derive(Debug)]
pub(crate) enum Judgement {
    /// It was understood, and its namespace judged by it.
    Judged(Arc<CompiledPolicy>, Box<Verdict>),
    /// It cannot be judged by.
    Refused(Refusal),
}

/// Why a policy cannot be judged by.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// For its own sake.
    Policy(Refused),
    /// Its namespace is never judged.
    ExcludedNamespace,
}

impl Refusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::Policy(Refused::Undecodable(_)) => "Undecodable",
            Self::Policy(Refused::Invalid(_)) => "Invalid",
            Self::ExcludedNamespace => "ExcludedNamespace",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Policy(refused) => refused.to_string(),
            Self::ExcludedNamespace => {
                "namespaces of the system are never judged, nor those that the configuration \
                 leaves out"
                    .to_owned()
            }
        }
    }
}

/// Sets conditions, with the moments at which they last changed.
struct Conditions<'a> {
    generation: Option<i64>,
    before: &'a [Condition],
    now: Time,
    set: Vec<Condition>,
}

impl Conditions<'_> {
    fn set(&mut self, type_: &str, status: &str, reason: &str, message: String) {
        let before = self.before.iter().find(|before| before.type_ == type_);
        let since = before.filter(|before| before.status == status);
        self.set.push(Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: shortened(message),
            observed_generation: self.generation,
            last_transition_time: since
                .map_or_else(|| self.now.clone(), |before| before.last_transition_time.clone()),
        });
    }

    fn healthy(&mut self, verdict: &Verdict) {
        let class = verdict.score.classification();
        let status = if class == Classification::Healthy { "True" } else { "False" };
        if verdict.tally.pods() == 0 {
            self.set("Healthy", status, "NoPods", "there are no pods to judge".to_owned());
        } else {
            let message = format!("the score is {}; healthy is 80 or more", verdict.score);
            self.set("Healthy", status, class.as_str(), message);
        }
    }

    fn admission(&mut self, policy: &CompiledPolicy) {
        let admission = policy.admission();
        let from = admission.deny_severity;
        match admission.mode {
            AdmissionMode::Off => {
                self.set("Admission", "False", "Off", "admission.mode is off".to_owned());
            }
            AdmissionMode::Warn => {
                let message = "admission.mode is warn: nothing is denied".to_owned();
                self.set("Admission", "False", "WarnsOnly", message);
            }
            AdmissionMode::Deny => {
                let denied: Vec<_> = policy.denied_at_admission().map(CheckId::as_str).collect();
                if denied.is_empty() {
                    let message = format!(
                        "nothing is denied: no enabled check that judges at admission has severity \
                         {from} or above (admission.denySeverity, severityOverrides)"
                    );
                    self.set("Admission", "False", "NothingDenied", message);
                } else {
                    let message = format!("denied at admission: {}", denied.join(", "));
                    self.set("Admission", "True", "Denies", message);
                }
            }
        }
    }
}

/// The status of a policy of that generation. `before` is its status up to now, for the moments at
/// which conditions last changed.
pub(crate) fn status(
    judgement: &Judgement,
    generation: Option<i64>,
    before: Option<&DevOpsPolicyStatus>,
    now: Timestamp,
) -> DevOpsPolicyStatus {
    let now = whole_seconds(now);
    let mut conditions = Conditions {
        generation,
        before: before.map(|before| &*before.conditions).unwrap_or_default(),
        now: now.clone(),
        set: Vec::new(),
    };
    let mut status = match judgement {
        Judgement::Refused(refusal) => {
            let message = refusal.message();
            conditions.set("Ready", "False", refusal.reason(), message.clone());
            DevOpsPolicyStatus { message: Some(shortened(message)), ..Default::default() }
        }
        Judgement::Judged(policy, verdict) => {
            let message = "the policy is understood, and its namespace judged by it".to_owned();
            conditions.set("Ready", "True", "Judged", message);
            conditions.healthy(verdict);
            conditions.admission(policy);
            numbers(policy, verdict)
        }
    };
    status.observed_generation = generation;
    status.last_evaluated = Some(now);
    status.conditions = conditions.set;
    status
}

fn numbers(policy: &CompiledPolicy, verdict: &Verdict) -> DevOpsPolicyStatus {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let summary = Summary::of(&verdict.tally, policy);
    let by_check = summary.violations_by_check.iter();
    DevOpsPolicyStatus {
        health_score: Some(summary.score.into()),
        classification: Some(summary.classification),
        healthy: Some(summary.classification == Classification::Healthy),
        message: Some(sentence(&summary)),
        pods_evaluated: Some(signed(summary.pods)),
        total_violations: Some(signed(summary.total_violations)),
        violations: verdict.worst.iter().take(MAX_VIOLATIONS).map(violation).collect(),
        violations_by_check: by_check
            .map(|(check, number)| ((*check).to_owned(), signed(*number)))
            .collect(),
        violations_by_severity: Some(summary.violations_by_severity),
        ..DevOpsPolicyStatus::default()
    }
}

/// The verdict in one sentence.
pub(crate) fn sentence(summary: &Summary) -> String {
    let Summary { pods, score, classification, total_violations, compliant_pods, .. } = summary;
    if *pods == 0 {
        return "no pods to judge".to_owned();
    }
    let affected = pods - compliant_pods;
    format!(
        "score {score} ({classification}): {total_violations} violations in {affected} of {pods} pods"
    )
}

/// `pod/nginx-abc123: uses :latest image tag (container web)`
fn violation(listed: &Listed) -> String {
    let Listed { pod, container, message, .. } = listed;
    match container {
        Some(container) => format!("pod/{pod}: {message} (container {container})"),
        None => format!("pod/{pod}: {message}"),
    }
}

/// Whether a new status says the same as the one before, whenever that was written.
pub(crate) fn says_the_same(new: &mut DevOpsPolicyStatus, before: &DevOpsPolicyStatus) -> bool {
    // Compared as if both were of the same moment: so neither has to be copied.
    let moment = std::mem::replace(&mut new.last_evaluated, before.last_evaluated.clone());
    let same = *new == *before;
    new.last_evaluated = moment;
    same
}

/// The API server keeps times of conditions in whole seconds.
pub(crate) fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST_MESSAGE) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use policy_core::api::DevOpsPolicySpec;
    use policy_core::facts::PodFacts;

    use super::*;

    fn judged(spec: &str, pods: &[&str]) -> Judgement {
        let spec: DevOpsPolicySpec = serde_json::from_str(spec).unwrap();
        let policy = CompiledPolicy::compile(&spec).unwrap();
        let pods: Vec<_> = pods
            .iter()
            .map(|pod| PodFacts::of_pod(&serde_json::from_str(pod).unwrap(), "shop"))
            .collect();
        let verdict = Verdict::of(&pods, &policy, Timestamp::UNIX_EPOCH);
        Judgement::Judged(Arc::new(policy), Box::new(verdict))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn conditions(status: &DevOpsPolicyStatus) -> Vec<[&str; 3]> {
        status.conditions.iter().map(|c| [&*c.type_, &*c.status, &*c.reason]).collect()
    }

    const BAD: &str = r#"{"metadata": {"name": "web"}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}"#;

    #[test]
    fn a_verdict_becomes_a_status() {
        let spec = r#"{"forbidLatestTag": true, "requireReadinessProbe": true,
            "severityOverrides": {"latestTag": "high"}}"#;
        let status = status(&judged(spec, &[BAD]), Some(3), None, at(7));
        assert_eq!((status.health_score, status.healthy), (Some(93), Some(true)));
        assert_eq!(
            status.message.as_deref(),
            Some("score 93 (Healthy): 2 violations in 1 of 1 pods")
        );
        assert_eq!(
            status.violations,
            [
                "pod/web: uses :latest image tag (container c)",
                "pod/web: missing readiness probe (container c)"
            ]
        );
        assert_eq!(status.violations_by_check.get("latest-tag"), Some(&1));
        assert_eq!(status.violations_by_severity.unwrap().high, 1);
        assert_eq!(status.observed_generation, Some(3));
        assert_eq!(
            conditions(&status),
            [
                ["Ready", "True", "Judged"],
                ["Healthy", "True", "Healthy"],
                ["Admission", "True", "Denies"]
            ]
        );
    }

    #[test]
    fn a_condition_keeps_its_moment_until_its_status_changes() {
        let before = status(&judged(r#"{"maxRestartCount": 1}"#, &[BAD]), Some(1), None, at(7));
        let after = judged(r#"{"forbidLatestTag": true, "weights": {"latestTag": 50}}"#, &[BAD]);
        let after = status(&after, Some(2), Some(&before), at(60));
        let moments: Vec<_> = after
            .conditions
            .iter()
            .map(|condition| (&*condition.type_, condition.last_transition_time.0.as_second()))
            .collect();
        assert_eq!(moments, [("Ready", 7), ("Healthy", 60), ("Admission", 7)]);
    }

    #[test]
    fn time_alone_says_nothing_new() {
        let judgement = judged(r#"{"forbidLatestTag": true}"#, &[BAD]);
        let before = status(&judgement, Some(1), None, at(7));
        let mut after = status(&judgement, Some(1), Some(&before), at(900));
        assert!(says_the_same(&mut after, &before));
        assert_ne!(before, after);
        let mut other = status(&judgement, Some(2), Some(&before), at(900));
        assert!(!says_the_same(&mut other, &before));
    }

    #[test]
    fn a_policy_that_is_refused_has_no_numbers() {
        let invalid: DevOpsPolicySpec = serde_json::from_str(r#"{"maxRestartCount": -1}"#).unwrap();
        let refusals = [
            (Refusal::Policy(Refused::Undecodable("no".to_owned())), "Undecodable"),
            (
                Refusal::Policy(Refused::Invalid(CompiledPolicy::compile(&invalid).unwrap_err())),
                "Invalid",
            ),
            (Refusal::ExcludedNamespace, "ExcludedNamespace"),
        ];
        for (refusal, reason) in refusals {
            let status = status(&Judgement::Refused(refusal), Some(1), None, at(7));
            assert_eq!(status.health_score, None);
            assert_eq!(conditions(&status), [["Ready", "False", reason]]);
            assert!(!status.message.unwrap().is_empty());
        }
    }

    #[test]
    fn without_pods_nothing_is_claimed() {
        let status = status(&judged("{}", &[]), None, None, at(7));
        assert_eq!(status.message.as_deref(), Some("no pods to judge"));
        assert_eq!(conditions(&status)[1], ["Healthy", "True", "NoPods"]);
        assert_eq!(conditions(&status)[2], ["Admission", "False", "NothingDenied"]);
    }
}
