//! The report for people: the summary, the namespaces, what was not read, and the findings
//! grouped by object. Fits 100 columns, but for the headings of objects with long names.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io;

use anstyle::{AnsiColor, Style};

use policy_core::checks::CheckId;
use policy_core::report::{
    ClusterSummary, ClustersReport, Coverage, CoverageNote, Report, ReportFinding, Summary,
};
use policy_core::score::Classification;
use policy_core::severity::Severity;
use policy_core::text::{counted, printable};

pub(super) const WIDTH: usize = 100;
pub(super) const NO_PODS: &str = "n/a (no pods)";
/// The heads of the columns that tell a summary.
pub(super) const NUMBERS: &str = "SCORE  STATUS       PODS  COMPLIANT  VIOLATIONS";

/// Whether a table is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
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

    pub(super) fn severity(self, text: impl Display, severity: Severity) -> String {
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

    pub(super) fn class(self, text: impl Display, class: Classification) -> String {
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

    pub(super) fn bold(self, text: impl Display) -> String {
        self.paint(text, Style::new().bold())
    }
}

pub(super) fn write(report: &Report, colours: Colours, out: &mut dyn io::Write) -> io::Result<()> {
    let mut table = Table { out, colours };
    table.summary(&report.summary)?;
    table.row("Judged by", printable(&report.policy))?;
    table.compliant(&report.summary)?;
    table.coverage(&report.coverage)?;
    table.namespaces(report)?;
    table.not_read(&report.coverage)?;
    table.notes(&report.coverage)?;
    table.findings(report)
}

/// The report on several clusters.
pub(super) fn write_clusters(
    report: &ClustersReport,
    colours: Colours,
    per_cluster: bool,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut table = Table { out, colours };
    table.summary(&report.summary)?;
    table.compliant(&report.summary)?;
    table.clusters(&report.clusters)?;
    if per_cluster {
        for cluster in &report.clusters {
            table.heading(format_args!("cluster {}", printable(&cluster.context)))?;
            match (&cluster.summary, &cluster.same_cluster_as) {
                (Some(summary), _) => {
                    table.summary(summary)?;
                    table.compliant(summary)?;
                    table.coverage(&cluster.coverage)?;
                }
                (None, Some(other)) => {
                    table.line(format_args!("  the same cluster as {}", printable(other)))?;
                }
                (None, None) => table.line("  not read")?,
            }
        }
    }
    Ok(())
}

pub(super) struct Table<'a> {
    pub(super) out: &'a mut dyn io::Write,
    pub(super) colours: Colours,
}

