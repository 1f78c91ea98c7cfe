//! `JUnit` XML for CI systems: a suite for each namespace, a case for each check that ran, and a
//! suite for what could not be read, and for the notes. A check whose findings are all exempted is
//! skipped.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use policy_core::checks::CheckName;
use policy_core::report::{
    CoverageNote, ExemptedReportFinding, NamespaceSummary, NotRead, Report, ReportFinding,
    ReportedObject,
};
use policy_core::text::{clause, counted, printable};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

pub(super) type Xml<'a> = Writer<&'a mut dyn io::Write>;
/// The cases of a namespace by the id of their check.
type Cases<'a> = BTreeMap<Cow<'static, str>, Found<'a>>;

/// The findings of a check in a namespace.
#[derive(Default)]
struct Found<'a> {
    findings: Vec<&'a ReportFinding>,
    exempted: Vec<&'a ExemptedReportFinding>,
    /// How many findings there are, where more are counted than listed.
    counted: u64,
}

impl Found<'_> {
    fn number(&self) -> u64 {
        self.counted.max(self.findings.len() as u64)
    }

    fn is_failed(&self) -> bool {
        self.number() > 0
    }

    /// Whether all are exempted.
    fn is_skipped(&self) -> bool {
        !self.is_failed() && !self.exempted.is_empty()
    }
}

pub(super) fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let mut xml = Writer::new_with_indent(out, b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let failed = report.coverage.failed.len();
    let suites = cases(report);
    let all = || suites.values().flat_map(BTreeMap::values);
    let failures = all().filter(|found| found.is_failed()).count();
    let skipped = all().filter(|found| found.is_skipped()).count();
    let [tests, failures, errors, skipped] =
        [all().count() + failed, failures, failed, skipped].map(|number| number.to_string());
    xml.create_element("testsuites")
        .with_attribute(("name", "policyctl"))
        .with_attribute(("tests", tests.as_str()))
        .with_attribute(("failures", failures.as_str()))
        .with_attribute(("errors", errors.as_str()))
        .with_attribute(("skipped", skipped.as_str()))
        .write_inner_content(|xml| {
            suites.iter().try_for_each(|(namespace, cases)| suite(xml, namespace, cases))?;
            coverage(xml, &report.coverage.failed, &report.coverage.notes)
        })?;
    writeln!(xml.into_inner())
}

/// The cases of each namespace: the checks that ran there.
fn cases(report: &Report) -> BTreeMap<&str, Cases<'_>> {
    let mut suites: BTreeMap<&str, Cases<'_>> = BTreeMap::new();
    for NamespaceSummary { namespace, summary } in &report.namespaces {
        let checks = summary.violations_by_check.iter();
        // The custom checks are counted together there.
        let registered = checks.filter(|(check, _)| **check != CheckName::CUSTOM_LABEL);
        let case = |(check, number): (&&'static str, &u64)| {
            (Cow::Borrowed(*check), Found { counted: *number, ..Found::default() })
        };
        let passed = report.passed_custom.get(namespace).into_iter().flatten();
        let passed = passed.map(|check| (check.as_str(), Found::default()));
        suites.insert(namespace, registered.map(case).chain(passed).collect());
    }
    // A namespace that is not listed has no suite.
    for finding in &report.findings {
        if let Some(cases) = suites.get_mut(&*finding.object.namespace) {
            cases.entry(finding.check.as_str()).or_default().findings.push(finding);
        }
    }
    for exempted in &report.exempted {
        if let Some(cases) = suites.get_mut(&*exempted.finding.object.namespace) {
            cases.entry(exempted.finding.check.as_str()).or_default().exempted.push(exempted);
        }
    }
    suites
}

fn suite(xml: &mut Xml<'_>, namespace: &str, cases: &Cases<'_>) -> io::Result<()> {
    let name = printable(namespace);
    let failures = cases.values().filter(|found| found.is_failed()).count();
    let skipped = cases.values().filter(|found| found.is_skipped()).count();
    let [tests, failures, skipped] =
        [cases.len(), failures, skipped].map(|number| number.to_string());
    xml.create_element("testsuite")
        .with_attribute(("name", &*name))
        .with_attribute(("tests", tests.as_str()))
        .with_attribute(("failures", failures.as_str()))
        .with_attribute(("errors", "0"))
        .with_attribute(("skipped", skipped.as_str()))
        .write_inner_content(|xml| {
            cases.iter().try_for_each(|(check, found)| case(xml, &name, check, found))
        })?;
    Ok(())
}

