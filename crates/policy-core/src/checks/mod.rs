//! The checks: one file each, listed in [`CHECKS`]. Reports, metrics and documentation are derived
//! from that list.
//!
//! To add a check: write its file ([`CheckMeta`], `evaluate`, tests), add its `mod`
//! line and its line in [`CHECKS`], and add its fields to the custom resource. The tests below fail
//! when a part is missing.

mod drain_blocked;
mod high_restarts;
mod latest_tag;
mod missing_liveness;
mod missing_readiness;
mod missing_resources;
mod name;
mod not_ready;
mod pending;

use std::borrow::Cow;
use std::fmt;

use crate::api::{DevOpsPolicySpec, SeverityOverrides, Weights};
use crate::evaluate::FindingSink;
use crate::facts::{CheckedFacts, ContainerFacts, RunFacts};
use crate::severity::Severity;

pub use name::{CheckName, UnknownCheck};

/// All checks, in the order in which reports list them.
pub const CHECKS: &[&dyn Check] = &[
    &latest_tag::LatestTag,
    &missing_liveness::MissingLiveness,
    &missing_readiness::MissingReadiness,
    &missing_resources::MissingResources,
    &high_restarts::HighRestarts,
    &pending::Pending,
    &not_ready::NotReady,
    &drain_blocked::DrainBlocked,
];

/// How many checks there are; the size of every table by check.
pub const CHECK_COUNT: usize = CHECKS.len();

/// A check. Pure: facts and a limit in, findings out.
pub trait Check: Sync {
    /// Its fixed names, texts and properties.
    fn meta(&self) -> &'static CheckMeta;

    /// Evaluates a pod that is counted. The parameters are those that [`CheckMeta::configure`]
    /// returned. The sink knows the time.
    fn evaluate(&self, pod: &CheckedFacts, parameters: Parameters, sink: &mut FindingSink<'_>);

    /// The text of a finding in statuses and audit results. Contains no value that changes by
    /// itself.
    fn message(&self, subject: Subject<'_>, parameters: Parameters) -> Cow<'static, str> {
        let _ = subject;
        self.meta().text_with(parameters)
    }

    /// The text of a finding in reports, which have more space than a status.
    fn report_message(&self, subject: Subject<'_>, parameters: Parameters) -> Cow<'static, str> {
        self.message(subject, parameters)
    }

    /// The text of a finding at admission.
    fn admission_message(&self, subject: Subject<'_>, parameters: Parameters) -> Cow<'static, str> {
        self.message(subject, parameters)
    }

    /// The fields of the container that a finding is about. An update introduces a finding only
    /// where one of them was not found in the old object's container of the same name and role.
    fn found_fields<'a>(&self, container: &'a ContainerFacts) -> Vec<&'a str> {
        let _ = container;
        vec![""]
    }
}

/// What a policy sets for a check that it enables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// The number that a finding exceeds; 0 for a check without one.
    pub limit: u32,
    /// How long what a finding is about counts after it happened, in seconds; `None` for ever.
    pub window: Option<u32>,
}

impl Parameters {
    /// Whether everything that is a finding under `other` is one under these.
    #[must_use]
    pub fn finds_all_of(&self, other: &Self) -> bool {
        let is_longer = |window| other.window.is_some_and(|other| other <= window);
        self.limit <= other.limit && self.window.is_none_or(is_longer)
    }
}

/// What a finding is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The pod.
    pub pod: &'a CheckedFacts,
    /// Its container or image volume; `None` where the finding is about the pod as a whole.
    pub container: Option<&'a ContainerFacts>,
    /// How that container runs; `None` where it has no trouble.
    pub run: Option<&'a RunFacts>,
}

impl<'a> Subject<'a> {
    /// The container or image volume of that index; the pod as a whole without one.
    pub(crate) fn of(pod: &'a CheckedFacts, container: Option<usize>) -> Self {
        let run = container.and_then(|index| pod.run(index));
        Self { pod, container: container.and_then(|index| pod.containers.get(index)), run }
    }
}

/// The parameters of a check without any.
fn switch(field: Option<bool>) -> Option<Parameters> {
    (field == Some(true)).then(Parameters::default)
}

/// A negative limit never reaches a check, because compiling the policy refuses it.
fn limit(field: Option<i32>) -> Option<Parameters> {
    number(field).map(|limit| Parameters { limit, window: None })
}

fn number(field: Option<i32>) -> Option<u32> {
    field.and_then(|number| u32::try_from(number).ok())
}

