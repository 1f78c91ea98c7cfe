//! The checks: one file each, listed here, and everything else follows from the list.
//!
//! To add one: write its file (its [`CheckMeta`], how a policy switches it on, what it looks
//! for, its tests), add its `mod` line and its line in [`CHECKS`], and give it its fields in the
//! custom resource. The tests below fail when a part is missing.

mod high_restarts;
mod latest_tag;
mod missing_liveness;
mod missing_readiness;
mod missing_resources;
mod pending;

use std::borrow::Cow;
use std::fmt;

use crate::api::{DevOpsPolicySpec, SeverityOverrides, Weights};
use crate::evaluate::Sink;
use crate::facts::{CheckedFacts, ContainerFacts};
use crate::severity::Severity;
use crate::view::ContainerView;

/// All checks, in the order in which reports list them.
pub const CHECKS: &[&dyn Check] = &[
    &latest_tag::LatestTag,
    &missing_liveness::MissingLiveness,
    &missing_readiness::MissingReadiness,
    &missing_resources::MissingResources,
    &high_restarts::HighRestarts,
    &pending::Pending,
];

/// How many checks there are; the size of every table by check.
pub const CHECK_COUNT: usize = CHECKS.len();

/// One thing that is looked for. Pure: facts and a limit in, findings out.
pub trait Check: Sync {
    /// What the check is called, what it costs, and what people are told about it.
    fn meta(&self) -> &'static CheckMeta;

    /// Whether a policy switches the check on, and with which limit.
    fn configure(&self, spec: &DevOpsPolicySpec) -> Setting;

    /// Looks at a pod that is counted. `limit` is the one that [`Check::configure`] gave, 0 for
    /// a check without one; `now` is in seconds since 1970.
    fn evaluate(&self, pod: &CheckedFacts, limit: u32, now: i64, sink: &mut Sink<'_>);

    /// The finding as words. `container` is the one found, `None` for a finding about the pod.
    fn message(&self, container: Option<&ContainerFacts>, limit: u32) -> Cow<'static, str> {
        let _ = container;
        match self.meta().text {
            text if text.contains("{limit}") => text.replace("{limit}", &limit.to_string()).into(),
            text => text.into(),
        }
    }

    /// The finding as words at admission, where the object itself is at hand: `view` is the
    /// container found as it was sent. It can hold anything, of any length. A finding whose words
    /// an update leaves as they were is not what the update brings in.
    fn admission_message(
        &self,
        container: Option<&ContainerFacts>,
        view: Option<&ContainerView>,
        limit: u32,
    ) -> Cow<'static, str> {
        let _ = view;
        self.message(container, limit)
    }
}

/// Whether a policy runs a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Not run.
    Off,
    /// Run; the check has no limit.
    On,
    /// Run with this limit.
    Limit(u32),
}

impl Setting {
    fn switch(field: Option<bool>) -> Self {
        if field == Some(true) { Self::On } else { Self::Off }
    }

    /// A number below zero never reaches a check: compiling the policy refuses it.
    fn limit(field: Option<i32>) -> Self {
        field.and_then(|limit| u32::try_from(limit).ok()).map_or(Self::Off, Self::Limit)
    }
}

/// What is fixed about a check, and what people are told about it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a cell of the table of checks")]
pub struct CheckMeta {
    /// The id in reports, status and metrics, in kebab case.
    pub id: &'static str,
    /// The policy field that switches the check on.
    pub field: &'static str,
    /// The key in `severityOverrides` and `weights`.
    pub severity_key: &'static str,
    /// `violationType` in audit results.
    pub violation_type: &'static str,
    /// A few words for lists and SARIF rules.
    pub title: &'static str,
    /// The row of the printed summary.
    pub summary_label: &'static str,
    /// Whether that row shows restarts, as the weight counts them, rather than findings.
    pub counts_restarts: bool,
    /// Whether a finding may come by the passing of time alone ([`Sink::due_at`]). One check at
    /// most: of a pod, only one such moment is kept.
    pub comes_with_time: bool,
    /// The words of a finding; `{limit}` stands for the policy's limit.
    pub text: &'static str,
    /// What exactly is found.
    pub what: &'static str,
    /// Why anybody should care.
    pub why: &'static str,
    /// What to do about a finding, with an example.
    pub fix: &'static str,
    /// What to do about it in a few words, for lines that have no room for more.
    pub remedy: &'static str,
    /// Points that a finding takes from the score, unless the policy says otherwise.
    pub weight: u8,
    /// Whether the check can judge at admission; one about running pods cannot.
    pub at_admission: bool,
    /// Whether a pod template may lack what its pods then have: a `LimitRange` fills it in. At
    /// admission a finding in a template then only warns.
    pub is_filled_in_later: bool,
    /// Whether enforce mode can fill in what is missing.
    pub patchable: bool,
    /// The policy's weight for this check.
    pub weight_override: fn(&Weights) -> Option<i32>,
    /// The policy's severity for this check.
    pub severity_override: fn(&SeverityOverrides) -> Option<Severity>,
}

/// A check, by its place in [`CHECKS`]. The place never leaves the process: whatever is written
/// down uses the name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(u8);

impl CheckId {
    /// All checks, in order.
    #[must_use]
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        // There are fewer checks than a byte can count; the registry's tests say so.
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

    /// What is fixed about it.
    #[must_use]
    pub fn meta(self) -> &'static CheckMeta {
        self.check().meta()
    }

    /// Its id, such as `latest-tag`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.meta().id
    }

    /// Its place in tables by check.
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

    /// A file that nobody listed is found by its absence from the list.
    #[test]
    fn every_file_here_is_registered_under_its_own_name() {
        let files: BTreeSet<String> = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/checks")
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !matches!(name.as_str(), "mod.rs" | "testing.rs"))
            .map(|name| name.trim_end_matches(".rs").replace('_', "-"))
            .collect();
        let ids: BTreeSet<String> = CheckId::all().map(|check| check.to_string()).collect();
        assert_eq!(files, ids);
        assert_eq!(ids.len(), CHECK_COUNT, "ids are unique");
        assert!(CHECK_COUNT < usize::from(u8::MAX));
    }

    #[test]
    fn every_text_is_there_and_fits_its_place() {
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
        assert!(CheckId::all().filter(|check| check.meta().comes_with_time).count() <= 1);
    }

    /// The contract's table, cell by cell; enforcement and admission hang on the last two.
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
            let policy: DevOpsPolicySpec = serde_json::from_value(serde_json::json!({
                meta.field: value,
                "severityOverrides": { meta.severity_key: "critical" },
                "weights": { meta.severity_key: 42 },
            }))
            .unwrap();
            assert_ne!(check.check().configure(&policy), Setting::Off, "{check}");
            assert_eq!(
                check.check().configure(&DevOpsPolicySpec::default()),
                Setting::Off,
                "{check}"
            );
            let severity = (meta.severity_override)(&policy.severity_overrides.unwrap());
            assert_eq!(severity, Some(Severity::Critical), "{check}");
            assert_eq!((meta.weight_override)(&policy.weights.unwrap()), Some(42), "{check}");
            for table in ["severityOverrides", "weights"] {
                let described = &spec[table]["properties"][meta.severity_key]["description"];
                assert!(described.is_string(), "{check}: {table} lacks {}", meta.severity_key);
            }
        }
    }
}
