//! The table of `analyze`: the summary, the namespaces, what could not be read, and the findings
//! grouped by object or workload.

use std::fmt::Write as _;
use std::io;

use policy_core::checks::{CheckId, CheckName};
use policy_core::policy::CompiledPolicy;
use policy_core::report::{
    BaselineCounts, Coverage, CoverageNote, DeniedObjects, ExemptedReportFinding, NotRead, Report,
    ReportedObject, Source, Summary, WorkloadFinding, WorkloadFindings,
};
use policy_core::score::Classification;
use policy_core::severity::Severity;
use policy_core::text::{counted, printable};
use policy_core::workload::Workload;

use super::layout::{Cell, Column, Table, TableStyle, class_style, severity_style};

/// What stands for a score where there are no pods.
pub(super) const NO_PODS: &str = "n/a (no pods)";
/// What stands for a score where something could not be read and nothing else was evaluated.
pub(super) const NOT_READ: &str = "n/a (nothing could be read)";

/// The score and its class, or what stands for them.
pub(super) fn scored(summary: &Summary) -> Result<(u8, Classification), &'static str> {
    match (summary.score, summary.classification) {
        (Some(_), _) if summary.pods == 0 => Err(NO_PODS),
        (Some(score), Some(class)) => Ok((score, class)),
        _ => Err(NOT_READ),
    }
}

pub(super) fn write(report: &Report, style: TableStyle, out: &mut dyn io::Write) -> io::Result<()> {
    let mut table = Table { out, style };
    table.summary(&report.summary)?;
    table.row("Judged by", printable(&report.policy))?;
    table.compliant(&report.summary)?;
    table.baseline(report.baseline)?;
    table.coverage(&report.coverage)?;
    table.namespaces(report)?;
    table.not_read(&report.coverage)?;
    table.notes(&report.coverage)?;
    table.denied(report.denied.as_ref())?;
    table.findings(report)?;
    table.exempted(&report.exempted, report.summary.exempted_violations)
}