/// The fixed names, texts and properties of a check.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a cell of the table of checks")]
pub struct CheckMeta {
    /// The id in reports, status and metrics, in kebab case.
    pub id: &'static str,
    /// The policy field that enables the check.
    pub field: &'static str,
    /// The key in `severityOverrides` and `weights`.
    pub severity_key: &'static str,
    /// `violationType` in audit results.
    pub violation_type: &'static str,
    /// A short title for lists and SARIF rules.
    pub title: &'static str,
    /// The label of its row in the printed summary.
    pub summary_label: &'static str,
    /// Whether that row shows counted restarts instead of findings.
    pub counts_restarts: bool,
    /// The text of a finding; `{limit}` stands for the policy's limit.
    pub text: &'static str,
    /// The exact conditions of a finding.
    pub what: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// How to fix a finding, with an example.
    pub fix: &'static str,
    /// How to fix it in a few words, for admission messages.
    pub remedy: &'static str,
    /// Points that a finding subtracts from the score, unless the policy sets another weight.
    pub weight: u8,
    /// Whether the check runs at admission; one about running pods cannot.
    pub at_admission: bool,
    /// Whether it needs to know the `PodDisruptionBudgets` of a cluster, which files do not say.
    pub needs_budgets: bool,
    /// Whether a `LimitRange` may fill in what is missing before the pod is stored. Where that has
    /// not happened yet, as in a pod template, a finding at admission only warns.
    pub is_filled_in_later: bool,
    /// Whether enforce mode can patch what is missing.
    pub patchable: bool,
    /// The parameters of the check under a policy; `None` where the policy does not enable it.
    pub configure: fn(&DevOpsPolicySpec) -> Option<Parameters>,
    /// The policy's weight for this check; `None` where a policy cannot set one, because not everyone who
    /// computes a score can evaluate the check.
    pub weight_override: Option<fn(&Weights) -> Option<i32>>,
    /// The policy's severity for this check.
    pub severity_override: fn(&SeverityOverrides) -> Option<Severity>,
}

impl CheckMeta {
    /// The fields of a policy that sets these parameters, such as `maxRestartCount: 3`.
    #[must_use]
    pub fn setting(&self, Parameters { limit, window }: Parameters) -> String {
        let field = self.field;
        match window {
            Some(window) => format!("{field}: {limit}, restartWindow: {window}"),
            None if self.text.contains("{limit}") => format!("{field}: {limit}"),
            None => format!("{field}: true"),
        }
    }

    /// The text of a finding under these parameters.
    fn text_with(&self, parameters: Parameters) -> Cow<'static, str> {
        match self.text {
            text if text.contains("{limit}") => {
                text.replace("{limit}", &parameters.limit.to_string()).into()
            }
            text => text.into(),
        }
    }
}

/// A check by its index in [`CHECKS`]. The index never leaves the process; everything that is
/// stored or exported uses the id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(u8);

