//! `JUnit` XML for CI systems: a suite for each namespace, a case for each check that ran, and a
//! suite for what could not be read.

use std::collections::BTreeMap;
use std::io;

use policy_core::report::{NamespaceSummary, NotRead, Report, ReportFinding, ReportedObject};
use policy_core::text::{container_or_volume, counted, printable};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

pub(super) type Xml<'a> = Writer<&'a mut dyn io::Write>;
/// Findings by namespace and check.
type Findings<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a ReportFinding>>;

pub(super) fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let mut xml = Writer::new_with_indent(out, b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let failed = report.coverage.failed.len();
    let cases: usize = report.namespaces.iter().map(|n| n.summary.violations_by_check.len()).sum();
    let failures: usize = report.namespaces.iter().map(failing_checks).sum();
    let mut findings = Findings::new();
    for finding in &report.findings {
        findings
            .entry((&finding.object.namespace, finding.check.as_str()))
            .or_default()
            .push(finding);
    }
    let (tests, failures, errors) =
        ((cases + failed).to_string(), failures.to_string(), failed.to_string());
    xml.create_element("testsuites")
        .with_attribute(("name", "policyctl"))
        .with_attribute(("tests", tests.as_str()))
        .with_attribute(("failures", failures.as_str()))
        .with_attribute(("errors", errors.as_str()))
        .write_inner_content(|xml| {
            report.namespaces.iter().try_for_each(|namespace| suite(xml, namespace, &findings))?;
            if failed > 0 { not_read(xml, &report.coverage.failed) } else { Ok(()) }
        })?;
    writeln!(xml.into_inner())
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
    let (tests, failures) = (checks.len().to_string(), failing_checks(namespace).to_string());
    xml.create_element("testsuite")
        .with_attribute(("name", &*name))
        .with_attribute(("tests", tests.as_str()))
        .with_attribute(("failures", failures.as_str()))
        .with_attribute(("errors", "0"))
        .write_inner_content(|xml| {
            checks.keys().try_for_each(|check| {
                let found = findings.get(&(&*namespace.namespace, check));
                case(xml, &name, check, found.map_or(&[], Vec::as_slice))
            })
        })?;
    Ok(())
}

fn case(
    xml: &mut Xml<'_>,
    namespace: &str,
    check: &str,
    findings: &[&ReportFinding],
) -> io::Result<()> {
    let element = xml
        .create_element("testcase")
        .with_attribute(("classname", namespace))
        .with_attribute(("name", check));
    if findings.is_empty() {
        element.write_empty()?;
        return Ok(());
    }
    let lines = || findings.iter().map(|finding| finding_line(finding));
    let message =
        format!("{} of {check} in {namespace}", counted(findings.len() as u64, "finding"));
    element.write_inner_content(|xml| failure(xml, "failure", &message, lines()))?;
    Ok(())
}

fn finding_line(finding: &ReportFinding) -> String {
    let ReportFinding { severity, message, .. } = finding;
    let ReportedObject { kind, name, file, .. } = &*finding.object;
    let place = match (file, finding.line) {
        (Some(file), Some(line)) => format!("{file}:{line}: "),
        _ => String::new(),
    };
    let container = finding.container.as_deref().map(container_or_volume);
    let container = container.map(|(what, name)| format!("{what} {name} ")).unwrap_or_default();
    format!("{place}{severity}: {kind}/{name}: {container}{message}")
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
                        failure(xml, "error", "not read", [failed.reason.clone()])
                    })?;
                Ok(())
            })
        })?;
    Ok(())
}

/// Each text is one line: a line break in a name would begin a finding of its own.
pub(super) fn failure(
    xml: &mut Xml<'_>,
    element: &str,
    message: &str,
    lines: impl IntoIterator<Item = String>,
) -> io::Result<()> {
    xml.create_element(element)
        .with_attribute(("message", &*printable(message)))
        .write_inner_content(|xml| {
            let mut separator = "";
            lines.into_iter().try_for_each(|line| {
                let line = format!("{separator}{}", printable(&line));
                separator = "\n";
                xml.write_event(Event::Text(BytesText::new(&line)))
            })
        })?;
    Ok(())
}
