//! What a policy's author expects of objects, and what the engine says.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{AdmittedObject, NotRead, SCHEMA_VERSION};
use crate::admission::{Creation, NamespacePolicies};
use crate::checks::CheckName;
use crate::custom::{CustomInput, CustomResults};
use crate::evaluate::{Evaluation, Finding, evaluate_with};
use crate::facts::PodFacts;
use crate::labels::Labels;
use crate::manifest::{ExpectedFinding, ExpectedVerdict, PolicyTest};
use crate::namespaces::ExcludedNamespaces;
use crate::policy::CompiledPolicy;
use crate::severity::Severity;
use crate::view::Located;

/// The result of tests.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "policyctl test")]
pub struct PolicyTestReport {
    /// The version of this format.
    #[schemars(extend("const" = SCHEMA_VERSION))]
    schema_version: &'static str,
    /// How many tests passed, and how many not.
    pub summary: TestSummary,
    /// The test files.
    pub files: Vec<TestedFile>,
    /// What is wrong with test files, and what could not be read.
    pub errors: Vec<NotRead>,
}

/// How many tests there are of each result.
#[derive(Serialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TestSummary {
    /// Those whose verdict is the expected one.
    pub passed: u64,
    /// The others, and objects that no test names.
    pub failed: u64,
}

/// A test file and its tests.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct TestedFile {
    /// The file.
    pub file: Arc<str>,
    /// The policies that judged: `bundle NAME`, or a file.
    pub policies: Vec<String>,
    /// The tests in their order, then the objects that no test names.
    pub tests: Vec<TestedObject>,
}

/// The result of a test.
#[derive(Serialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum TestResult {
    /// The verdict is the expected one.
    Passed,
    /// It is another one, or no test names the object.
    Failed,
}

/// A test, or an object that no test names.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct TestedObject {
    /// The result.
    pub result: TestResult,
    /// The line of the test in its file; `null` where no test names the object.
    pub line: Option<u32>,
    /// What is expected; `null` where no test names the object.
    pub expected: Option<ExpectedVerdict>,
    /// The object, and what the webhook says when it is created.
    pub object: AdmittedObject,
    /// All findings.
    pub findings: Vec<TestFinding>,
    /// Findings that are expected, and were not found.
    pub missing: Vec<ExpectedFinding>,
    /// Findings that were found, and are not expected.
    pub unexpected: Vec<TestFinding>,
    /// The same of findings that an exemption accepts.
    pub exempted: TestedExemptions,
}

/// The findings of an object that an exemption accepts.
#[derive(Serialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct TestedExemptions {
    /// All of them.
    pub findings: Vec<TestFinding>,
    /// Those that are expected, and were not exempted.
    pub missing: Vec<ExpectedFinding>,
    /// Those that were exempted, and are not expected.
    pub unexpected: Vec<TestFinding>,
}

/// A finding on a tested object.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct TestFinding {
    /// The id of the check.
    pub check: CheckName,
    /// The container, or the image volume; `null` where the finding is about the pod.
    pub container: Option<Arc<str>>,
    /// How severe it is.
    pub severity: Severity,
    /// What was found.
    pub message: String,
}

/// An object with what the engine says of it.
#[derive(Clone, Debug)]
pub struct JudgedObject {
    /// What the webhook says when it is created.
    pub object: AdmittedObject,
    /// Its file, relative to that of the test.
    pub path: String,
    /// All findings, each once.
    pub findings: Vec<TestFinding>,
    /// Those that an exemption accepts, each once.
    pub exempted: Vec<TestFinding>,
}

/// A finding of an object depends on the time, and the test file gives none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a finding depends on the time: add `now`, such as `now: 2026-01-31T12:00:00Z`")]
pub struct NoTime;

impl JudgedObject {
    /// Judges an object by all of the policies. `place` is its file, document and line.
    ///
    /// # Errors
    /// [`NoTime`].
    pub fn of(
        (facts, labels): (&PodFacts, Option<&Labels>),
        custom: Option<CustomInput>,
        place: (Arc<str>, u32, u32),
        path: String,
        policies: &NamespacePolicies,
        now: Option<Timestamp>,
    ) -> Result<Self, NoTime> {
        if ExcludedNamespaces::default().contains(&facts.namespace) {
            let object = AdmittedObject::excluded(facts, place);
            return Ok(Self { object, path, findings: Vec::new(), exempted: Vec::new() });
        }
        let (mut findings, mut exempted) = (Vec::new(), Vec::new());
        for rules in policies.judged.iter().filter_map(|policy| policy.rules.as_ref().ok()) {
            let checks = rules.custom().zip(custom.as_ref());
            let results = checks.map(|(checks, object)| checks.judge(object, None));
            let found = |finding: &Finding| TestFinding {
                check: finding.check.name(),
                container: finding.container(&facts.checked).map(|of| Arc::clone(&of.name)),
                severity: finding.severity,
                message: finding.report_message(&facts.checked, rules).into_owned(),
            };
            let evaluated = evaluated((facts, labels), rules, results.as_ref(), now)?;
            add_new(&mut findings, evaluated.findings.iter().map(found));
            let accepted = evaluated.exempted.iter().map(|exempted| &exempted.finding);
            add_new(&mut exempted, accepted.map(found));
        }
        findings.sort_by(|a, b| a.check.cmp(&b.check));
        exempted.sort_by(|a, b| a.check.cmp(&b.check));
        // The status does not count at admission.
        let mut created = facts.clone();
        created.clear_status();
        let creation = Creation { labels, ..Creation::of(&created) };
        let verdict = creation.admit_with(custom, policies, now.unwrap_or(Timestamp::MAX));
        let object = AdmittedObject::of(facts, place, policies.judged.len(), &verdict);
        Ok(Self { object, path, findings, exempted })
    }

