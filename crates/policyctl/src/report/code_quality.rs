//! The Code Quality report of GitLab:
//! <https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format>.

use std::borrow::Cow;
use std::io;

use policy_core::report::{NotRead, Report, ReportFinding};
use policy_core::severity::Severity;
use policy_core::text::printable;
use serde::Serialize;

use super::finding::{Fingerprints, sentence};
use super::rows::by_severity;

/// The most findings of a report: the page of a merge request shows few, and GitLab reads the whole file.
const MAX_FINDINGS: usize = 5_000;
/// What a file that cannot be read is listed under.
const NOT_READ: &str = "not-read";

#[derive(Serialize)]
struct Issue<'a> {
    description: String,
    check_name: Cow<'a, str>,
    fingerprint: String,
    severity: &'static str,
    location: Location,
}

#[derive(Serialize)]
struct Location {
    path: String,
    lines: Lines,
}

#[derive(Serialize)]
struct Lines {
    begin: u32,
}

impl Location {
    /// GitLab takes no path that begins with `./`.
    fn new(path: &str, line: u32) -> Self {
        let path = printable(path.trim_start_matches("./")).into_owned();
        Self { path, lines: Lines { begin: line.max(1) } }
    }
}

pub(super) fn write(report: &Report, out: &mut dyn io::Write) -> anyhow::Result<()> {
    let mut seen = Fingerprints::default();
    let found = by_severity(&report.findings).take(MAX_FINDINGS);
    let issues: Vec<_> = report
        .coverage
        .failed
        .iter()
        .map(not_read)
        .chain(found.map(|finding| issue(finding, seen.of(finding))))
        .collect();
    super::json(&issues, out)
}

fn issue(finding: &ReportFinding, fingerprint: String) -> Issue<'_> {
    let file = finding.object.file.as_deref().unwrap_or("cluster");
    Issue {
        description: printable(&sentence(finding)).into_owned(),
        check_name: finding.check.as_str(),
        fingerprint,
        severity: match finding.severity {
            Severity::Critical => "critical",
            Severity::High => "major",
            Severity::Medium => "minor",
            Severity::Low => "info",
        },
        location: Location::new(file, finding.line.unwrap_or(1)),
    }
}

/// The gravest: nobody knows what is in it.
fn not_read(not_read: &NotRead) -> Issue<'_> {
    let (file, line) = not_read.place();
    Issue {
        description: printable(&format!("cannot be read: {}", not_read.reason)).into_owned(),
        check_name: NOT_READ.into(),
        fingerprint: format!("{NOT_READ}:{}", printable(&not_read.source)),
        severity: "blocker",
        location: Location::new(file, line.unwrap_or(1)),
    }
}
