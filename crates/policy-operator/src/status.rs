//! The status that reports a judgement. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use policy_core::Timestamp;
use policy_core::api::{AdmissionMode, DevOpsPolicyStatus, EnforcementMode};
use policy_core::custom::CustomChecks;
use policy_core::policy::CompiledPolicy;
use policy_core::score::Classification;
use policy_core::text::{counted, truncated};
use policy_core::verdict::{ListedFinding, Verdict};

use crate::custom::CustomStanding;
use crate::judgement::{Judged, Judgement};
use crate::remediation::Standing;

/// The most violations that a status lists.
const MAX_VIOLATIONS: usize = 50;
/// The longest message of a condition, in bytes. The API server takes 32 768.
const LONGEST_MESSAGE: usize = 4_096;

/// Type, status (`None`: unknown), reason and message of a condition.
pub(crate) type Stated = (&'static str, Option<bool>, &'static str, String);

/// The status that reports a judgement of a policy. `before` is the current status: a condition
/// that does not change keeps its transition time.
pub(crate) fn status(
    judgement: &Judgement,
    generation: Option<i64>,
    before: Option<&DevOpsPolicyStatus>,
    now: Timestamp,
) -> DevOpsPolicyStatus {
    let now = whole_seconds(now);
    let (status, conditions) = match judgement {
        Judgement::Rejected(rejection) => {
            let message = message(rejection.to_string());
            let ready = ("Ready", Some(false), rejection.reason(), message.clone());
            (DevOpsPolicyStatus { message: Some(message), ..Default::default() }, vec![ready])
        }
        Judgement::Judged(judged) => {
            let place = if judged.namespaces.is_some() {
                "each namespace that it selects"
            } else {
                "its namespace"
            };
            let message = format!("the policy is valid, and {place} is judged by it");
            let ready = ("Ready", Some(true), "Judged", message);
            let mut conditions = vec![ready, healthy(&judged.verdict), admission(&judged.policy)];
            conditions.extend(exemptions(judged));
            let known = judged.policy.custom().zip(judged.custom.as_ref());
            conditions.extend(known.map(|(checks, standing)| custom(checks, standing)));
            if judged.namespaces.is_some() && judged.policy.mode() == EnforcementMode::Enforce {
                conditions.push(Standing::ClusterPolicy.stated());
            }
            (numbers(judged), conditions)
        }
    };
    let condition = |stated| condition(stated, generation, before, &now);
    DevOpsPolicyStatus {
        observed_generation: generation,
        conditions: conditions.into_iter().map(condition).collect(),
        last_evaluated: Some(now.clone()),
        ..status
    }
}

/// A condition. Where it does not change it keeps the transition time that it has in `before`.
pub(crate) fn condition(
    (type_, truth, reason, message): Stated,
    generation: Option<i64>,
    before: Option<&DevOpsPolicyStatus>,
    now: &Time,
) -> Condition {
    let before = before.map(|before| &*before.conditions).unwrap_or_default();
    let status = match truth {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let same = before.iter().find(|before| before.type_ == type_ && before.status == status);
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: self::message(message),
        observed_generation: generation,
        last_transition_time: same.map_or(now, |same| &same.last_transition_time).clone(),
    }
}

fn message(text: String) -> String {
    truncated(text.into(), usize::MAX, LONGEST_MESSAGE).into_owned()
}

fn healthy(Verdict { tally, score, .. }: &Verdict) -> Stated {
    if tally.pods() == 0 {
        return ("Healthy", Some(true), "NoPods", "there are no pods to judge".to_owned());
    }
    let message = format!("the score is {score}; healthy is 80 or more");
    let class = score.classification();
    ("Healthy", Some(class == Classification::Healthy), class.as_str(), message)
}

fn admission(policy: &CompiledPolicy) -> Stated {
    let denied: Vec<_> = policy.denied_at_admission().map(|check| check.to_string()).collect();
    let (is_true, reason, message) = match policy.admission().mode {
        AdmissionMode::Disabled | AdmissionMode::Off => {
            (false, "Disabled", "admission.mode is disabled".to_owned())
        }
        AdmissionMode::Warn => {
            (false, "WarnsOnly", "admission.mode is warn: nothing is denied".to_owned())
        }
        AdmissionMode::Deny if denied.is_empty() => {
            let message = format!(
                "nothing is denied: no enabled check that judges at admission has severity {} or \
                 above (admission.denySeverity, severityOverrides)",
                policy.admission().deny_severity
            );
            (false, "NothingDenied", message)
        }
        AdmissionMode::Deny => {
            (true, "Denies", format!("denied at admission: {}", denied.join(", ")))
        }
    };
    ("Admission", Some(is_true), reason, message)
}