/// A column of names, then those under which [`numbers`] stands.
pub(super) fn summary_columns(name: &'static str) -> Vec<Column<'static>> {
    use Column::{Left, Name, Right};
    let numbers = [Right("PODS"), Right("COMPLIANT"), Right("VIOLATIONS")];
    [Name(name), Right("SCORE"), Left("STATUS")].into_iter().chain(numbers).collect()
}

/// A row under [`summary_columns`].
pub(super) fn summary_row(name: &str, summary: Option<&Summary>) -> Vec<Cell> {
    let (score, status) = match summary {
        Some(Summary { pods: 1.., score: Some(score), classification: Some(class), .. }) => {
            (Cell::new(score), Cell::styled(class, class_style(*class)))
        }
        Some(Summary { score: None, .. }) => (Cell::new("n/a"), Cell::new("not read")),
        Some(_) => (Cell::new("n/a"), Cell::new("no pods")),
        None => (Cell::new("n/a"), Cell::new("n/a")),
    };
    let number = |number: fn(&Summary) -> u64| match summary {
        Some(summary) => Cell::new(number(summary)),
        None => Cell::new("-"),
    };
    let numbers =
        [number(|s| s.pods), number(|s| s.compliant_pods), number(|s| s.total_violations)];
    [Cell::new(name), score, status].into_iter().chain(numbers).collect()
}

impl Table<'_> {
    pub(super) fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        self.line("===== DevOps Governance Summary =====")?;
        self.row("Workload Pods Analyzed", summary.pods)?;
        let default_profile = CompiledPolicy::default_profile();
        for check in CheckId::all() {
            let label = check.meta().summary_label;
            match summary.violations_by_check.get(check.as_str()) {
                // A check that not even the built-in profile has is shown to who asked for it.
                None if !default_profile.is_enabled(check)
                    && !summary.not_judged.contains(&check) => {}
                None => self.row(label, "not checked")?,
                Some(_) if check.meta().counts_restarts => {
                    self.row(label, summary.restart_severity)?;
                }
                Some(findings) => self.row(label, findings)?,
            }
        }
        if let Some(findings) = summary.violations_by_check.get(CheckName::CUSTOM_LABEL) {
            self.row("Custom check violations", findings)?;
        }
        self.line("-".repeat(38))?;
        let (score, status) = match scored(summary) {
            Ok((score, class)) => {
                let style = class_style(class);
                (self.style.paint(score, style), self.style.paint(class, style))
            }
            Err(none) => (none.to_owned(), none.to_owned()),
        };
        self.row("Cluster Health Score", score)?;
        self.row("Cluster Status", status)?;
        self.line("=".repeat(38))
    }

    pub(super) fn compliant(&mut self, summary: &Summary) -> io::Result<()> {
        match (summary.score, summary.pods) {
            (None, _) => self.row("Compliant pods", NOT_READ),
            (Some(_), 0) => self.row("Compliant pods", NO_PODS),
            (Some(_), pods) => {
                let compliant = summary.compliant_pods;
                self.row("Compliant pods", format_args!("{compliant} of {pods}"))
            }
        }?;
        match summary.exempted_violations {
            0 => Ok(()),
            exempted => self.row("Exempted findings", exempted),
        }
    }

    fn baseline(&mut self, counts: Option<BaselineCounts>) -> io::Result<()> {
        let Some(BaselineCounts { new, unchanged, fixed, exempted, not_read, not_compared }) =
            counts
        else {
            return Ok(());
        };
        let mut text = format!("{new} new, {unchanged} known and not listed, {fixed} fixed");
        let others =
            [(exempted, "exempted"), (not_read, "not read"), (not_compared, "not compared")];
        for (number, what) in others.into_iter().filter(|(number, _)| *number > 0) {
            let _ = write!(text, ", {number} {what}");
        }
        self.row("Since the baseline", text)
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

    fn namespaces(&mut self, report: &Report) -> io::Result<()> {
        if report.namespaces.len() < 2 {
            return Ok(());
        }
        let rows = report.namespaces.iter();
        let rows = rows.map(|found| summary_row(&found.namespace, Some(&found.summary)));
        self.line("")?;
        self.columns("", &summary_columns("NAMESPACE"), &rows.collect::<Vec<_>>())
    }

    pub(super) fn not_read(&mut self, coverage: &Coverage) -> io::Result<()> {
        self.unread(&coverage.failed)
    }

    pub(super) fn unread(&mut self, failed: &[NotRead]) -> io::Result<()> {
        if !failed.is_empty() {
            self.heading("Not read:")?;
        }
        self.failures(failed)
    }

    pub(super) fn failures(&mut self, failed: &[NotRead]) -> io::Result<()> {
        failed.iter().try_for_each(|failed| {
            self.wrapped_printable("  ", &format!("{}: {}", failed.source, failed.reason))
        })
    }

    pub(super) fn notes(&mut self, coverage: &Coverage) -> io::Result<()> {
        const MOST: usize = 10;
        if !coverage.notes.is_empty() {
            self.heading("Notes:")?;
        }
        for CoverageNote { source, message, .. } in coverage.notes.iter().take(MOST) {
            self.wrapped_printable("  ", &format!("{source}: {message}"))?;
        }
        match coverage.notes.len().saturating_sub(MOST) {
            0 => Ok(()),
            more => self.line(format_args!("  and {more} more (-o json lists them)")),
        }
    }

    /// The objects that admission would deny, where that was judged.
    pub(super) fn denied(&mut self, denied: Option<&DeniedObjects>) -> io::Result<()> {
        let Some(denied) = denied else { return Ok(()) };
        if denied.is_empty() {
            return self.heading("Admission would deny none of these objects");
        }
        self.heading(format_args!("Admission would deny {}:", denied.number()))?;
        for object in &denied.objects {
            self.wrapped_printable("  ", &object.to_string())?;
        }
        match denied.more_than(denied.objects.len()) {
            None => Ok(()),
            Some(more) => self.line(format_args!("  {more}")),
        }
    }

    pub(super) fn findings(&mut self, report: &Report) -> io::Result<()> {
        if report.findings.is_empty() {
            return Ok(());
        }
        match report.source {
            Source::Files { .. } => self.findings_by_object(report)?,
            Source::Cluster { .. } => self.findings_by_workload(report)?,
        }
        match report.findings_cut {
            0 => Ok(()),
            cut => {
                let more = counted(cut, "more finding");
                self.heading(format_args!("{more} counted, but not listed"))
            }
        }
    }

    /// The findings of manifests, at the lines that are to be changed.
    fn findings_by_object(&mut self, report: &Report) -> io::Result<()> {
        let objects = || report.findings.chunk_by(|a, b| a.object.is_at_place_of(&b.object));
        self.findings_title(report, &counted(objects().count() as u64, "object"))?;
        for findings in objects() {
            if let Some(first) = findings.first() {
                self.heading(object_title(&first.object))?;
            }
            for severity in Severity::ALL {
                let found = findings.iter().filter(|found| found.severity == severity);
                found.into_iter().try_for_each(|found| {
                    let line = found.line.map(|line| line.to_string()).unwrap_or_default();
                    self.finding(&line, severity, found.container.as_deref(), &found.message)
                })?;
            }
        }
        Ok(())
    }

    /// The findings of pods, those of the replicas of one workload as one.
    fn findings_by_workload(&mut self, report: &Report) -> io::Result<()> {
        let workloads = report.workloads();
        self.findings_title(report, &counted(workloads.len() as u64, "workload"))?;
        for WorkloadFindings { namespace, workload, findings, .. } in workloads.iter() {
            let Workload { kind, name, .. } = workload;
            let [namespace, kind, name] = [namespace, &**kind, &**name].map(printable);
            self.heading(format_args!("{namespace}  {kind}/{name}"))?;
            for WorkloadFinding { severity, container, message, pods, .. } in findings {
                let pods = (!workload.is_pod()).then(|| format!(" ({})", counted(pods, "pod")));
                let message = format!("{message}{}", pods.unwrap_or_default());
                self.finding("", severity, container, &message)?;
            }
        }
        Ok(())
    }

    /// The findings that are known and accepted, with the reason.
    pub(super) fn exempted(
        &mut self,
        exempted: &[ExemptedReportFinding],
        total: u64,
    ) -> io::Result<()> {
        const MOST: usize = 50;
        if total == 0 {
            return Ok(());
        }
        self.heading(format_args!("{} exempted by the policy:", counted(total, "finding")))?;
        let shown = exempted.iter().take(MOST);
        let more = total.saturating_sub(shown.len() as u64);
        for exempted in shown {
            let finding = &exempted.finding;
            let ReportedObject { namespace, kind, name, .. } = &*finding.object;
            let container = finding.container.as_ref().map(|name| format!("{name}: "));
            let line = format!(
                "{namespace}  {kind}/{name}  {}{}; {}",
                container.unwrap_or_default(),
                finding.message,
                exempted.explanation(),
            );
            self.wrapped_printable("  ", &line)?;
        }
        match more {
            0 => Ok(()),
            more => self.line(format_args!("  and {more} more (-o json lists them)")),
        }
    }

    fn findings_title(&mut self, report: &Report, found_in: &str) -> io::Result<()> {
        let severities = report.summary.by_severity().filter_map(|(severity, number)| {
            let text = format_args!("{number} {severity}").to_string();
            (number > 0).then(|| self.style.paint(text, severity_style(severity)))
        });
        let severities = severities.collect::<Vec<_>>().join(", ");
        let findings = counted(report.summary.total_violations, "finding");
        self.line(format_args!("\n{findings} in {found_in}: {severities}"))
    }

    fn finding(
        &mut self,
        line: &str,
        severity: Severity,
        container: Option<&str>,
        message: &str,
    ) -> io::Result<()> {
        let severity = self.style.paint(format_args!("{severity:<8}"), severity_style(severity));
        let first = format!("{line:>7}  {severity}  ");
        match container {
            Some(container) => self.wrapped_printable(&first, &format!("{container}: {message}")),
            None => self.wrapped_printable(&first, message),
        }
    }
}

/// `shop  Deployment/web  app.yaml:12`, with the workload where that is another object.
fn object_title(object: &ReportedObject) -> String {
    let ReportedObject { namespace, kind, name, workload, file, line, .. } = object;
    let mut title = format!("{}  {kind}/{}", printable(namespace), printable(name));
    if *workload.kind != **kind || workload.name != *name {
        let _ = write!(title, " of {}/{}", printable(&workload.kind), printable(&workload.name));
    }
    if let (Some(file), Some(line)) = (file, line) {
        let _ = write!(title, "  {}:{line}", printable(file));
    }
    title
}
