//! `JUnit` XML for CI systems: a suite for each namespace, a case for each check that ran, and a
//! suite for what could not be read. A check whose findings are all exempted is skipped.

use std::collections::BTreeMap;
use std::io;

use policy_core::report::{
    ExemptedReportFinding, NamespaceSummary, NotRead, Report, ReportFinding, ReportedObject,
};
use policy_core::text::{clause, counted, printable};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

pub(super) type Xml<'a> = Writer<&'a mut dyn io::Write>;
/// Findings by namespace and check.
type Findings<'a> = BTreeMap<(&'a str, &'a str), Found<'a>>;

/// The findings of a check in a namespace.
#[derive(Default)]
struct Found<'a> {
    findings: Vec<&'a ReportFinding>,
    exempted: Vec<&'a ExemptedReportFinding>,
}

impl Found<'_> {
    /// Whether all are exempted.
    fn is_skipped(&self) -> bool {
        self.findings.is_empty() && !self.exempted.is_empty()
    }
}

pub(super) fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let mut xml = Writer::new_with_indent(out, b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let failed = report.coverage.failed.len();
    let cases: usize = report.namespaces.iter().map(|n| n.summary.violations_by_check.len()).sum();
    let failures: usize = report.namespaces.iter().map(failing_checks).sum();
    let mut findings = Findings::new();
    for finding in &report.findings {
        findings.entry(key(finding)).or_default().findings.push(finding);
    }
    for exempted in &report.exempted {
        findings.entry(key(&exempted.finding)).or_default().exempted.push(exempted);
    }
    let skipped = findings.values().filter(|found| found.is_skipped()).count();
    let [tests, failures, errors, skipped] =
        [cases + failed, failures, failed, skipped].map(|number| number.to_string());
    xml.create_element("testsuites")
        .with_attribute(("name", "policyctl"))
        .with_attribute(("tests", tests.as_str()))
        .with_attribute(("failures", failures.as_str()))
        .with_attribute(("errors", errors.as_str()))
        .with_attribute(("skipped", skipped.as_str()))
        .write_inner_content(|xml| {
            report.namespaces.iter().try_for_each(|namespace| suite(xml, namespace, &findings))?;
            if failed > 0 { not_read(xml, &report.coverage.failed) } else { Ok(()) }
        })?;
    writeln!(xml.into_inner())
}

fn key(finding: &ReportFinding) -> (&str, &str) {
    (&finding.object.namespace, finding.check.label())
}

fn failing_checks(namespace: &NamespaceSummary) -> usize {
    namespace.summary.violations_by_check.values().filter(|number| **number > 0).count()
}

fn suite(
    xml: &mut Xml<'_>,
    namespace: &NamespaceSummary,
    findings: &Findings<'_>,
) -> io::Result<()> {
    let checks = &namespace.summary.violations_by_check;
    let name = printable(&namespace.namespace);
    let of_check = |check| findings.get(&(&*namespace.namespace, check));
    let skipped = checks.keys().filter_map(|check| of_check(check)).filter(|f| f.is_skipped());
    let [tests, failures, skipped] =
        [checks.len(), failing_checks(namespace), skipped.count()].map(|number| number.to_string());
    xml.create_element("testsuite")
        .with_attribute(("name", &*name))
        .with_attribute(("tests", tests.as_str()))
        .with_attribute(("failures", failures.as_str()))
        .with_attribute(("errors", "0"))
        .with_attribute(("skipped", skipped.as_str()))
        .write_inner_content(|xml| {
            checks.keys().try_for_each(|check| case(xml, &name, check, of_check(check)))
        })?;
    Ok(())
}

fn case(
    xml: &mut Xml<'_>,
    namespace: &str,
    check: &str,
    found: Option<&Found<'_>>,
) -> io::Result<()> {
    let element = xml
        .create_element("testcase")
        .with_attribute(("classname", namespace))
        .with_attribute(("name", check));
    let Some(found @ Found { findings, exempted }) = found else {
        element.write_empty()?;
        return Ok(());
    };
    let message = |number: usize, exempted: &str| {
        let number = counted(number as u64, "finding");
        format!("{number} of {check} in {namespace}{exempted}")
    };
    element.write_inner_content(|xml| {
        if found.is_skipped() {
            let message = message(exempted.len(), ", exempted by the policy");
            return outcome(xml, "skipped", &message, exempted.iter().copied().map(exempted_line));
        }
        let lines = findings.iter().copied().map(finding_line);
        outcome(xml, "failure", &message(findings.len(), ""), lines)?;
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

/// A suite of what could not be read.
pub(super) fn not_read(xml: &mut Xml<'_>, failed: &[NotRead]) -> io::Result<()> {
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
                Ok(())
            })
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
