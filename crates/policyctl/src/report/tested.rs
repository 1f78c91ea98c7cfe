//! The table and the `JUnit` XML of `test`.

use std::fmt::Write as _;
use std::io;

use anstyle::{AnsiColor, Style};
use policy_core::manifest::ExpectedFinding;
use policy_core::report::{
    PolicyTestReport, TestFinding, TestResult, TestSummary, TestedExemptions, TestedFile,
    TestedObject,
};
use policy_core::text::{container_or_volume, counted, printable};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, Event};

use super::junit::{Xml, outcome};
use super::layout::{Table, TableStyle};

const ADDED: Style = AnsiColor::Green.on_default();
const REMOVED: Style = AnsiColor::Red.on_default();

pub(super) fn write(
    report: &PolicyTestReport,
    style: TableStyle,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut table = Table { out, style };
    report.files.iter().try_for_each(|file| table.tested_file(file))?;
    for error in &report.errors {
        let error = format!("error: {}: {}", error.source, error.reason);
        table.line(printable(&error))?;
    }
    if !report.errors.is_empty() {
        table.line("")?;
    }
    let TestSummary { passed, failed } = report.summary;
    let errors = report.errors.len() as u64;
    let errors = (errors > 0).then(|| format!(", {}", counted(errors, "error")));
    table.line(format_args!("{passed} passed, {failed} failed{}", errors.unwrap_or_default()))
}

impl Table<'_> {
    fn tested_file(&mut self, file: &TestedFile) -> io::Result<()> {
        let title = format!("{} ({})", file.file, file.policies.join(", "));
        self.line(self.style.paint(printable(&title), Style::new().bold()))?;
        file.tests.iter().try_for_each(|test| self.tested(file, test))?;
        self.line("")
    }

    fn tested(&mut self, file: &TestedFile, test: &TestedObject) -> io::Result<()> {
        let title = printable(&title(test, "  ")).into_owned();
        if test.result == TestResult::Passed {
            let outcome = test.object.outcome;
            let mut findings = counted(test.findings.len() as u64, "finding");
            if !test.exempted.findings.is_empty() {
                let _ = write!(findings, ", {} exempted", test.exempted.findings.len());
            }
            let note = if test.object.is_excluded { " (the namespace is excluded)" } else { "" };
            return self.line(format_args!("  ok    {title}: {outcome}, {findings}{note}"));
        }
        let failed = self.style.paint("FAIL", REMOVED.bold());
        let place = test.line.map(|line| format!("  {}:{line}", file.file)).unwrap_or_default();
        self.line(format_args!("  {failed}  {title}{}", printable(&place)))?;
        for (mark, line) in differences(test) {
            let style = match mark {
                Mark::Expected => REMOVED,
                Mark::Found => ADDED,
                Mark::Remark => Style::new(),
            };
            let line = format!("{}{}", mark.text(), printable(&line));
            self.line(format_args!("        {}", self.style.paint(line, style)))?;
        }
        Ok(())
    }
}

/// `shop  Deployment/web (what the test is about)`.
fn title(test: &TestedObject, separator: &str) -> String {
    let object = &test.object;
    let name = test.expected.as_ref().and_then(|expected| expected.name.as_deref());
    let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
    format!("{}{separator}{}/{}{name}", object.namespace, object.kind, object.name)
}

/// What a line of a difference is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Expected,
    Found,
    Remark,
}

impl Mark {
    const fn text(self) -> &'static str {
        match self {
            Self::Expected => "- ",
            Self::Found => "+ ",
            Self::Remark => "  ",
        }
    }
}