/// Whether each exemption is in use. The oldest mistakes of a policy are those that nobody sees.
fn exemptions(judged: &Judged) -> Option<Stated> {
    let all = judged.policy.exemptions()?.iter().len();
    let notes = &judged.verdict.notes;
    let unread = judged.unread_labels.iter();
    let reason = match notes.iter().any(|note| note.ended.is_some()) {
        _ if unread.len() > 0 => "LabelsUnread",
        _ if notes.is_empty() => "InUse",
        true => "Expired",
        false => "Unused",
    };
    let message = match reason {
        "InUse" => format!("{} in use", counted(all as u64, "exemption")),
        _ => unread
            .cloned()
            .chain(notes.iter().map(ToString::to_string))
            .collect::<Vec<_>>()
            .join("; "),
    };
    Some(("Exemptions", Some(reason == "InUse"), reason, message))
}

/// What becomes of custom checks.
fn custom(checks: &CustomChecks, standing: &CustomStanding) -> Stated {
    let (truth, reason, said) = match (standing.unjudged, &standing.error) {
        _ if !checks.refused().is_empty() => {
            let refused: Vec<_> = checks.refused().iter().map(ToString::to_string).collect();
            (Some(false), "Refused", refused.join("; "))
        }
        (1.., Some(error)) => (None, "NotListed", error.to_string()),
        (unjudged @ 1.., None) => {
            let pods = counted(unjudged, "pod");
            let counted_yet = "their findings are not counted yet, and no audit result is made";
            (None, "Judging", format!("{pods} to be judged; {counted_yet}"))
        }
        (0, _) if !standing.failing.is_empty() => (Some(false), "NoResult", String::new()),
        (0, _) => {
            let number = counted(checks.checks().len() as u64, "custom check");
            (Some(true), "Judged", format!("each pod is judged by {number}"))
        }
    };
    let failing = standing.to_string();
    let said = [said, failing].into_iter().filter(|text| !text.is_empty());
    ("Custom", truth, reason, said.collect::<Vec<_>>().join("; "))
}

fn numbers(judged: &Judged) -> DevOpsPolicyStatus {
    let Judged { verdict, summary, .. } = judged;
    let listed = |listed: &ListedFinding| match judged.namespaces {
        None => listed.to_string(),
        Some(_) => format!("{}/{listed}", listed.namespace),
    };
    let by_check = summary.violations_by_check.iter();
    let class = verdict.score.classification();
    DevOpsPolicyStatus {
        health_score: Some(verdict.score.value().into()),
        classification: Some(class),
        healthy: Some(class == Classification::Healthy),
        message: Some(judged.sentence()),
        pods_evaluated: Some(signed(summary.pods)),
        total_violations: Some(signed(summary.total_violations)),
        violations: verdict.worst.iter().take(MAX_VIOLATIONS).map(listed).collect(),
        exempted_violations: judged
            .policy
            .exemptions()
            .map(|_| signed(summary.exempted_violations)),
        exempted: verdict.exempted.iter().map(listed).collect(),
        notes: judged.notes.clone(),
        violations_by_check: by_check
            .map(|(check, number)| ((*check).to_owned(), signed(*number)))
            .collect(),
        violations_by_severity: Some(summary.violations_by_severity),
        ..DevOpsPolicyStatus::default()
    }
}

/// Whether two statuses are equal but for the time of their evaluation.
pub(crate) fn is_unchanged(new: &mut DevOpsPolicyStatus, before: &DevOpsPolicyStatus) -> bool {
    // The time is exchanged for the comparison, as a copy of a status costs more.
    let time = std::mem::replace(&mut new.last_evaluated, before.last_evaluated.clone());
    let is_equal = *new == *before;
    new.last_evaluated = time;
    is_equal
}