impl CheckId {
    /// All checks, in order.
    #[must_use]
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        // A test asserts that the count fits.
        (0..CHECK_COUNT).map(|index| Self(u8::try_from(index).unwrap_or(u8::MAX)))
    }

    /// The check of that id, such as `latest-tag`.
    #[must_use]
    pub fn from_name(id: &str) -> Option<Self> {
        Self::all().find(|check| check.as_str() == id)
    }

    /// The check itself.
    #[must_use]
    pub fn check(self) -> &'static dyn Check {
        CHECKS[self.index()]
    }

    /// Its fixed names, texts and properties.
    #[must_use]
    pub fn meta(self) -> &'static CheckMeta {
        self.check().meta()
    }

    /// Its id, such as `latest-tag`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.meta().id
    }

    /// Its index in tables by check.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::crds;

    #[test]
    fn every_file_is_registered_under_its_own_name() {
        let files: BTreeSet<String> = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/checks")
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !matches!(name.as_str(), "mod.rs" | "name.rs" | "testing.rs"))
            .map(|name| name.trim_end_matches(".rs").replace('_', "-"))
            .collect();
        let ids: BTreeSet<String> = CheckId::all().map(|check| check.to_string()).collect();
        assert_eq!(files, ids);
        assert_eq!(ids.len(), CHECK_COUNT, "ids are unique");
        assert!(CHECK_COUNT < usize::from(u8::MAX));
    }

    #[test]
    fn every_text_is_present_and_fits() {
        for check in CheckId::all() {
            let meta = check.meta();
            assert_eq!(meta.violation_type, meta.id.replace('-', "_"));
            assert!(meta.summary_label.len() <= 27, "{check}: the summary's column is full");
            for text in [meta.title, meta.text, meta.what, meta.why, meta.fix, meta.remedy] {
                assert!(!text.is_empty() && text.trim() == text, "{check}: {text:?}");
            }
            for text in [meta.what, meta.why, meta.fix] {
                assert!(text.ends_with(['.', '`']), "{check}: {text:?} is no sentence");
            }
            assert!(meta.weight <= 100);
        }
    }

    /// The table of section 3 of the contract, cell by cell.
    #[test]
    fn every_check_is_what_the_contract_says() {
        type Row = [&'static str; 4];
        const ROWS: [(Row, u8, &str, bool, bool); CHECK_COUNT] = [
            (
                ["latest-tag", "forbidLatestTag", "latestTag", "latest_tag"],
                5,
                "uses :latest image tag",
                true,
                false,
            ),
            (
                ["missing-liveness", "requireLivenessProbe", "missingLiveness", "missing_liveness"],
                3,
                "missing liveness probe",
                true,
                true,
            ),
            (
                [
                    "missing-readiness",
                    "requireReadinessProbe",
                    "missingReadiness",
                    "missing_readiness",
                ],
                2,
                "missing readiness probe",
                true,
                true,
            ),
            (
                ["missing-resources", "requireResources", "missingResources", "missing_resources"],
                0,
                "missing resource requests or limits",
                true,
                true,
            ),
            (
                ["high-restarts", "maxRestartCount", "highRestarts", "high_restarts"],
                6,
                "restarted more than {limit} times",
                false,
                false,
            ),
            (
                ["pending", "forbidPendingDuration", "pending", "pending"],
                4,
                "pending longer than {limit} s",
                false,
                false,
            ),
            (
                ["not-ready", "forbidNotReadyDuration", "notReady", "not_ready"],
                4,
                "not ready for longer than {limit} s",
                false,
                false,
            ),
            (
                ["drain-blocked", "forbidBlockedDrain", "drainBlocked", "drain_blocked"],
                0,
                "PodDisruptionBudget allows no eviction: a drain of its node never ends",
                false,
                false,
            ),
        ];
        for (check, row) in CheckId::all().zip(ROWS) {
            let CheckMeta { id, field, severity_key, violation_type, .. } = check.meta();
            let CheckMeta { weight, text, at_admission, patchable, .. } = check.meta();
            let names = [*id, *field, *severity_key, *violation_type];
            assert_eq!((names, *weight, *text, *at_admission, *patchable), row);
        }
    }

    /// The custom resource has the fields that the check names, and the check reads them.
    #[test]
    fn every_check_has_its_fields_in_the_custom_resource() {
        let crd = serde_json::to_value(&crds()[0]).unwrap();
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        for check in CheckId::all() {
            let meta = check.meta();
            let kind = spec[meta.field]["type"].as_str().unwrap_or_default();
            assert!(matches!(kind, "boolean" | "integer"), "{check}: no field {}", meta.field);
            let value =
                if kind == "boolean" { serde_json::json!(true) } else { serde_json::json!(7) };
            let mut policy = serde_json::json!({
                meta.field: value,
                "severityOverrides": { meta.severity_key: "critical" },
            });
            if meta.weight_override.is_some() {
                policy["weights"] = serde_json::json!({ meta.severity_key: 42 });
            }
            let policy: DevOpsPolicySpec = serde_json::from_value(policy).unwrap();
            assert_ne!((check.meta().configure)(&policy), None, "{check}");
            assert_eq!((check.meta().configure)(&DevOpsPolicySpec::default()), None, "{check}");
            let severity = (meta.severity_override)(&policy.severity_overrides.unwrap());
            assert_eq!(severity, Some(Severity::Critical), "{check}");
            let weight = meta.weight_override.zip(policy.weights.as_ref());
            let weight = weight.and_then(|(read, weights)| read(weights));
            assert_eq!(weight, meta.weight_override.map(|_| 42), "{check}");
            assert!(weight.is_some() || meta.weight == 0, "{check} can only be reported");
            for (table, is_there) in [("severityOverrides", true), ("weights", weight.is_some())] {
                let described = &spec[table]["properties"][meta.severity_key]["description"];
                assert_eq!(described.is_string(), is_there, "{check}: {table}");
            }
        }
    }
}
