//! The report for people: the summary, the namespaces, what was not read, and the findings
//! grouped by object. Fits 100 columns.

use std::fmt::{Display, Write as _};

use anstyle::{AnsiColor, Style};

use super::text::{counted, printable, shortened};
use super::{Coverage, Report, ReportFinding, Summary};
use crate::checks::CheckId;
use crate::score::Classification;
use crate::severity::Severity;

const WIDTH: usize = 100;
const NO_PODS: &str = "n/a (no pods)";

/// Whether a table is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// Plain text.
    Off,
    /// ANSI sequences.
    On,
}

impl Colours {
    fn paint(self, text: impl Display, style: Style) -> String {
        match self {
            Self::Off => text.to_string(),
            Self::On => format!("{style}{text}{style:#}"),
        }
    }

    fn severity(self, text: impl Display, severity: Severity) -> String {
        self.paint(
            text,
            match severity {
                Severity::Critical => AnsiColor::Red.on_default().bold(),
                Severity::High => AnsiColor::Red.on_default(),
                Severity::Medium => AnsiColor::Yellow.on_default(),
                Severity::Low => AnsiColor::Cyan.on_default(),
            },
        )
    }

    fn class(self, text: impl Display, class: Classification) -> String {
        self.paint(
            text,
            match class {
                Classification::Healthy => AnsiColor::Green.on_default(),
                Classification::Stable => AnsiColor::Cyan.on_default(),
                Classification::Degraded => AnsiColor::Yellow.on_default(),
                Classification::Critical => AnsiColor::Red.on_default().bold(),
            },
        )
    }

    fn bold(self, text: impl Display) -> String {
        self.paint(text, Style::new().bold())
    }
}

pub(super) fn render(report: &Report, colours: Colours) -> String {
    let mut out = String::new();
    summary(&mut out, &report.summary, colours);
    row(&mut out, "Compliant pods", compliant(&report.summary));
    coverage(&mut out, &report.coverage);
    namespaces(&mut out, report, colours);
    not_read(&mut out, &report.coverage, colours);
    findings(&mut out, report, colours);
    out
}

fn line(out: &mut String, text: impl Display) {
    // Writing into a String cannot fail.
    let _ = writeln!(out, "{text}");
}

fn row(out: &mut String, label: &str, value: impl Display) {
    line(out, format_args!("{label:<27}: {value}"));
}

fn summary(out: &mut String, summary: &Summary, colours: Colours) {
    line(out, "===== DevOps Governance Summary =====");
    row(out, "Workload Pods Analyzed", summary.pods);
    for check in CheckId::all() {
        let label = check.meta().summary_label;
        match summary.violations_by_check.get(check.as_str()) {
            None => row(out, label, "not checked"),
            Some(_) if check.as_str() == "high-restarts" => {
                row(out, label, summary.restart_severity);
            }
            Some(findings) => row(out, label, findings),
        }
    }
    line(out, "-".repeat(38));
    if summary.pods == 0 {
        row(out, "Cluster Health Score", NO_PODS);
        row(out, "Cluster Status", NO_PODS);
    } else {
        let class = summary.classification;
        row(out, "Cluster Health Score", colours.class(summary.score, class));
        row(out, "Cluster Status", colours.class(class, class));
    }
    line(out, "=".repeat(38));
}

fn compliant(summary: &Summary) -> String {
    if summary.pods == 0 {
        return NO_PODS.to_owned();
    }
    format!("{} of {}", summary.compliant_pods, summary.pods)
}

fn coverage(out: &mut String, coverage: &Coverage) {
    let Coverage { evaluated, skipped, failed, .. } = coverage;
    let failed = failed.len();
    row(
        out,
        "Coverage",
        format_args!("{evaluated} evaluated, {skipped} skipped, {failed} not read"),
    );
    let parts: Vec<String> = [
        (coverage.other_kinds, "of other kinds"),
        (coverage.excluded_namespaces, "in excluded namespaces"),
        (coverage.ended, "ended"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, why)| format!("{number} {why}"))
    .collect();
    if !parts.is_empty() {
        row(out, "Skipped", parts.join(", "));
    }
}

