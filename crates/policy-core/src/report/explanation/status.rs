//! What the operator last wrote about a policy, beside pods that are judged now, or alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Basis, Explanation, arithmetic, checks};
use crate::api::DevOpsPolicyStatus;
use crate::checks::{CheckId, CheckName};
use crate::classification::Classification;
use crate::custom::CustomChecks;
use crate::policy::CompiledPolicy;
use crate::report::assessment::{Assessed, Assessment};
use crate::report::{SCHEMA_VERSION, Source};
use crate::score::{Score, Tally};

/// What the operator last wrote about a policy.
#[derive(Serialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OperatorStatus {
    /// The score; `null` where the operator has not evaluated the policy.
    #[schemars(range(max = 100))]
    pub score: Option<u8>,
    /// The class of the score.
    pub classification: Option<Classification>,
    /// How many pods were counted.
    pub pods: Option<u64>,
    /// How many findings there were.
    pub total_violations: Option<u64>,
    /// How many findings were exempted; `null` for a policy without exemptions.
    pub exempted_violations: Option<u64>,
    /// The number of findings by check.
    pub violations_by_check: BTreeMap<String, u64>,
    /// When that was, in UTC.
    pub last_evaluated: Option<String>,
    /// How often the policy was changed.
    pub generation: Option<i64>,
    /// The generation that was evaluated.
    pub observed_generation: Option<i64>,
    /// Whether it is an older policy than the present one that was evaluated.
    pub is_behind: bool,
    /// Where it differs from the pods that were judged now, one sentence each; `null` where none
    /// were.
    pub differences: Option<Vec<String>>,
}

impl OperatorStatus {
    /// The status of a policy of that generation.
    #[must_use]
    pub fn of(status: Option<&DevOpsPolicyStatus>, generation: Option<i64>) -> Self {
        let Some(status) = status else {
            return Self { generation, ..Self::default() };
        };
        // Anybody may have written it; a number below zero is none.
        let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        let score = status.health_score.and_then(|score| u8::try_from(score).ok());
        Self {
            score: score.filter(|score| *score <= 100),
            classification: status.classification,
            pods: number(status.pods_evaluated),
            total_violations: number(status.total_violations),
            exempted_violations: number(status.exempted_violations),
            violations_by_check: status
                .violations_by_check
                .iter()
                .filter_map(|(check, found)| Some((check.clone(), number(Some(*found))?)))
                .collect(),
            last_evaluated: status.last_evaluated.as_ref().map(|time| time.0.to_string()),
            generation,
            observed_generation: status.observed_generation,
            is_behind: status.observed_generation.zip(generation).is_some_and(|(o, g)| o < g),
            differences: None,
        }
    }

    /// Whether the operator evaluated the policy at all.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.score.is_some()
    }

    /// The same, with what is different now.
    pub(super) fn compared(mut self, now: &Tally, score: Score) -> Self {
        if !self.is_written() {
            return self;
        }
        let mut differences = Vec::new();
        let mut compare = |what: &str, then: Option<u64>, now: u64| {
            if let Some(then) = then.filter(|then| *then != now) {
                differences.push(format!("{what}: {then} in the status, {now} now"));
            }
        };
        compare("score", self.score.map(u64::from), score.value().into());
        compare("pods", self.pods, now.pods());
        compare("findings", self.total_violations, now.total_findings());
        compare("exempted findings", self.exempted_violations, now.total_exempted());
        for check in CheckId::all().filter(|_| !self.violations_by_check.is_empty()) {
            let then = self.violations_by_check.get(check.as_str()).copied();
            compare(check.as_str(), Some(then.unwrap_or(0)), now.findings(check));
        }
        self.differences = Some(differences);
        self
    }
}

impl Assessment<'_> {
    /// What can be said of the score without the pods, which may not be read. `None` where the
    /// operator has not evaluated the policy.
    #[must_use]
    pub fn explain_from_status(
        self,
        source: Source,
        policy: String,
        status: OperatorStatus,
    ) -> Option<Explanation> {
        let Assessed { policy: compiled, coverage, .. } = self.finish_parts(source.is_of_files());
        let score = status.score?;
        let found =
            |check: &CheckName| status.violations_by_check.get(check.label()).copied().unwrap_or(0);
        // A finding counts once, but for restarts, of which the status has no number.
        // Those of all custom checks are one number there.
        let count = |check: &CheckName| match (found(check), check.registered()) {
            (0, _) => Some(0),
            (findings, Some(check)) => (!check.meta().counts_restarts).then_some(findings),
            (_, None) => None,
        };
        let custom = compiled.custom().into_iter().flat_map(CustomChecks::checks);
        let custom = custom.map(|check| CheckName::Custom(Arc::clone(check.name())));
        let points = compiled
            .enabled()
            .map(|(check, _)| CheckName::Registered(check))
            .chain(custom)
            .map(|check| Some(compiled.points_of(&check, count(&check)?)))
            .try_fold(0_u64, |sum, points| Some(sum.saturating_add(points?)));
        // Of another policy, or of other weights, the sum would be another one.
        let total = points.zip(status.pods);
        let computed = total.map(|(points, pods)| Score::of(points, pods));
        let total = total.filter(|_| computed.is_some_and(|computed| computed.value() == score));
        let classification = status.classification.unwrap_or_else(|| Classification::of(score));
        Some(Explanation {
            schema_version: SCHEMA_VERSION,
            source,
            policy,
            basis: Basis::Status,
            pods: status.pods,
            score: Some(score),
            classification: Some(classification),
            points: total.map(|(points, _)| points),
            arithmetic: match (total, computed) {
                (Some((points, pods)), Some(score)) => arithmetic(points, pods, score),
                (None, Some(computed)) => format!(
                    "by its findings the score would be {computed}: the policy is another one now"
                ),
                _ => "how the points add up to it cannot be known from the status".to_owned(),
            },
            total_violations: status.total_violations.unwrap_or(0),
            exempted_violations: status.exempted_violations.unwrap_or(0),
            exempted: Vec::new(),
            compliant_pods: None,
            checks: checks(compiled, total, |check| (found(check), count(check))),
            worst_workloads: None,
            workloads_with_findings: None,
            worst_pods: None,
            check_policies: None,
            pods_with_findings: None,
            unknown: unknown(&status, compiled, &count),
            status: Some(status),
            coverage,
        })
    }
}

fn unknown(
    status: &OperatorStatus,
    policy: &CompiledPolicy,
    count: &dyn Fn(&CheckName) -> Option<u64>,
) -> Vec<String> {
    let mut unknown = vec![
        "which workloads and pods have the findings, and how many pods have none".to_owned(),
        "what changed since the operator wrote the status".to_owned(),
    ];
    let is_unknown = |check: &CheckId| count(&CheckName::Registered(*check)).is_none();
    for check in policy.enabled().map(|(check, _)| check).filter(is_unknown) {
        unknown.push(format!("how often containers restarted, so what {check} takes"));
    }
    if status.violations_by_check.get(CheckName::CUSTOM_LABEL).is_some_and(|found| *found > 0) {
        unknown.push("which custom checks have the findings, so what each takes".to_owned());
    }
    if status.is_behind {
        unknown.push("what the present policy says: the status is of an older one".to_owned());
    }
    unknown
}