/// The differences of a failed test, line by line: what is expected before what was found.
fn differences(test: &TestedObject) -> Vec<(Mark, String)> {
    let object = &test.object;
    let Some(expected) = &test.expected else {
        let place = format!("{}:{}", object.file, object.line);
        return vec![(Mark::Remark, format!("{place}: no test names this object"))];
    };
    let mut lines = Vec::new();
    if let Some(wanted) = expected.admission.filter(|wanted| *wanted != object.outcome) {
        lines.push((Mark::Expected, format!("admission: {wanted}")));
        lines.push((Mark::Found, format!("admission: {}", object.outcome)));
        let message = object.message.iter().flat_map(|message| message.lines());
        let message = message.map(str::to_owned);
        let warnings = object.warnings.iter().map(|warning| format!("Warning: {warning}"));
        lines.extend(message.chain(warnings).map(|line| (Mark::Remark, format!("  {line}"))));
    }
    lines.extend(different("finding", &test.missing, &test.unexpected));
    let TestedExemptions { missing, unexpected, .. } = &test.exempted;
    lines.extend(different("exempted", missing, unexpected));
    lines
}

/// The differences of one list, whose members are called so.
fn different(
    what: &str,
    missing: &[ExpectedFinding],
    unexpected: &[TestFinding],
) -> Vec<(Mark, String)> {
    let missing = missing.iter().map(|ExpectedFinding { check, container, severity }| {
        let severity = severity.map(|severity| format!(", {severity}")).unwrap_or_default();
        let line = format!("{}{severity}", found(&check.as_str(), container.as_deref()));
        ((check.clone(), container.clone(), Mark::Expected), line)
    });
    let unexpected = unexpected.iter().map(|finding| {
        let TestFinding { check, container, severity, message } = finding;
        let line =
            format!("{}, {severity}: {message}", found(&check.as_str(), container.as_deref()));
        ((check.clone(), container.as_deref().map(str::to_owned), Mark::Found), line)
    });
    let mut findings: Vec<_> = missing.chain(unexpected).collect();
    findings.sort();
    findings.into_iter().map(|((_, _, mark), line)| (mark, format!("{what} {line}"))).collect()
}

/// `latest-tag of container web`.
fn found(check: &str, container: Option<&str>) -> String {
    container
        .map(container_or_volume)
        .map_or_else(|| check.to_owned(), |(what, name)| format!("{check} of {what} {name}"))
}

/// A suite for each test file, a case for each test, and a suite for what could not be read.
pub(super) fn write_junit(report: &PolicyTestReport, out: &mut dyn io::Write) -> io::Result<()> {
    let mut xml = Writer::new_with_indent(out, b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let TestSummary { passed, failed } = report.summary;
    let errors = report.errors.len() as u64;
    xml.create_element("testsuites")
        .with_attribute(("name", "policyctl"))
        .with_attribute(("tests", (passed + failed + errors).to_string().as_str()))
        .with_attribute(("failures", failed.to_string().as_str()))
        .with_attribute(("errors", errors.to_string().as_str()))
        .write_inner_content(|xml| {
            report.files.iter().try_for_each(|file| suite(xml, file))?;
            super::junit::coverage(xml, &report.errors, &[])
        })?;
    writeln!(xml.into_inner())
}

fn suite(xml: &mut Xml<'_>, file: &TestedFile) -> io::Result<()> {
    let failed = file.tests.iter().filter(|test| test.result == TestResult::Failed).count();
    let name = printable(&file.file);
    xml.create_element("testsuite")
        .with_attribute(("name", &*name))
        .with_attribute(("tests", file.tests.len().to_string().as_str()))
        .with_attribute(("failures", failed.to_string().as_str()))
        .with_attribute(("errors", "0"))
        .write_inner_content(|xml| {
            file.tests.iter().try_for_each(|test| {
                let title = title(test, " ");
                let case = xml
                    .create_element("testcase")
                    .with_attribute(("classname", &*name))
                    .with_attribute(("name", &*printable(&title)));
                if test.result == TestResult::Passed {
                    return case.write_empty().map(drop);
                }
                let lines = differences(test);
                let lines = lines.into_iter().map(|(mark, line)| format!("{}{line}", mark.text()));
                case.write_inner_content(|xml| {
                    outcome(xml, "failure", "another verdict than expected", lines)
                })
                .map(drop)
            })
        })?;
    Ok(())
}
