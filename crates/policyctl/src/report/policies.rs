//! The report of `analyze --policies cluster` for people.

use std::collections::BTreeMap;
use std::io;

use policy_core::report::{Coverage, Report};
use policy_core::text::printable;

use super::layout::{Cell, Table, TableStyle};
use super::table::{summary_columns, summary_row};

/// The policies of a cluster, each on the pods of its namespace.
pub(crate) struct PolicyReports {
    pub(crate) reports: Vec<Report>,
    /// How many pods the namespaces without a policy have.
    pub(crate) without_policy: BTreeMap<String, u64>,
    pub(crate) coverage: Coverage,
}

/// Writes the table of these reports.
pub(crate) fn write(
    PolicyReports { reports, without_policy, coverage }: &PolicyReports,
    style: TableStyle,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut table = Table { out, style };
    table.coverage(coverage)?;
    table.not_read(coverage)?;
    let row = |report: &Report| summary_row(&report.policy, Some(&report.summary));
    let without_policy = without_policy.iter().map(|(namespace, pods)| {
        let name = format!("none in namespace {namespace}");
        [Cell::new(name), Cell::new("n/a"), Cell::new("no policy"), Cell::new(pods)].into()
    });
    let rows: Vec<_> = reports.iter().map(row).chain(without_policy).collect();
    table.line("")?;
    table.columns("", &summary_columns("POLICY"), &rows)?;
    if reports.len() > 1 {
        table.line("\nEach policy has its own score; there is none for all of them.")?;
    }
    let has_more =
        |report: &&Report| !(report.findings.is_empty() && report.coverage.notes.is_empty());
    for report in reports.iter().filter(has_more) {
        table.heading(format_args!("Policy {}", printable(&report.policy)))?;
        table.denied(report.denied.as_ref())?;
        table.findings(report)?;
        table.notes(&report.coverage)?;
    }
    table.notes(coverage)?;
    Ok(())
}
