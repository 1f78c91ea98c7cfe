//! Markdown as GitHub and GitLab show it (<https://github.github.com/gfm/>), for the comment of a
//! pull request.
//!
//! Texts from manifests stand in code spans, in which nothing is markup, a link or a mention.

use std::borrow::Cow;
use std::fmt::Write as _;

use policy_core::report::{NotRead, Report, Summary};
use policy_core::text::{counted, printable, truncated};

use super::rows::{Row, rows};
use super::table::scored;

/// GitHub takes 65 536 characters in a comment.
const MAX_LENGTH: usize = 60_000;
/// The longest text of a cell, in characters.
const MAX_CELL: usize = 300;
/// The head of a table of findings.
pub(super) const HEAD: &str =
    "\n| Severity | Object | Finding | Place |\n| --- | --- | --- | --- |\n";
/// How many things that were not read, and how many exempted findings, are named.
const MAX_NAMED: usize = 20;

pub(super) fn render(report: &Report) -> String {
    let mut text = head("Kubernetes governance", &report.summary, &report.policy);
    not_read(&mut text, &report.coverage.failed);
    let notes = report.coverage.notes.iter();
    list(&mut text, "Notes", notes.map(|note| item(&note.source, &note.message)));
    if let Some(denied) = report.denied.as_ref().filter(|denied| !denied.is_empty()) {
        list(
            &mut text,
            &format!("Admission would deny {}", denied.number()),
            denied.objects.iter().map(|object| code(&object.to_string())),
        );
    }
    let mut exempted = String::new();
    let total = report.summary.exempted_violations;
    if total > 0 {
        let _ = writeln!(exempted, "\n{} by the policy.", counted(total, "exempted finding"));
    }
    findings(&mut text, report, exempted.len());
    text + &exempted
}

/// The score after a title, and what it is made of.
pub(super) fn head(title: &str, summary: &Summary, policy: &str) -> String {
    let score = match scored(summary) {
        Ok((score, class)) => format!("{score}, {}", class.as_str()),
        Err(none) => none.to_owned(),
    };
    let severities = summary.by_severity().filter(|(_, number)| *number > 0);
    let severities: Vec<String> =
        severities.map(|(severity, number)| format!("{number} {severity}")).collect();
    let severities =
        if severities.is_empty() { String::new() } else { format!(" ({})", severities.join(", ")) };
    format!(
        "## {title}: {score}\n\n{}, {} compliant, {}{severities}. Judged by {}.\n",
        counted(summary.pods, "pod"),
        summary.compliant_pods,
        counted(summary.total_violations, "finding"),
        code(policy),
    )
}

/// What could not be read.
pub(super) fn not_read(text: &mut String, failed: &[NotRead]) {
    list(text, "Not read", failed.iter().map(|failed| item(&failed.source, &failed.reason)));
}

/// An item of a list: where something is, and what.
fn item(source: &str, text: &str) -> String {
    format!("{}: {}", code(source), code(text))
}

/// A list under a heading; nothing where it is empty. Writing into a String cannot fail.
pub(super) fn list(text: &mut String, title: &str, items: impl ExactSizeIterator<Item = String>) {
    let more = items.len().saturating_sub(MAX_NAMED);
    for (index, item) in items.take(MAX_NAMED).enumerate() {
        let heading = if index == 0 { format!("\n### {title}\n\n") } else { String::new() };
        let _ = writeln!(text, "{heading}- {item}");
    }
    if more > 0 {
        let _ = writeln!(text, "- and {more} more");
    }
}

/// As many findings as fit, with so many bytes left free.
fn findings(text: &mut String, report: &Report, reserved: usize) {
    let mut rows = rows(report).peekable();
    if rows.peek().is_some() || report.findings_cut > 0 {
        text.push_str(HEAD);
        push_rows(text, rows, report.findings_cut, reserved);
    }
}

/// As many rows as fit, with so many bytes left free, and how many findings are not listed: the
/// other rows, and so many beside them.
pub(super) fn push_rows<'a>(
    text: &mut String,
    mut rows: impl Iterator<Item = Row<'a>>,
    cut: u64,
    reserved: usize,
) {
    let mut omitted = cut;
    for row in rows.by_ref() {
        let line = line(&row);
        // Room for the sentence on the rest.
        if text.len() + line.len() + reserved + 200 > MAX_LENGTH {
            omitted += 1;
            break;
        }
        text.push_str(&line);
    }
    omitted += rows.count() as u64;
    if omitted > 0 {
        let _ = writeln!(text, "\n{} not listed here.", counted(omitted, "more finding"));
    }
}

fn line(Row { severity, check, namespace, object, container, message, place }: &Row<'_>) -> String {
    let container = container.as_ref().map(|name| format!("{}: ", code(name))).unwrap_or_default();
    let place = place.as_deref().map(code).unwrap_or_default();
    let object = code(&format!("{namespace} {object}"));
    let (message, check) = (text(message), text(check));
    format!("| {severity} | {object} | {container}{message} ({check}) | {place} |\n")
}

/// A text without anything that could be markup, a link, a mention or an emoji as it is; else a code
/// span.
fn text(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " ,.()=/-".contains(c);
    let is_link = || text.to_ascii_lowercase().contains("www.");
    if text.len() <= MAX_CELL && text.chars().all(is_plain) && !is_link() {
        text.into()
    } else {
        code(text).into()
    }
}

/// A text as a code span that is a cell of a table, too: the fence is longer than each run of
/// backticks in it, and a vertical bar ends no cell.
pub(super) fn code(text: &str) -> String {
    let text = truncated(printable(text), MAX_CELL, usize::MAX);
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    let text = text.replace('|', "\\|");
    // A span that begins or ends with a backtick, or is blank, needs a space on both sides.
    let needs_space = text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) || text.is_empty();
    let space = if needs_space { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_leave_its_code_span_or_its_cell() {
        for (text, expected) in [
            ("nginx:1", "`nginx:1`"),
            ("a`b", "``a`b``"),
            ("```", "```` ``` ````"),
            ("a|b", "`a\\|b`"),
            ("@team <b> [x](http://y)", "`@team <b> [x](http://y)`"),
            ("a\n| b", "`a\u{fffd}\\| b`"),
            ("", "`  `"),
        ] {
            assert_eq!(code(text), expected, "{text}");
        }
        for (message, expected) in [
            ("missing resource requests (cpu request)", "missing resource requests (cpu request)"),
            ("uses :latest", "`uses :latest`"),
            ("see www.example.com", "`see www.example.com`"),
            ("image @a", "`image @a`"),
        ] {
            assert_eq!(text(message), expected);
        }
        assert_eq!(code(&"x".repeat(1000)).chars().count(), MAX_CELL + 2);
    }
}
