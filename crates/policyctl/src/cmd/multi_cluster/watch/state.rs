//! What is known of a cluster, and what changed in it.

use std::collections::BTreeMap;
use std::fmt;

use policy_core::api::DevOpsPolicyStatus;
use policy_core::score::Classification;
use policy_core::text::counted;
use serde_json::Value;

use crate::policies::{Policy, PolicyName, full_name};

/// What a look at a cluster showed.
pub(super) enum Look {
    /// It did not answer, for this reason.
    Silent(String),
    /// It answered.
    Seen(Seen),
}

#[derive(Default)]
pub(super) struct Seen {
    /// Of its policies, only what is shown.
    pub(super) policies: BTreeMap<PolicyName, Verdict>,
    /// What could not be read: its policies are not known to be gone.
    pub(super) gap: Option<String>,
}

/// The verdict that the operator wrote into a policy's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// `None` until the operator has judged.
    pub(super) score: Option<i32>,
    pub(super) class: &'static str,
    pub(super) pods: i64,
    pub(super) findings: i64,
}

impl Verdict {
    /// Whether it is another verdict; the number of pods alone is none.
    fn differs(&self, other: &Self) -> bool {
        (self.score, self.findings) != (other.score, other.findings)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { score: Some(score), class, pods, findings } = self else {
            return f.write_str("not judged yet");
        };
        let findings = counted(findings.unsigned_abs(), "finding");
        write!(f, "{score} {class}, {findings} in {}", counted(pods.unsigned_abs(), "pod"))
    }
}

impl Seen {
    pub(super) fn add(&mut self, object: &Value, is_cluster: bool) {
        let mut policy = Policy::of(object, "");
        if is_cluster {
            policy.namespace.clear();
        }
        let status: DevOpsPolicyStatus =
            serde_json::from_value(object["status"].clone()).unwrap_or_default();
        let verdict = Verdict {
            score: status.health_score,
            class: status.classification.map(Classification::as_str).unwrap_or_default(),
            pods: status.pods_evaluated.unwrap_or_default(),
            findings: status.total_violations.unwrap_or_default(),
        };
        self.policies.insert(policy.key(), verdict);
    }
}

/// What is known of a cluster.
#[derive(Default)]
pub(super) struct State {
    pub(super) policies: BTreeMap<PolicyName, Verdict>,
    /// Why it does not answer; `None` where it does.
    pub(super) silent: Option<String>,
    gap: Option<String>,
    is_known: bool,
}

impl State {
    /// Takes a look into account, and gives a line for each change.
    pub(super) fn update(&mut self, look: Look) -> Vec<String> {
        let seen = match look {
            Look::Silent(reason) => {
                // Another wording of the same outage is no change.
                let is_new = self.silent.is_none();
                let line = format!("does not answer: {reason}");
                self.silent = Some(reason);
                return if is_new { vec![line] } else { Vec::new() };
            }
            Look::Seen(seen) => seen,
        };
        let mut lines = Vec::new();
        if self.silent.take().is_some() {
            lines.push("answers again".to_owned());
        } else if !self.is_known && seen.policies.is_empty() && seen.gap.is_none() {
            lines.push("answers, and has no policy".to_owned());
        }
        if let Some(gap) = seen.gap.as_ref().filter(|_| self.gap.is_none()) {
            lines.push(format!("not read whole: {gap}"));
        }
        for ((namespace, name), verdict) in &seen.policies {
            let full_name = full_name(namespace, name);
            let before = self.policies.get(&(namespace.clone(), name.clone()));
            match before {
                Some(before) if verdict.differs(before) => {
                    lines.push(format!("{full_name}: {verdict}; was {before}"));
                }
                Some(_) => {}
                None if self.is_known => lines.push(format!("{full_name}: new, {verdict}")),
                None => lines.push(format!("{full_name}: {verdict}")),
            }
        }
        let mut policies = seen.policies;
        for (key, verdict) in std::mem::take(&mut self.policies) {
            if policies.contains_key(&key) {
                continue;
            }
            if seen.gap.is_some() {
                policies.insert(key, verdict);
            } else {
                lines.push(format!("{}: removed", full_name(&key.0, &key.1)));
            }
        }
        (self.policies, self.gap, self.is_known) = (policies, seen.gap, true);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look at policies of the namespace shop: name, score and findings.
    fn seen(policies: &[(&str, i32, i64)]) -> Look {
        let mut seen = Seen::default();
        for (name, score, findings) in policies {
            let class = if *score >= 80 { "Healthy" } else { "Stable" };
            seen.add(
                &serde_json::json!({
                    "metadata": { "name": name, "namespace": "shop" },
                    "status": { "healthScore": score, "classification": class,
                        "podsEvaluated": 2, "totalViolations": findings },
                }),
                false,
            );
        }
        Look::Seen(seen)
    }

    #[test]
    fn each_change_is_one_line_and_no_change_is_none() {
        let mut state = State::default();
        let silent = || Look::Silent("Connection refused".to_owned());
        let steps: [(Look, &[&str]); 9] = [
            (silent(), &["does not answer: Connection refused"]),
            (silent(), &[]),
            (seen(&[("a", 93, 1)]), &["answers again", "shop/a: 93 Healthy, 1 finding in 2 pods"]),
            (seen(&[("a", 93, 1)]), &[]),
            (
                seen(&[("a", 70, 5), ("b", 100, 0)]),
                &[
                    "shop/a: 70 Stable, 5 findings in 2 pods; was 93 Healthy, 1 finding in 2 pods",
                    "shop/b: new, 100 Healthy, 0 findings in 2 pods",
                ],
            ),
            (silent(), &["does not answer: Connection refused"]),
            (seen(&[("b", 100, 0)]), &["answers again", "shop/a: removed"]),
            (
                Look::Seen(Seen { gap: Some("forbidden".to_owned()), ..Seen::default() }),
                &["not read whole: forbidden"],
            ),
            (seen(&[("b", 100, 0)]), &[]),
        ];
        for (step, (look, lines)) in steps.into_iter().enumerate() {
            assert_eq!(state.update(look), lines, "step {step}");
        }
        assert_eq!(State::default().update(seen(&[])), ["answers, and has no policy"]);
    }

    #[test]
    fn a_policy_without_a_verdict_is_shown_as_such() {
        let mut seen = Seen::default();
        let object = serde_json::json!({ "metadata": { "name": "fleet" }, "spec": {} });
        seen.add(&object, true);
        let lines = State::default().update(Look::Seen(seen));
        assert_eq!(lines, ["ClusterDevOpsPolicy/fleet: not judged yet"]);
    }
}
