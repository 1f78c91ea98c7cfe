//! SARIF 2.1.0, as code scanning services take it:
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html> and
//! <https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning>.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use policy_core::checks::{CheckId, CheckName};
use policy_core::report::{Report, ReportFinding};
use policy_core::severity::Severity;
use policy_core::text::printable;
use serde_json::{Value, json};

use super::finding::{Fingerprints, sentence};
use super::rows::by_severity;

/// The most results of a run that GitHub shows.
const MAX_RESULTS: usize = 5000;
/// The most exempted findings that are named; a run has few notifications.
const MAX_EXEMPTED: usize = 100;
/// The most notes.
const MAX_NOTES: usize = 100;
const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

pub(super) fn render(report: &Report) -> Value {
    let enabled = CheckId::all()
        .filter(|check| report.summary.violations_by_check.contains_key(check.as_str()));
    let custom: BTreeSet<&CheckName> = report
        .findings
        .iter()
        .map(|finding| &finding.check)
        .filter(|check| check.registered().is_none())
        .collect();
    let rules: Vec<CheckName> =
        enabled.map(CheckName::from).chain(custom.into_iter().cloned()).collect();
    let mut seen = Fingerprints::default();
    // So that the cut drops the least severe.
    let results: Vec<Value> = by_severity(&report.findings)
        .take(MAX_RESULTS)
        .map(|finding| result(finding, &rules, &mut seen))
        .collect();
    let cut = (report.findings.len() - results.len()) as u64 + report.findings_cut;
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "policyctl",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(rule).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "invocations": [{
                "executionSuccessful": report.coverage.failed.is_empty(),
                "toolExecutionNotifications": notifications(report, cut),
            }],
            "results": results,
            "properties": { "resultsCut": cut },
        }],
    })
}

fn rule(check: &CheckName) -> Value {
    let Some(meta) = check.registered().map(CheckId::meta) else {
        let text = "A check of the policy itself, as an expression in CEL.";
        return json!({
            "id": check,
            "name": check,
            "shortDescription": { "text": check },
            "fullDescription": { "text": text },
            "help": { "text": text },
            "defaultConfiguration": { "level": "warning" },
            "properties": { "tags": ["kubernetes"] },
        });
    };
    json!({
        "id": meta.id,
        "name": meta.violation_type,
        "shortDescription": { "text": meta.title },
        "fullDescription": { "text": meta.what },
        "help": {
            "text": format!("{}\n\nWhy: {}\n\nFix: {}", meta.what, meta.why, meta.fix),
            "markdown": format!("{}\n\n**Why:** {}\n\n**Fix:** {}", meta.what, meta.why, meta.fix),
        },
        "defaultConfiguration": { "level": "warning" },
        "properties": { "tags": ["kubernetes", "reliability"] },
    })
}

fn result(finding: &ReportFinding, rules: &[CheckName], seen: &mut Fingerprints) -> Value {
    json!({
        "ruleId": finding.check.as_str(),
        "ruleIndex": rules.iter().position(|check| *check == finding.check),
        "level": level(finding.severity),
        "message": { "text": plain(&sentence(finding)) },
        "locations": [location(finding.object.file.as_deref(), finding.line)],
        "partialFingerprints": { "primaryLocationLineHash": seen.of(finding) },
        "properties": { "severity": finding.severity },
    })
}

/// Names may contain control characters, which viewers of SARIF show as they are, and brackets, which
/// are links in a message (section 3.11.6).
fn plain(text: &str) -> String {
    printable(text).replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]")
}

fn location(file: Option<&str>, line: Option<u32>) -> Value {
    json!({ "physicalLocation": {
        "artifactLocation": { "uri": uri(file.unwrap_or("cluster")) },
        "region": { "startLine": line.unwrap_or(1).max(1) },
    }})
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low => "note",
    }
}

/// What could not be read, what was cut, what to know beside, and what the policy exempts. Exempted findings are no
/// results: GitHub opens an alert for each result, also for one with `suppressions`, which are not
/// among the properties that it reads.
fn notifications(report: &Report, cut: u64) -> Vec<Value> {
    let failed = report.coverage.failed.iter().map(|failed| {
        json!({ "level": "error", "message": { "text": plain(&format!("{}: {}", failed.source, failed.reason)) } })
    });
    let cut = (cut > 0).then(|| {
        let text =
            format!("{cut} more results of lower severity; at most {MAX_RESULTS} are listed");
        json!({ "level": "warning", "message": { "text": text } })
    });
    failed.chain(cut).chain(notes(report)).chain(exempted(report)).collect()
}

fn note(text: &str) -> Value {
    json!({ "level": "note", "message": { "text": plain(text) } })
}

fn notes(report: &Report) -> impl Iterator<Item = Value> {
    let notes = report.coverage.notes.iter();
    let more = notes.len().saturating_sub(MAX_NOTES);
    let named = notes.take(MAX_NOTES).map(|one| note(&format!("{}: {}", one.source, one.message)));
    named.chain((more > 0).then(|| note(&format!("{more} more notes"))))
}

fn exempted(report: &Report) -> impl Iterator<Item = Value> {
    let named = report.exempted.iter().take(MAX_EXEMPTED);
    let more = report.summary.exempted_violations.saturating_sub(named.len() as u64);
    let named = named.map(move |exempted| {
        note(&format!("{}; {}", sentence(&exempted.finding), exempted.explanation()))
    });
    let more = (more > 0).then(|| note(&format!("{more} more findings are exempted")));
    named.chain(more)
}

/// A path as a URI reference (RFC 3986), relative where the path is.
fn uri(path: &str) -> String {
    let mut uri = String::from(if path.starts_with('/') { "file://" } else { "" });
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn paths_become_uris() {
        assert_eq!(uri("deploy/a b/ä.yaml"), "deploy/a%20b/%C3%A4.yaml");
        assert_eq!(uri("/srv/app.yaml"), "file:///srv/app.yaml");
        assert_eq!(uri("a:b#c?.yaml"), "a%3Ab%23c%3F.yaml");
    }
}
