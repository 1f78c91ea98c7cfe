//! What changed between two reports: as a table, and as Markdown for the comment of a pull request.

use std::fmt::Write as _;
use std::io;

use policy_core::report::{ChangedFinding, Changes};
use policy_core::text::counted;

use super::layout::{Table, TableStyle, severity_style};
use super::markdown;
use super::rows::Row;

pub(crate) fn write(
    changes: &Changes,
    style: TableStyle,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut table = Table { out, style };
    table.row("Cluster Health Score", scores(changes))?;
    table.row("New findings", changes.new.len())?;
    table.row("Fixed findings", changes.fixed.len())?;
    table.row("Unchanged findings", changes.unchanged)?;
    let others =
        [("Exempted findings", &changes.exempted), ("Findings not read", &changes.not_read)];
    for (label, findings) in others.into_iter().filter(|(_, findings)| !findings.is_empty()) {
        table.row(label, findings.len())?;
    }
    if let Some(remark) = remark(changes) {
        table.wrapped_printable("", &remark)?;
    }
    table.unread(&changes.failed)?;
    for (title, findings) in lists(changes) {
        if !findings.is_empty() {
            table.heading(title)?;
        }
        for finding in findings {
            let severity = finding.severity;
            let severity =
                table.style.paint(format_args!("{severity:<8}"), severity_style(severity));
            table.wrapped_printable(&format!("  {severity}  "), &sentence(&finding.into()))?;
        }
    }
    Ok(())
}

/// The lists of findings, each with its title.
fn lists(changes: &Changes) -> [(&'static str, &[ChangedFinding]); 4] {
    let Changes { new, fixed, exempted, not_read, .. } = changes;
    [
        ("New", new),
        ("Fixed", fixed),
        ("Exempted now", exempted),
        ("Not known, because not read", not_read),
    ]
}

/// Writes the findings that are not unchanged, as many as fit into a comment. Writing into a String
/// cannot fail.
pub(crate) fn write_markdown(changes: &Changes, out: &mut dyn io::Write) -> anyhow::Result<()> {
    let mut counts = format!(
        "{} new, {} fixed, {} unchanged",
        changes.new.len(),
        changes.fixed.len(),
        changes.unchanged
    );
    let others = [(&changes.exempted, "exempted"), (&changes.not_read, "not read")];
    for (findings, what) in others.into_iter().filter(|(findings, _)| !findings.is_empty()) {
        let _ = write!(counts, ", {} {what}", findings.len());
    }
    let mut text = format!("## Kubernetes governance: {counts}\n\nScore {}.\n", scores(changes));
    if let Some(remark) = remark(changes) {
        let _ = writeln!(text, "\n{}", markdown::code(&remark));
    }
    markdown::not_read(&mut text, &changes.failed);
    for (title, findings) in lists(changes) {
        if findings.is_empty() {
            continue;
        }
        let _ = write!(text, "\n### {title}\n{}", markdown::HEAD);
        markdown::push_rows(&mut text, findings.iter().map(Row::from), 0, 0);
    }
    Ok(out.write_all(text.as_bytes())?)
}

/// `62 -> 70`.
fn scores(changes: &Changes) -> String {
    let score =
        |score: Option<u8>| score.map_or_else(|| "n/a".to_owned(), |score| score.to_string());
    format!("{} -> {}", score(changes.score_before), score(changes.score_after))
}

/// What makes the comparison less than it seems.
fn remark(changes: &Changes) -> Option<String> {
    let policies = match changes.policies.as_slice() {
        [before, after] => Some(format!("judged by {before} before, and by {after} after")),
        _ => None,
    };
    let newly_read = (changes.newly_read > 0).then(|| {
        let findings = counted(changes.newly_read, "new finding");
        format!("{findings} in what the earlier report could not read")
    });
    let cut = (changes.not_compared > 0).then(|| {
        let cut = counted(changes.not_compared, "finding");
        format!(
            "{cut} not compared, as a report lists a million at most, and 10 000 that are exempted"
        )
    });
    let remarks: Vec<String> = policies.into_iter().chain(newly_read).chain(cut).collect();
    (!remarks.is_empty()).then(|| format!("Note: {}", remarks.join("; ")))
}

fn sentence(Row { namespace, object, container, message, place, .. }: &Row<'_>) -> String {
    let container = container.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    let place = place.as_ref().map(|place| format!("  {place}")).unwrap_or_default();
    format!("{namespace}  {object}  {container}{message}{place}")
}
