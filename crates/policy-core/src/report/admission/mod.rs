//! What the webhook would say to the objects of files, before anybody applies them.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Coverage, PolicySource, SCHEMA_VERSION, Source};
use crate::admission::AdmissionVerdict;
use crate::facts::PodFacts;

/// What the webhook would say.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "policyctl admit")]
pub struct AdmissionReport {
    /// The version of this format.
    #[schemars(extend("const" = SCHEMA_VERSION))]
    schema_version: &'static str,
    /// Where the objects came from.
    pub source: Source,
    /// Where the policies came from.
    pub policies: PolicySource,
    /// How many objects would be let in, and how many not.
    pub summary: AdmissionSummary,
    /// The objects, in the order in which they stand in the files.
    pub objects: Vec<AdmittedObject>,
    /// What was read, and what was not.
    pub coverage: Coverage,
}

/// How many objects there are of each outcome.
#[derive(Serialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionSummary {
    /// Let in without a word.
    pub allowed: u64,
    /// Let in with a warning.
    pub warned: u64,
    /// Not let in.
    pub denied: u64,
}

/// What becomes of an object.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum AdmissionOutcome {
    /// Let in without a word.
    Allowed,
    /// Let in with a warning.
    Warned,
    /// Not let in.
    Denied,
}

/// An object and what the webhook would say to it.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AdmittedObject {
    /// What would become of it.
    pub outcome: AdmissionOutcome,
    /// The namespace.
    pub namespace: Arc<str>,
    /// The kind.
    pub kind: &'static str,
    /// The name.
    pub name: Box<str>,
    /// The file.
    pub file: Arc<str>,
    /// The place of the document in its file, from 1.
    pub document: u32,
    /// The line of the object, from 1.
    pub line: u32,
    /// Whether its namespace is left out, so that the webhook is never asked.
    pub is_excluded: bool,
    /// How many policies there are in its namespace.
    pub policies: u64,
    /// Why it would be denied, as it would be shown; `null` where it would be let in.
    pub message: Option<String>,
    /// What its user would be warned of.
    pub warnings: Vec<String>,
    /// What would be written to the audit log, by key.
    pub audit_annotations: BTreeMap<&'static str, String>,
}

impl AdmittedObject {
    /// What a verdict says, by so many policies. `place` is its file, document and line.
    #[must_use]
    pub fn of(
        facts: &PodFacts,
        place: (Arc<str>, u32, u32),
        policies: usize,
        verdict: &AdmissionVerdict,
    ) -> Self {
        let (file, document, line) = place;
        let warnings = verdict.warnings();
        Self {
            outcome: match (verdict.is_allowed(), warnings.is_empty()) {
                (false, _) => AdmissionOutcome::Denied,
                (true, false) => AdmissionOutcome::Warned,
                (true, true) => AdmissionOutcome::Allowed,
            },
            namespace: Arc::clone(&facts.namespace),
            kind: facts.kind.as_str(),
            name: facts.name.clone(),
            file,
            document,
            line,
            is_excluded: false,
            policies: policies as u64,
            message: verdict.message(),
            warnings,
            audit_annotations: verdict.annotations(),
        }
    }

    /// One of a namespace that is left out.
    #[must_use]
    pub fn excluded(facts: &PodFacts, place: (Arc<str>, u32, u32)) -> Self {
        Self { is_excluded: true, ..Self::of(facts, place, 0, &AdmissionVerdict::default()) }
    }
}

impl AdmissionReport {
    /// What was judged, with the coverage of reading it.
    #[must_use]
    pub fn new(
        source: Source,
        policies: PolicySource,
        objects: Vec<AdmittedObject>,
        coverage: Coverage,
    ) -> Self {
        let mut summary = AdmissionSummary::default();
        for object in &objects {
            let number = match object.outcome {
                AdmissionOutcome::Allowed => &mut summary.allowed,
                AdmissionOutcome::Warned => &mut summary.warned,
                AdmissionOutcome::Denied => &mut summary.denied,
            };
            *number += 1;
        }
        Self { schema_version: SCHEMA_VERSION, source, policies, summary, objects, coverage }
    }
}
