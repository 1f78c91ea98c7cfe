//! One page of HTML: summary, explanation of the checks, and a table of findings that its reader can
//! sort. It refers to nothing outside, and every text from a manifest is escaped.

use std::collections::BTreeSet;
use std::io::{self, Write};

use policy_core::checks::{CheckId, CheckMeta};
use policy_core::report::{ExemptedReportFinding, NotRead, Report, ReportedObject};
use policy_core::score::Classification;
use policy_core::severity::Severity;
use policy_core::text::{counted, printable};
use quick_xml::escape::escape;

use super::rows::{Row, rows};
use super::table::scored;

/// Nothing is loaded, whatever a text holds.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/sort.js");

pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <title>Kubernetes governance report</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>Kubernetes governance report</h1>\n"
    )?;
    summary(report, out)?;
    not_read(report, out)?;
    denied(report, out)?;
    findings(report, out)?;
    exempted(report, out)?;
    checks(report, out)?;
    write!(out, "<script>\n{SCRIPT}</script>\n</body>\n</html>\n")
}

fn text(text: &str) -> String {
    escape(printable(text)).into_owned()
}

fn summary(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let summary = &report.summary;
    let (score, class) = match scored(summary) {
        Ok((score, class)) => (format!("{score} {}", class.as_str()), class.as_str()),
        Err(none) => (none.to_owned(), ""),
    };
    writeln!(
        out,
        "<p class=\"score {}\">{score}</p>\n<p>{}, {} compliant, {}. Judged by {}.</p>",
        class.to_lowercase(),
        counted(summary.pods, "pod"),
        summary.compliant_pods,
        counted(summary.total_violations, "finding"),
        text(&report.policy),
    )?;
    if report.namespaces.len() > 1 {
        head(
            out,
            "Namespaces",
            &["Namespace", "Score", "Status", "Pods", "Compliant", "Findings"],
        )?;
        for found in &report.namespaces {
            let summary = &found.summary;
            let score = summary.score.map(|score| score.to_string()).unwrap_or_default();
            let class = summary.classification.map(Classification::as_str).unwrap_or_default();
            writeln!(
                out,
                "<tr><td>{}<td>{score}<td>{class}<td>{}<td>{}<td>{}",
                text(&found.namespace),
                summary.pods,
                summary.compliant_pods,
                summary.total_violations,
            )?;
        }
        writeln!(out, "</tbody>\n</table>")?;
    }
    Ok(())
}

/// The start of a table.
fn head(out: &mut dyn Write, title: &str, columns: &[&str]) -> io::Result<()> {
    let columns = columns.join("<th>");
    writeln!(out, "<h2>{title}</h2>\n<table>\n<thead><tr><th>{columns}</thead>\n<tbody>")
}

fn not_read(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let failed = &report.coverage.failed;
    if failed.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>Not read</h2>\n<ul>")?;
    for NotRead { source, reason, .. } in failed {
        writeln!(out, "<li>{}: {}", text(source), text(reason))?;
    }
    writeln!(out, "</ul>")
}

fn denied(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let Some(denied) = report.denied.as_ref().filter(|denied| denied.total > 0) else {
        return Ok(());
    };
    writeln!(out, "<h2>Admission would deny {}</h2>\n<ul>", counted(denied.total, "object"))?;
    for object in &denied.objects {
        writeln!(out, "<li>{}", text(&object.to_string()))?;
    }
    writeln!(out, "</ul>")
}

fn findings(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.summary.total_violations == 0 {
        return writeln!(out, "<p>Nothing was found.</p>");
    }
    let columns = ["Severity", "Namespace", "Object", "Container", "Finding", "Check", "Place"];
    head(out, "Findings", &columns)?;
    for row in rows(report) {
        let Row { severity, check, namespace, object, container, message, place } = row;
        let rank = Severity::ALL.iter().position(|one| *one == severity).unwrap_or_default();
        writeln!(
            out,
            "<tr class=\"{severity}\"><td data-rank=\"{rank}\">{severity}<td>{}<td>{}<td>{}<td>{}\
             <td>{}<td>{}",
            text(namespace),
            text(&object),
            text(container.as_deref().unwrap_or_default()),
            text(&message),
            text(&check),
            text(place.as_deref().unwrap_or_default()),
        )?;
    }
    writeln!(out, "</tbody>\n</table>")?;
    if report.findings_cut > 0 {
        let more = counted(report.findings_cut, "more finding");
        writeln!(out, "<p>{more} counted, but not listed.</p>")?;
    }
    Ok(())
}

fn exempted(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let total = report.summary.exempted_violations;
    if total == 0 {
        return Ok(());
    }
    head(
        out,
        "Exempted by the policy",
        &["Namespace", "Object", "Container", "Finding", "Reason"],
    )?;
    for one @ ExemptedReportFinding { finding, .. } in &report.exempted {
        let ReportedObject { namespace, kind, name, .. } = &*finding.object;
        writeln!(
            out,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}",
            text(namespace),
            text(&format!("{kind}/{name}")),
            text(finding.container.as_deref().unwrap_or_default()),
            text(&finding.message),
            text(&one.explanation()),
        )?;
    }
    writeln!(out, "</tbody>\n</table>")?;
    match total.saturating_sub(report.exempted.len() as u64) {
        0 => Ok(()),
        more => writeln!(out, "<p>{} not listed.</p>", counted(more, "more exempted finding")),
    }
}

/// What the checks with findings mean, and what to do.
fn checks(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let found: BTreeSet<CheckId> =
        report.findings.iter().filter_map(|finding| finding.check.registered()).collect();
    if found.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>What the checks mean</h2>")?;
    for check in found {
        let CheckMeta { id, title, what, why, fix, .. } = check.meta();
        writeln!(
            out,
            "<details><summary>{}: {}</summary>\n<p>{}\n<p><b>Why:</b> {}\n<p><b>Fix:</b> {}\n\
             </details>",
            text(id),
            text(title),
            text(what),
            text(why),
            text(fix),
        )?;
    }
    Ok(())
}