    fn id(&self) -> (&str, &str) {
        (self.object.kind, &self.object.name)
    }

    fn place(&self) -> String {
        format!("{}:{}", self.object.file, self.object.line)
    }

    /// The test that expects what the engine says. Its name is that of the test before.
    fn expected(&self, name: Option<String>, others: &[Self]) -> Option<ExpectedVerdict> {
        let same = |is_same: &dyn Fn(&Self) -> bool| {
            others.iter().filter(|other| other.id() == self.id() && is_same(other)).count() > 1
        };
        let is_ambiguous = same(&|_| true);
        let file = is_ambiguous.then(|| self.path.clone());
        let namespace = (is_ambiguous && same(&|other| other.path == self.path))
            .then(|| self.object.namespace.to_string());
        let expected = |finding: &TestFinding| ExpectedFinding {
            check: finding.check.clone(),
            container: finding.container.as_deref().map(str::to_owned),
            severity: Some(finding.severity),
        };
        // Most policies have no exemptions, and their tests do not speak of them.
        let exempted = (!self.exempted.is_empty())
            .then(|| self.exempted.iter().map(expected).collect::<Vec<_>>());
        let object = crate::manifest::ObjectName {
            kind: self.object.kind.parse().ok()?,
            name: self.object.name.to_string(),
        };
        Some(ExpectedVerdict {
            name,
            object,
            namespace,
            file,
            admission: Some(self.object.outcome),
            findings: Some(self.findings.iter().map(expected).collect()),
            exempted,
        })
    }
}

/// The verdict at that time; without one, the verdict that does not depend on it.
fn evaluated(
    (facts, labels): (&PodFacts, Option<&Labels>),
    rules: &CompiledPolicy,
    custom: Option<&CustomResults>,
    now: Option<Timestamp>,
) -> Result<Evaluation, NoTime> {
    let at = |time| evaluate_with(facts, rules, custom, labels, time);
    let Some(now) = now else {
        let (first, last) = (at(Timestamp::UNIX_EPOCH), at(Timestamp::MAX));
        let is_same = first.findings == last.findings && first.exempted == last.exempted;
        return if is_same { Ok(last) } else { Err(NoTime) };
    };
    Ok(at(now))
}

impl TestedFile {
    /// Compares what the engine says of the objects with what the file expects. The errors are
    /// tests that name no object, several, or one that another test names.
    #[must_use]
    pub fn new(
        file: &Arc<str>,
        test: &PolicyTest,
        objects: &[JudgedObject],
    ) -> (Self, Vec<NotRead>) {
        let (mut tests, mut errors) = (Vec::new(), Vec::new());
        // The line of the test of each object.
        let mut tested: BTreeMap<usize, u32> = BTreeMap::new();
        for Located { value: expected, line } in &test.tests {
            let found = named(expected, objects).and_then(|index| match tested.get(&index) {
                Some(first) => {
                    Err(format!("{} is tested in line {first} already", expected.object))
                }
                None => Ok(index),
            });
            match found {
                Ok(index) => {
                    tested.insert(index, *line);
                    tests.push(TestedObject::new(&objects[index], Some((*line, expected))));
                }
                Err(reason) => errors.push(NotRead::new(file, Some(*line), reason)),
            }
        }
        let untested = (0..).zip(objects).filter(|(index, _)| !tested.contains_key(index));
        tests.extend(untested.map(|(_, object)| TestedObject::new(object, None)));
        let policies = test.policies.iter().map(|policy| policy.value.to_string());
        (Self { file: Arc::clone(file), policies: policies.collect(), tests }, errors)
    }
}