/// The API server stores times in whole seconds.
pub(crate) fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// A count as the API has it.
pub(crate) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use policy_core::api::DevOpsPolicySpec;
    use policy_core::facts::PodFacts;
    use policy_core::view::Refused;

    use super::*;
    use crate::judgement::Rejection;

    fn judged(spec: &str, pods: &[&str]) -> Judgement {
        let spec: DevOpsPolicySpec = serde_json::from_str(spec).unwrap();
        let policy = CompiledPolicy::compile(&spec).unwrap();
        let pods: Vec<_> = pods
            .iter()
            .map(|pod| PodFacts::of_pod(&serde_json::from_str(pod).unwrap(), "shop"))
            .collect();
        let verdict = policy_core::verdict::Verdict::of(&pods, &policy, Timestamp::UNIX_EPOCH);
        Judgement::Judged(Judged::new(&Arc::new(policy), verdict).into())
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
            Some("score 93 (Healthy): 2 violations in 1 of 1 pod")
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
    fn an_exempted_finding_is_listed_apart_with_its_reason() {
        let exempting = |exemption: &str| {
            format!(
                r#"{{"forbidLatestTag": true, "requireReadinessProbe": true, "exemptions": [
                    {{"checks": ["latest-tag"], "reason": "no tags", {exemption}}}]}}"#
            )
        };
        let web = r#""workload": {"kind": "Pod", "name": "web"}"#;
        let of =
            |exemption: &str| status(&judged(&exempting(exemption), &[BAD]), None, None, at(7));
        let condition = |status: &DevOpsPolicyStatus| {
            let found = status.conditions.iter().find(|found| found.type_ == "Exemptions").unwrap();
            [&*found.status, &*found.reason, &*found.message].map(str::to_owned)
        };
        let in_use = of(web);
        assert_eq!(
            in_use.message.as_deref(),
            Some("score 98 (Healthy): 1 violation in 1 of 1 pod, 1 exempted")
        );
        assert_eq!(in_use.violations, ["pod/web: missing readiness probe (container c)"]);
        assert_eq!(
            in_use.exempted,
            ["pod/web: uses :latest image tag (container c); exempted: no tags"]
        );
        assert_eq!((in_use.total_violations, in_use.exempted_violations), (Some(1), Some(1)));
        assert_eq!(condition(&in_use), ["True", "InUse", "1 exemption in use"]);
        let unused = of(r#""workload": {"kind": "Deployment", "name": "web"}"#);
        assert_eq!((unused.total_violations, unused.exempted_violations), (Some(2), Some(0)));
        assert_eq!(
            condition(&unused),
            [
                "False",
                "Unused",
                "spec.exemptions[0] (Deployment/web) exempts nothing: there is no such finding"
            ]
        );
        // The judgement is at second 0.
        let ended = of(&format!(r#"{web}, "expires": "1970-01-01T00:00:00Z""#));
        assert_eq!(ended.exempted_violations, Some(0));
        assert_eq!(
            condition(&ended),
            [
                "False",
                "Expired",
                "spec.exemptions[0] (Pod/web) ended at 1970-01-01T00:00:00Z: its findings count again"
            ]
        );
        let none = status(&judged(r#"{"forbidLatestTag": true}"#, &[BAD]), None, None, at(7));
        assert_eq!((none.exempted_violations, none.conditions.len()), (None, 3));
    }

    #[test]
    fn a_condition_keeps_its_transition_time_until_its_status_changes() {
        let before = status(&judged(r#"{"maxRestartCount": 1}"#, &[BAD]), Some(1), None, at(7));
        let after = judged(r#"{"forbidLatestTag": true, "weights": {"latestTag": 50}}"#, &[BAD]);
        let after = status(&after, Some(2), Some(&before), at(60));
        let transitions: Vec<_> = after
            .conditions
            .iter()
            .map(|condition| (&*condition.type_, condition.last_transition_time.0.as_second()))
            .collect();
        assert_eq!(transitions, [("Ready", 7), ("Healthy", 60), ("Admission", 7)]);
    }

    #[test]
    fn time_alone_is_no_change() {
        let judgement = judged(r#"{"forbidLatestTag": true}"#, &[BAD]);
        let before = status(&judgement, Some(1), None, at(7));
        let mut after = status(&judgement, Some(1), Some(&before), at(900));
        assert!(is_unchanged(&mut after, &before));
        assert_ne!(before, after);
        let mut other = status(&judgement, Some(2), Some(&before), at(900));
        assert!(!is_unchanged(&mut other, &before));
    }

    #[test]
    fn a_policy_that_is_rejected_has_no_numbers() {
        let invalid: DevOpsPolicySpec = serde_json::from_str(r#"{"maxRestartCount": -1}"#).unwrap();
        let rejections = [
            (Rejection::Policy(Refused::Undecodable("no".to_owned())), "Undecodable"),
            (
                Rejection::Policy(Refused::Invalid(CompiledPolicy::compile(&invalid).unwrap_err())),
                "Invalid",
            ),
            (Rejection::Policy(Refused::TooManyFinalizers), "TooManyFinalizers"),
            (Rejection::ExcludedNamespace, "ExcludedNamespace"),
            (Rejection::TooManyPolicies, "TooManyPolicies"),
        ];
        for (rejection, reason) in rejections {
            let status = status(&Judgement::Rejected(rejection), Some(1), None, at(7));
            assert_eq!(status.health_score, None);
            assert_eq!(conditions(&status), [["Ready", "False", reason]]);
            assert!(!status.message.unwrap().is_empty());
        }
    }

    #[test]
    fn a_namespace_without_pods_is_healthy_and_the_reason_says_so() {
        let status = status(&judged("{}", &[]), None, None, at(7));
        assert_eq!(status.message.as_deref(), Some("no pods to judge"));
        assert_eq!(conditions(&status)[1], ["Healthy", "True", "NoPods"]);
        assert_eq!(conditions(&status)[2], ["Admission", "False", "NothingDenied"]);
    }
}