impl Table<'_> {
    /// A text on as many lines as it takes.
    pub(super) fn wrapped(&mut self, indent: &str, text: &str) -> io::Result<()> {
        let text = printable(text);
        let lines = textwrap::wrap(&text, WIDTH - indent.chars().count());
        lines.iter().try_for_each(|line| self.line(format_args!("{indent}{line}")))
    }

    pub(super) fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// A heading, after an empty line.
    pub(super) fn heading(&mut self, text: impl Display) -> io::Result<()> {
        let heading = self.colours.bold(text);
        self.line(format_args!("\n{heading}"))
    }

    pub(super) fn row(&mut self, label: &str, value: impl Display) -> io::Result<()> {
        self.line(format_args!("{label:<27}: {value}"))
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        self.line("===== DevOps Governance Summary =====")?;
        self.row("Workload Pods Analyzed", summary.pods)?;
        for check in CheckId::all() {
            let label = check.meta().summary_label;
            match summary.violations_by_check.get(check.as_str()) {
                None => self.row(label, "not checked")?,
                Some(_) if check.meta().counts_restarts => {
                    self.row(label, summary.restart_severity)?;
                }
                Some(findings) => self.row(label, findings)?,
            }
        }
        self.line("-".repeat(38))?;
        if summary.pods == 0 {
            self.row("Cluster Health Score", NO_PODS)?;
            self.row("Cluster Status", NO_PODS)?;
        } else {
            let class = summary.classification;
            self.row("Cluster Health Score", self.colours.class(summary.score, class))?;
            self.row("Cluster Status", self.colours.class(class, class))?;
        }
        self.line("=".repeat(38))
    }

    fn compliant(&mut self, summary: &Summary) -> io::Result<()> {
        match summary.pods {
            0 => self.row("Compliant pods", NO_PODS),
            pods => {
                let compliant = summary.compliant_pods;
                self.row("Compliant pods", format_args!("{compliant} of {pods}"))
            }
        }
    }

    pub(super) fn coverage(&mut self, coverage: &Coverage) -> io::Result<()> {
        let Coverage { evaluated, skipped, failed, .. } = coverage;
        let failed = failed.len();
        self.row(
            "Coverage",
            format_args!("{evaluated} evaluated, {skipped} skipped, {failed} not read"),
        )?;
        let parts: Vec<String> = [
            (coverage.other_kinds, "of other kinds"),
            (coverage.excluded_namespaces, "in excluded namespaces"),
            (coverage.ended, "ended"),
            (coverage.controlled, "counted with the object that controls them"),
        ]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, why)| format!("{number} {why}"))
        .collect();
        if parts.is_empty() { Ok(()) } else { self.row("Skipped", parts.join(", ")) }
    }

    /// The cells under [`NUMBERS`].
    pub(super) fn numbers(&self, summary: Option<&Summary>) -> String {
        match summary {
            Some(summary) if summary.pods > 0 => {
                let Summary { score, classification: class, pods, .. } = summary;
                let Summary { compliant_pods, total_violations, .. } = summary;
                let status = self.colours.class(format_args!("{class:<9}"), *class);
                format!(
                    "{score:>5}  {status} {pods:>7} {compliant_pods:>10} {total_violations:>11}"
                )
            }
            Some(_) => format!("{:>5}  {:<9} {:>7} {:>10} {:>11}", "n/a", "no pods", 0, 0, 0),
            None => format!("{:>5}  {:<9} {:>7} {:>10} {:>11}", "n/a", "n/a", "-", "-", "-"),
        }
    }

    fn clusters(&mut self, clusters: &[ClusterSummary]) -> io::Result<()> {
        const MOST: usize = 36;
        let names: Vec<String> = clusters
            .iter()
            .map(|cluster| shortened(&printable(&cluster.context), MOST).into_owned())
            .collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(7);
        self.heading(format_args!("{:<width$}  {NUMBERS}  READ", "CONTEXT"))?;
        for (name, cluster) in names.iter().zip(clusters) {
            let state = cluster.state.as_str();
            let row = self.numbers(cluster.summary.as_ref());
            self.line(format_args!("{name:<width$}  {row}  {state}"))?;
        }
        for cluster in clusters {
            let context = printable(&cluster.context);
            if let Some(other) = &cluster.same_cluster_as {
                let other = printable(other);
                self.heading(format_args!("{context}: the same cluster as {other}, counted once"))?;
            }
            if !cluster.coverage.failed.is_empty() {
                self.heading(format_args!("Not read of {context}:"))?;
                self.failures(&cluster.coverage)?;
            }
        }
        Ok(())
    }

    fn namespaces(&mut self, report: &Report) -> io::Result<()> {
        const MOST: usize = 48;
        if report.namespaces.len() < 2 {
            return Ok(());
        }
        let names: Vec<String> = report
            .namespaces
            .iter()
            .map(|found| shortened(&printable(&found.namespace), MOST).into_owned())
            .collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(9);
        self.heading(format_args!("{:<width$}  {NUMBERS}", "NAMESPACE"))?;
        for (name, found) in names.iter().zip(&report.namespaces) {
            let row = self.numbers(Some(&found.summary));
            self.line(format_args!("{name:<width$}  {row}"))?;
        }
        Ok(())
    }

    pub(super) fn not_read(&mut self, coverage: &Coverage) -> io::Result<()> {
        if !coverage.failed.is_empty() {
            self.heading("Not read:")?;
        }
        self.failures(coverage)
    }

    fn failures(&mut self, coverage: &Coverage) -> io::Result<()> {
        coverage.failed.iter().try_for_each(|failed| {
            self.line(format_args!(
                "  {}: {}",
                printable(&failed.source),
                printable(&failed.reason)
            ))
        })
    }

    pub(super) fn notes(&mut self, coverage: &Coverage) -> io::Result<()> {
        const MOST: usize = 10;
        if !coverage.notes.is_empty() {
            self.heading("Notes:")?;
        }
        for CoverageNote { source, message, .. } in coverage.notes.iter().take(MOST) {
            let note = format!("{source}: {message}");
            let lines =
                textwrap::wrap(&note, textwrap::Options::new(WIDTH - 2).subsequent_indent("  "));
            lines.iter().try_for_each(|line| self.line(format_args!("  {}", printable(line))))?;
        }
        match coverage.notes.len().saturating_sub(MOST) {
            0 => Ok(()),
            more => self.line(format_args!("  and {more} more (-o json lists them)")),
        }
    }

    pub(super) fn findings(&mut self, report: &Report) -> io::Result<()> {
        let object = |finding: &ReportFinding| {
            let ReportFinding { namespace, kind, name, file, object_line, document, .. } = finding;
            (namespace.clone(), *kind, name.clone(), file.clone(), *object_line, *document)
        };
        let objects = || report.findings.chunk_by(|a, b| object(a) == object(b));
        if report.findings.is_empty() {
            return Ok(());
        }
        let severities = report.summary.by_severity().filter_map(|(severity, number)| {
            let text = format_args!("{number} {severity}").to_string();
            (number > 0).then(|| self.colours.severity(text, severity))
        });
        let severities = severities.collect::<Vec<_>>().join(", ");
        self.line(format_args!(
            "\n{} in {}: {severities}",
            counted(report.summary.total_violations, "finding"),
            counted(objects().count() as u64, "object"),
        ))?;
        for findings in objects() {
            if let Some(first) = findings.first() {
                self.heading(object_title(first))?;
            }
            for severity in Severity::ALL {
                let found = findings.iter().filter(|found| found.severity == severity);
                found.into_iter().try_for_each(|found| self.finding(found))?;
            }
        }
        match report.findings_cut {
            0 => Ok(()),
            cut => self.heading(format_args!("{cut} more findings are counted, but not listed")),
        }
    }

    fn finding(&mut self, finding: &ReportFinding) -> io::Result<()> {
        let place = finding.line.map(|line| line.to_string()).unwrap_or_default();
        let severity = finding.severity;
        let indent = " ".repeat(19);
        let message = match &finding.container {
            Some(container) => format!("{}: {}", printable(container), finding.message),
            None => finding.message.to_string(),
        };
        let lines = textwrap::wrap(&message, WIDTH - indent.len());
        let severity = self.colours.severity(format_args!("{severity:<8}"), severity);
        let text = lines.join(&format!("\n{indent}"));
        self.line(format_args!("{place:>7}  {severity}  {text}"))
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

/// The text, cut to so many characters.
pub(super) fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    if text.chars().nth(most).is_none() {
        return text.into();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…").into()
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn long_text_is_cut() {
        assert_eq!((shortened("abcd", 4), shortened("abcde", 4)), ("abcd".into(), "abc…".into()));
    }
}