/// The test of each object that expects what the engine says, with the names that the tests of the
/// file have.
#[must_use]
pub fn actual_verdicts(test: &PolicyTest, objects: &[JudgedObject]) -> Vec<ExpectedVerdict> {
    let tests = test.tests.iter().filter(|test| test.value.name.is_some());
    let names = tests.filter_map(|Located { value, .. }| {
        Some((named(value, objects).ok()?, value.name.clone()))
    });
    let mut names: BTreeMap<usize, Option<String>> = names.collect();
    let objects_by_index = (0..).zip(objects);
    objects_by_index
        .filter_map(|(index, object)| object.expected(names.remove(&index).flatten(), objects))
        .collect()
}

/// The index of the only object that a test names.
fn named(test: &ExpectedVerdict, objects: &[JudgedObject]) -> Result<usize, String> {
    let file = test.file.as_deref().map(|file| file.strip_prefix("./").unwrap_or(file));
    let same_name = |object: &&JudgedObject| {
        object.id() == (test.object.kind.as_str(), test.object.name.as_str())
    };
    let fits = |object: &JudgedObject| {
        same_name(&object)
            && test.namespace.as_deref().is_none_or(|name| name == &*object.object.namespace)
            && file.is_none_or(|file| file == object.path)
    };
    let found: Vec<usize> = (0..objects.len()).filter(|index| fits(&objects[*index])).collect();
    let places = |objects: &mut dyn Iterator<Item = &JudgedObject>| {
        objects.map(JudgedObject::place).collect::<Vec<_>>().join(", ")
    };
    match found.as_slice() {
        [only] => Ok(*only),
        [] => {
            let others = places(&mut objects.iter().filter(same_name));
            let hint = if others.is_empty() {
                String::new()
            } else {
                format!(" with that namespace and file; there is {others}")
            };
            Err(format!("no object is {}{hint}", test.object))
        }
        several => {
            let places = places(&mut several.iter().map(|index| &objects[*index]));
            let object = &test.object;
            Err(format!("several objects are {object}: {places}; add `file` or `namespace`"))
        }
    }
}

impl TestedObject {
    fn new(judged: &JudgedObject, test: Option<(u32, &ExpectedVerdict)>) -> Self {
        let JudgedObject { object, findings, exempted, .. } = judged.clone();
        let (line, expected) = test.unzip();
        let wanted = expected.and_then(|expected| expected.findings.as_deref());
        let (missing, unexpected) = differences(wanted, &findings);
        let wanted = expected.and_then(|expected| expected.exempted.as_deref());
        let of_exempted = differences(wanted, &exempted);
        let exempted = TestedExemptions {
            findings: exempted,
            missing: of_exempted.0,
            unexpected: of_exempted.1,
        };
        let has_outcome = expected.is_some_and(|expected| {
            expected.admission.is_none_or(|outcome| outcome == object.outcome)
        });
        let has_exempted = exempted.missing.is_empty() && exempted.unexpected.is_empty();
        let has_findings = missing.is_empty() && unexpected.is_empty();
        let result = if has_outcome && has_findings && has_exempted {
            TestResult::Passed
        } else {
            TestResult::Failed
        };
        let expected = expected.cloned();
        Self { result, line, expected, object, findings, missing, unexpected, exempted }
    }
}

/// What is wanted and was not found, and what was found and is not wanted; neither where nothing is said
/// about it.
fn differences(
    wanted: Option<&[ExpectedFinding]>,
    found: &[TestFinding],
) -> (Vec<ExpectedFinding>, Vec<TestFinding>) {
    let Some(wanted) = wanted else { return (Vec::new(), Vec::new()) };
    let is_found = |expected: &&ExpectedFinding| found.iter().any(|found| fits(expected, found));
    let is_wanted = |found: &&TestFinding| wanted.iter().any(|expected| fits(expected, found));
    let missing = wanted.iter().filter(|expected| !is_found(expected));
    let unexpected = found.iter().filter(|found| !is_wanted(found));
    (missing.cloned().collect(), unexpected.cloned().collect())
}

/// Adds what is not there yet.
fn add_new(list: &mut Vec<TestFinding>, found: impl Iterator<Item = TestFinding>) {
    for found in found {
        if !list.contains(&found) {
            list.push(found);
        }
    }
}

fn fits(expected: &ExpectedFinding, found: &TestFinding) -> bool {
    expected.check == found.check
        && expected.container.as_deref() == found.container.as_deref()
        && expected.severity.is_none_or(|severity| severity == found.severity)
}

impl PolicyTestReport {
    /// The result of the files.
    #[must_use]
    pub fn new(files: Vec<TestedFile>, errors: Vec<NotRead>) -> Self {
        let mut summary = TestSummary::default();
        for test in files.iter().flat_map(|file| &file.tests) {
            match test.result {
                TestResult::Passed => summary.passed += 1,
                TestResult::Failed => summary.failed += 1,
            }
        }
        Self { schema_version: SCHEMA_VERSION, summary, files, errors }
    }
}