fn namespaces(out: &mut String, report: &Report, colours: Colours) {
    const MOST: usize = 48;
    if report.namespaces.len() < 2 {
        return;
    }
    let names: Vec<String> = report
        .namespaces
        .iter()
        .map(|found| shortened(&printable(&found.namespace), MOST).into_owned())
        .collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(9);
    line(out, "");
    let head = format!(
        "{:<width$}  {:>5}  {:<9} {:>7} {:>10} {:>11}",
        "NAMESPACE", "SCORE", "STATUS", "PODS", "COMPLIANT", "VIOLATIONS"
    );
    line(out, colours.bold(head));
    for (name, found) in names.iter().zip(&report.namespaces) {
        let Summary { score, classification: class, pods, .. } = &found.summary;
        let Summary { compliant_pods, total_violations, .. } = &found.summary;
        let status = colours.class(format_args!("{class:<9}"), *class);
        line(
            out,
            format_args!(
                "{name:<width$}  {score:>5}  {status} {pods:>7} {compliant_pods:>10} {total_violations:>11}"
            ),
        );
    }
}

fn not_read(out: &mut String, coverage: &Coverage, colours: Colours) {
    if coverage.failed.is_empty() {
        return;
    }
    line(out, "");
    line(out, colours.bold("Not read:"));
    for failed in &coverage.failed {
        line(out, format_args!("  {}: {}", printable(&failed.source), printable(&failed.reason)));
    }
}

fn findings(out: &mut String, report: &Report, colours: Colours) {
    let object = |finding: &ReportFinding| {
        let ReportFinding { namespace, kind, name, file, object_line, document, .. } = finding;
        (namespace.clone(), *kind, name.clone(), file.clone(), *object_line, *document)
    };
    let objects: Vec<&[ReportFinding]> =
        report.findings.chunk_by(|a, b| object(a) == object(b)).collect();
    if objects.is_empty() {
        return;
    }
    line(out, "");
    let severities = Severity::ALL.into_iter().filter_map(|severity| {
        let number = report.findings.iter().filter(|f| f.severity == severity).count();
        (number > 0).then(|| colours.severity(format_args!("{number} {severity}"), severity))
    });
    line(
        out,
        format_args!(
            "{} in {}: {}",
            counted(report.findings.len() as u64, "finding"),
            counted(objects.len() as u64, "object"),
            severities.collect::<Vec<_>>().join(", ")
        ),
    );
    for findings in objects {
        if let Some(first) = findings.first() {
            line(out, "");
            line(out, colours.bold(object_title(first)));
        }
        for severity in Severity::ALL {
            for found in findings.iter().filter(|found| found.severity == severity) {
                finding(out, found, colours);
            }
        }
    }
}

/// `shop  Deployment/web  app.yaml:12`, and the workload where it is another object.
fn object_title(finding: &ReportFinding) -> String {
    let ReportFinding { namespace, kind, name, workload, .. } = finding;
    let mut title = format!("{}  {kind}/{}", printable(namespace), printable(name));
    if *workload.kind != **kind || workload.name != *name {
        let _ = write!(title, " of {}/{}", printable(&workload.kind), printable(&workload.name));
    }
    if let (Some(file), Some(line)) = (&finding.file, finding.object_line) {
        let _ = write!(title, "  {}:{line}", printable(file));
    }
    title
}

fn finding(out: &mut String, finding: &ReportFinding, colours: Colours) {
    let place = finding.line.map(|line| line.to_string()).unwrap_or_default();
    let severity = finding.severity;
    let prefix =
        format!("{place:>7}  {}  ", colours.severity(format_args!("{severity:<8}"), severity));
    let indent = " ".repeat(19);
    let message = match &finding.container {
        Some(container) => format!("{}: {}", printable(container), finding.message),
        None => finding.message.clone(),
    };
    let lines = textwrap::wrap(&message, WIDTH - indent.len());
    line(out, prefix + &lines.join(&format!("\n{indent}")));
}