fn case(xml: &mut Xml<'_>, namespace: &str, check: &str, found: &Found<'_>) -> io::Result<()> {
    let element = xml
        .create_element("testcase")
        .with_attribute(("classname", namespace))
        .with_attribute(("name", check));
    let Found { findings, exempted, .. } = found;
    if !found.is_failed() && !found.is_skipped() {
        element.write_empty()?;
        return Ok(());
    }
    let message = |number: u64, exempted: &str| {
        format!("{} of {check} in {namespace}{exempted}", counted(number, "finding"))
    };
    element.write_inner_content(|xml| {
        if found.is_skipped() {
            let message = message(exempted.len() as u64, ", exempted by the policy");
            return outcome(xml, "skipped", &message, exempted.iter().copied().map(exempted_line));
        }
        let lines = findings.iter().copied().map(finding_line);
        outcome(xml, "failure", &message(found.number(), ""), lines)?;
        if !exempted.is_empty() {
            let output = xml.create_element("system-out");
            output.write_inner_content(|xml| {
                texts(xml, exempted.iter().copied().map(exempted_line))
            })?;
        }
        Ok(())
    })?;
    Ok(())
}

fn exempted_line(exempted: &ExemptedReportFinding) -> String {
    format!("{}; {}", finding_line(&exempted.finding), exempted.explanation())
}

fn finding_line(finding: &ReportFinding) -> String {
    let ReportFinding { severity, message, .. } = finding;
    let ReportedObject { kind, name, file, .. } = &*finding.object;
    let place = match (file, finding.line) {
        (Some(file), Some(line)) => format!("{file}:{line}: "),
        _ => String::new(),
    };
    let found = clause(finding.container.as_deref(), message);
    format!("{place}{severity}: {kind}/{name}: {found}")
}

/// A suite of what could not be read, with the notes as its output; nothing where there is neither.
pub(super) fn coverage(
    xml: &mut Xml<'_>,
    failed: &[NotRead],
    notes: &[CoverageNote],
) -> io::Result<()> {
    if failed.is_empty() && notes.is_empty() {
        return Ok(());
    }
    let errors = failed.len().to_string();
    xml.create_element("testsuite")
        .with_attribute(("name", "coverage"))
        .with_attribute(("tests", errors.as_str()))
        .with_attribute(("failures", "0"))
        .with_attribute(("errors", errors.as_str()))
        .write_inner_content(|xml| {
            failed.iter().try_for_each(|failed| {
                xml.create_element("testcase")
                    .with_attribute(("classname", "coverage"))
                    .with_attribute(("name", &*printable(&failed.source)))
                    .write_inner_content(|xml| {
                        outcome(xml, "error", "not read", [failed.reason.clone()])
                    })?;
                Ok::<_, io::Error>(())
            })?;
            if !notes.is_empty() {
                let lines = notes.iter().map(|note| format!("{}: {}", note.source, note.message));
                let output = xml.create_element("system-out");
                output.write_inner_content(|xml| texts(xml, lines))?;
            }
            Ok(())
        })?;
    Ok(())
}

/// How a case ended, and why.
pub(super) fn outcome(
    xml: &mut Xml<'_>,
    element: &str,
    message: &str,
    lines: impl IntoIterator<Item = String>,
) -> io::Result<()> {
    xml.create_element(element)
        .with_attribute(("message", &*printable(message)))
        .write_inner_content(|xml| texts(xml, lines))?;
    Ok(())
}

/// Each text is one line: a line break in a name would begin a finding of its own.
fn texts(xml: &mut Xml<'_>, lines: impl IntoIterator<Item = String>) -> io::Result<()> {
    let mut separator = "";
    lines.into_iter().try_for_each(|line| {
        let line = format!("{separator}{}", printable(&line));
        separator = "\n";
        xml.write_event(Event::Text(BytesText::new(&line)))
    })
}
