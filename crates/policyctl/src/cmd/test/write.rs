//! Writing the actual verdicts into a test file. The rest of the file stays as it is.

use std::fmt::Write as _;
use std::fs;

use policy_core::manifest::{ExpectedFinding, ExpectedVerdict, PolicyTest};

use super::suite::Suite;

/// The key of the tests at the start of its line.
const KEY: &str = "tests:";

/// Writes the tests; `false` where the file has them already.
pub(super) fn write(suite: &Suite, tests: &[ExpectedVerdict]) -> Result<bool, String> {
    let text = String::from_utf8_lossy(&suite.bytes);
    let written = replaced(&text, &rendered(tests));
    // Text in another style than one key a line, such as JSON, is not replaced right.
    let is_whole = PolicyTest::read(written.as_bytes()).is_ok_and(|read| {
        read.tests.iter().map(|test| &test.value).eq(tests)
            && read.policies.len() == suite.test.policies.len()
            && read.objects.len() == suite.test.objects.len()
            && (&read.namespace, &read.now) == (&suite.test.namespace, &suite.test.now)
    });
    if !is_whole {
        return Err("cannot be rewritten: write it as YAML with `tests:` on a line".to_owned());
    }
    if *text == *written {
        return Ok(false);
    }
    fs::write(&suite.path, written).map_err(|error| format!("cannot be written: {error}"))?;
    Ok(true)
}

/// The text with these tests in place of its own.
fn replaced(text: &str, tests: &str) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let ending =
        if lines.first().is_some_and(|line| line.ends_with("\r\n")) { "\r\n" } else { "\n" };
    let tests = &*tests.replace('\n', ending);
    let Some(start) = lines.iter().position(|line| line.starts_with(KEY)) else {
        let separator = if text.is_empty() || text.ends_with('\n') { "" } else { ending };
        return format!("{text}{separator}{tests}");
    };
    let is_next_key = |line: &&str| !line.starts_with([' ', '\t', '-', '#', '\n', '\r']);
    let rest = &lines[start + 1..];
    let mut end = start + 1 + rest.iter().position(is_next_key).unwrap_or(rest.len());
    // Comments above the next key belong to that key.
    while end < lines.len() && lines[end - 1].starts_with(['#', '\n', '\r']) && end > start + 1 {
        end -= 1;
    }
    lines[..start].concat() + tests + &lines[end..].concat()
}

fn rendered(tests: &[ExpectedVerdict]) -> String {
    if tests.is_empty() {
        return format!("{KEY} []\n");
    }
    let mut text = format!("{KEY}\n");
    for verdict in tests {
        // Writing to a String cannot fail.
        let _ = append(&mut text, verdict);
    }
    text
}

fn append(text: &mut String, verdict: &ExpectedVerdict) -> std::fmt::Result {
    let ExpectedVerdict { name, object, namespace, file, admission, findings, exempted } = verdict;
    let (object, admission) = (object.to_string(), admission.map(|outcome| outcome.to_string()));
    let mut dash = "- ";
    for (key, value) in [
        ("name", name.as_deref()),
        ("object", Some(&*object)),
        ("namespace", namespace.as_deref()),
        ("file", file.as_deref()),
        ("admission", admission.as_deref()),
    ] {
        if let Some(value) = value {
            writeln!(text, "  {dash}{key}: {}", scalar(value))?;
            dash = "  ";
        }
    }
    append_findings(text, "findings", findings.as_deref().unwrap_or_default())?;
    match exempted {
        Some(exempted) => append_findings(text, "exempted", exempted),
        None => Ok(()),
    }
}

fn append_findings(text: &mut String, key: &str, findings: &[ExpectedFinding]) -> std::fmt::Result {
    if findings.is_empty() {
        return writeln!(text, "    {key}: []");
    }
    writeln!(text, "    {key}:")?;
    findings.iter().try_for_each(|finding| append_finding(text, finding))
}

fn append_finding(text: &mut String, finding: &ExpectedFinding) -> std::fmt::Result {
    write!(text, "      - {{check: {}", finding.check)?;
    if let Some(container) = &finding.container {
        write!(text, ", container: {}", scalar(container))?;
    }
    if let Some(severity) = finding.severity {
        write!(text, ", severity: {severity}")?;
    }
    writeln!(text, "}}")
}

/// A text as a YAML scalar: as it is where no reader takes it for anything else, else in the quotes
/// of JSON, which are YAML's too.
fn scalar(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-./_ ".contains(c))
        && !text.ends_with(' ')
        && !["true", "false", "yes", "no", "on", "off", "y", "n", "null"]
            .contains(&text.to_ascii_lowercase().as_str());
    if is_plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use policy_core::report::AdmissionOutcome;

    use super::*;

    const NEW: &str = "tests:\n  - new\n";

    #[test]
    fn only_the_tests_are_replaced() {
        for (text, expected) in [
            ("a: 1\n", "a: 1\nT"),
            ("a: 1", "a: 1\nT"),
            ("a: 1\ntests: []\n", "a: 1\nT"),
            ("a: 1\n# the tests\ntests:\n- x: 1\n  y: 2\n\n# odd\n- z\n", "a: 1\n# the tests\nT"),
            ("tests:\n  - x\n\n# of b\nb: 2\n", "T\n# of b\nb: 2\n"),
            ("tests:\nb: 2\n", "Tb: 2\n"),
            ("a: 1\nb:\n  tests: []\n", "a: 1\nb:\n  tests: []\nT"),
        ] {
            assert_eq!(replaced(text, NEW), expected.replace('T', NEW), "{text}");
        }
    }

    #[test]
    fn lines_end_as_those_of_the_file() {
        for (text, expected) in [
            ("a: 1\r\n", "a: 1\r\ntests:\r\n  - new\r\n"),
            ("a: 1\r\nb: 2", "a: 1\r\nb: 2\r\ntests:\r\n  - new\r\n"),
            ("tests: []\r\n\r\n# of b\r\nb: 2\r\n", "tests:\r\n  - new\r\n\r\n# of b\r\nb: 2\r\n"),
        ] {
            assert_eq!(replaced(text, NEW), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let finding = |container: &str| ExpectedFinding {
            check: "latest-tag".parse().unwrap(),
            container: (!container.is_empty()).then(|| container.to_owned()),
            severity: None,
        };
        let odd =
            ["web", "a b", "a ", "volumes[models]", "123", "off", "a: b", "a, b}", "\u{1b}\"", ""];
        let test = ExpectedVerdict {
            name: Some("x # no comment".to_owned()),
            object: policy_core::manifest::ObjectName {
                kind: policy_core::workload::ObjectKind::Pod,
                name: "p".to_owned(),
            },
            namespace: Some("null".to_owned()),
            file: Some("../a b.yaml".to_owned()),
            admission: Some(AdmissionOutcome::Warned),
            findings: Some(odd.map(finding).into()),
            exempted: None,
        };
        let exempting = ExpectedVerdict { exempted: Some(vec![finding("c")]), ..test.clone() };
        let none = ExpectedVerdict { name: None, findings: Some(Vec::new()), ..test.clone() };
        let tests = [test, none, exempting];
        let written = format!("policies: [{{bundle: x}}]\nobjects: [x]\n{}", rendered(&tests));
        let read = PolicyTest::read(written.as_bytes()).unwrap();
        assert!(read.tests.iter().map(|test| &test.value).eq(&tests), "{written}");
    }
}
