//! One page of HTML: summary, explanation of the checks, and a table of findings that its reader can
//! sort. It refers to nothing outside, and every text from a manifest is escaped.

use std::collections::BTreeSet;
use std::io::{self, Write};

use policy_core::checks::{CheckId, CheckMeta};
use policy_core::report::{Coverage, ExemptedReportFinding, Report, ReportedObject};
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
    let Coverage { failed, notes, .. } = &report.coverage;
    list(out, "Not read", failed.iter().map(|failed| (&*failed.source, &*failed.reason)))?;
    list(out, "Notes", notes.iter().map(|note| (&*note.source, &*note.message)))?;
    denied(report, out)?;
    findings(report, out)?;
    exempted(report, out)?;
    checks(report, out)?;
    write!(out, "<script>\n{SCRIPT}</script>\n</body>\n</html>\n")
}

fn text(text: &str) -> String {
    escape(printable(text)).into_owned()
}

/// The same of names and paths, which may be long: a line may end after a slash.
fn path(text: &str) -> String {
    escape(printable(text)).replace('/', "/<wbr>")
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
            &[
                Column::Text("Namespace"),
                Column::Number("Score"),
                Column::Text("Status"),
                Column::Number("Pods"),
                Column::Number("Compliant"),
                Column::Number("Findings"),
            ],
        )?;
        for found in &report.namespaces {
            let summary = &found.summary;
            let score = summary.score.map(|score| score.to_string()).unwrap_or_default();
            let class = summary.classification.map(Classification::as_str).unwrap_or_default();
            writeln!(
                out,
                "<tr><td>{}<td class=number>{score}<td>{class}<td class=number>{}<td class=number>{}\
                 <td class=number>{}",
                text(&found.namespace),
                summary.pods,
                summary.compliant_pods,
                summary.total_violations,
            )?;
        }
        end(out)?;
    }
    Ok(())
}

/// A column of a table, with its title.
#[derive(Clone, Copy)]
enum Column {
    Text(&'static str),
    /// One that should not be narrow.
    Long(&'static str),
    Number(&'static str),
}

/// The start of a table. One that is wider than the screen scrolls, not the page.
fn head(out: &mut dyn Write, title: &str, columns: &[Column]) -> io::Result<()> {
    write!(out, "<h2>{title}</h2>\n<div class=table>\n<table>\n<thead><tr>")?;
    for column in columns {
        match column {
            Column::Text(title) => write!(out, "<th>{title}")?,
            Column::Long(title) => write!(out, "<th class=long>{title}")?,
            Column::Number(title) => write!(out, "<th class=number>{title}")?,
        }
    }
    writeln!(out, "</thead>\n<tbody>")
}

fn end(out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "</tbody>\n</table>\n</div>")
}

/// A list of places, each with what is to be known about it; nothing where it is empty.
fn list<'a>(
    out: &mut dyn Write,
    title: &str,
    items: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
) -> io::Result<()> {
    if items.len() == 0 {
        return Ok(());
    }
    writeln!(out, "<h2>{title}</h2>\n<ul>")?;
    for (source, what) in items {
        writeln!(out, "<li>{}: {}", text(source), text(what))?;
    }
    writeln!(out, "</ul>")
}

fn denied(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let Some(denied) = report.denied.as_ref().filter(|denied| !denied.is_empty()) else {
        return Ok(());
    };
    let number = denied.number();
    writeln!(out, "<details><summary>Admission would deny {number}</summary>\n<ul>")?;
    for object in &denied.objects {
        writeln!(out, "<li>{}", path(&object.to_string()))?;
    }
    writeln!(out, "</ul>\n</details>")
}

fn findings(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.summary.total_violations == 0 {
        return writeln!(out, "<p>Nothing was found.</p>");
    }
    let columns = [
        Column::Text("Severity"),
        Column::Text("Namespace"),
        Column::Long("Object"),
        Column::Text("Container"),
        Column::Long("Finding"),
        Column::Text("Check"),
        Column::Long("Place"),
    ];
    head(out, "Findings", &columns)?;
    for row in rows(report) {
        let Row { severity, check, namespace, object, container, message, place } = row;
        let rank = Severity::ALL.iter().position(|one| *one == severity).unwrap_or_default();
        writeln!(
            out,
            "<tr class=\"{severity}\"><td data-rank=\"{rank}\">{severity}<td>{}<td>{}<td>{}<td>{}\
             <td>{}<td>{}",
            text(namespace),
            path(&object),
            text(container.as_deref().unwrap_or_default()),
            text(&message),
            text(&check),
            path(place.as_deref().unwrap_or_default()),
        )?;
    }
    end(out)?;
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
    let columns = [
        Column::Text("Namespace"),
        Column::Long("Object"),
        Column::Text("Container"),
        Column::Long("Finding"),
        Column::Long("Reason"),
    ];
    head(out, "Exempted by the policy", &columns)?;
    for one @ ExemptedReportFinding { finding, .. } in &report.exempted {
        let ReportedObject { namespace, kind, name, .. } = &*finding.object;
        writeln!(
            out,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}",
            text(namespace),
            path(&format!("{kind}/{name}")),
            text(finding.container.as_deref().unwrap_or_default()),
            text(&finding.message),
            text(&one.explanation()),
        )?;
    }
    end(out)?;
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
