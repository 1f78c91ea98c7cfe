//! The renderers: a report of `policy_core::report` as table, JSON, YAML, and in the forms of forges and
//! viewers. The same report gives the same bytes.

mod admission;
mod changes;
mod clusters;
mod code_quality;
mod explanation;
mod finding;
mod html;
mod json;
mod junit;
mod layout;
mod markdown;
mod open_reports;
mod policies;
mod preview;
mod remarks;
mod remediations;
mod rows;
mod sarif;
mod table;
mod tested;
#[cfg(test)]
mod tests;

use std::io;

use anyhow::Context as _;
use policy_core::report::{
    AdmissionReport, Explanation, PolicyTestReport, Preview, RemediationReport, Report,
};
use serde::Serialize;

pub(crate) use changes::{write as write_changes, write_markdown as write_changes_as_markdown};
pub(crate) use clusters::{markdown as clusters_as_markdown, write as write_clusters};
pub(crate) use json::json;
pub(crate) use layout::TableStyle;
pub(crate) use policies::{PolicyReports, write as write_policies};
pub(crate) use remarks::comments;

/// How the report of `analyze` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The summary, then the findings by object, for people.
    Table(TableStyle),
    /// JSON, as docs/analysis.schema.json describes it.
    Json,
    /// The same as YAML.
    Yaml,
    /// SARIF 2.1.0 for code scanning, with at most 5 000 results; the rest is counted.
    Sarif,
    /// `JUnit` XML: a suite for each namespace, a case for each check.
    Junit,
    /// Markdown as GitHub and GitLab show it, short enough for a comment.
    Markdown,
    /// One page of HTML that refers to nothing outside.
    Html,
    /// The Code Quality report of GitLab, with at most 5 000 findings.
    CodeQuality,
    /// Reports of openreports.io/v1alpha1, one for each namespace.
    OpenReports,
}

/// Writes the report of `analyze`. The whole text is never held in memory: it is many times the
/// size of the report.
pub(crate) fn write(
    report: &Report,
    format: Format,
    out: &mut dyn io::Write,
) -> anyhow::Result<()> {
    match format {
        Format::Table(style) => Ok(table::write(report, style, out)?),
        Format::Json => json(report, out),
        Format::Yaml => yaml(report, out),
        Format::Sarif => json(&sarif::render(report), out),
        Format::Junit => Ok(junit::write(report, out)?),
        Format::Markdown => Ok(out.write_all(markdown::render(report).as_bytes())?),
        Format::Html => Ok(html::write(report, out)?),
        Format::CodeQuality => code_quality::write(report, out),
        Format::OpenReports => open_reports::write(report, out),
    }
}

/// A report that has a table beside JSON and YAML.
pub(crate) trait Tabular: Serialize {
    fn write_table(&self, style: TableStyle, out: &mut dyn io::Write) -> io::Result<()>;
}

impl Tabular for AdmissionReport {
    fn write_table(&self, style: TableStyle, out: &mut dyn io::Write) -> io::Result<()> {
        admission::write(self, style, out)
    }
}

impl Tabular for Explanation {
    fn write_table(&self, style: TableStyle, out: &mut dyn io::Write) -> io::Result<()> {
        explanation::write(self, style, out)
    }
}

impl Tabular for PolicyTestReport {
    fn write_table(&self, style: TableStyle, out: &mut dyn io::Write) -> io::Result<()> {
        tested::write(self, style, out)
    }
}

impl Tabular for Preview {
    fn write_table(&self, style: TableStyle, out: &mut dyn io::Write) -> io::Result<()> {
        preview::write(self, style, out)
    }
}

impl Tabular for RemediationReport {
    fn write_table(&self, style: TableStyle, out: &mut dyn io::Write) -> io::Result<()> {
        remediations::write(self, style, out)
    }
}

/// Writes the result of tests as `JUnit` XML.
pub(crate) fn write_tests_as_junit(
    report: &PolicyTestReport,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    tested::write_junit(report, out)
}

pub(crate) fn yaml(value: &impl Serialize, mut out: &mut dyn io::Write) -> anyhow::Result<()> {
    serde_saphyr::to_io_writer(&mut out, value).context("cannot write the report as YAML")
}
