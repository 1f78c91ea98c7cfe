//! What changed between two reports: as a table, and as Markdown for the comment of a pull request.

use std::fmt::Write as _;
use std::io;

use policy_core::report::Changes;
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
    if let Some(remark) = remark(changes) {
        table.wrapped_printable("", &remark)?;
    }
    for (title, findings) in [("New", &changes.new), ("Fixed", &changes.fixed)] {
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

/// Writes the new and the fixed findings, as many as fit into a comment. Writing into a String
/// cannot fail.
pub(crate) fn write_markdown(changes: &Changes, out: &mut dyn io::Write) -> anyhow::Result<()> {
    let counts = format!(
        "{} new, {} fixed, {} unchanged",
        changes.new.len(),
        changes.fixed.len(),
        changes.unchanged
    );
    let mut text = format!("## Kubernetes governance: {counts}\n\nScore {}.\n", scores(changes));
    if let Some(remark) = remark(changes) {
        let _ = writeln!(text, "\n{}", markdown::code(&remark));
    }
    for (title, findings) in [("New", &changes.new), ("Fixed", &changes.fixed)] {
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
    let cut = (changes.not_compared > 0).then(|| {
        let cut = counted(changes.not_compared, "finding");
        format!("{cut} not compared, as a report lists a million at most")
    });
    let remarks: Vec<String> = policies.into_iter().chain(cut).collect();
    (!remarks.is_empty()).then(|| format!("Note: {}", remarks.join("; ")))
}

fn sentence(Row { namespace, object, container, message, place, .. }: &Row<'_>) -> String {
    let container = container.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    let place = place.as_ref().map(|place| format!("  {place}")).unwrap_or_default();
    format!("{namespace}  {object}  {container}{message}{place}")
}
