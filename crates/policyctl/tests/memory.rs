//! How much memory `policyctl analyze -f` takes at most, by its own highest resident size without
//! the pages of the program's file: how many of those are resident depends on the page cache, and
//! differs by megabytes between runs of a program that was just linked.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

const MIB: usize = 1 << 20;
/// What the program takes for any input, and for the pods beside it.
const BASE: usize = 4 * MIB;

/// A pod in 90 bytes, with four findings.
fn pod(name: usize) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p{name}}}, spec: {{containers: [{{name: c, image: x}}]}}}}\n"
    )
}

/// A text of that many bytes.
fn repeated(head: &str, size: usize, member: impl Fn(usize) -> String) -> String {
    let mut text = head.to_owned();
    for number in 0.. {
        if text.len() >= size {
            break;
        }
        text += &member(number);
    }
    text
}

/// Analyses a file and some pods beside it. Gives the JSON report and the highest resident size in
/// bytes.
fn analyze(folder: &Path, text: &str) -> (Value, usize) {
    fs::write(folder.join("a.yaml"), text).unwrap();
    // Their report is more than a pipe holds, so that the program still runs when it has written
    // the first byte, and has all in memory.
    fs::write(folder.join("b.yaml"), repeated("", MIB / 8, |i| format!("---\n{}", pod(i))))
        .unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_policyctl"))
        .args(["analyze", "-o", "json", "-f", "a.yaml", "-f", "b.yaml"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut report = vec![0];
    stdout.read_exact(&mut report).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    stdout.read_to_end(&mut report).unwrap();
    child.wait().unwrap();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
    };
    (serde_json::from_slice(&report).unwrap(), (kib("VmHWM:") - kib("RssFile:")) << 10)
}

#[test]
fn small_pods_take_at_most_ten_times_their_text() {
    let folder = tempfile::tempdir().unwrap();
    let (large, size) = (16 * MIB, 4 * MIB);
    let owned = |name: usize| {
        let owner = format!(
            "{{name: p{name}, ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: r, controller: true}}]}}"
        );
        pod(name).replace(&format!("{{name: p{name}}}"), &owner)
    };
    let json = |name: usize| {
        format!(
            "{}{{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {{\"name\": \"p{name}\"}}, \"spec\": {{\"containers\": [{{\"name\": \"c\", \"image\": \"x\"}}]}}}}",
            if name == 0 { "" } else { ",\n" }
        )
    };
    for (what, text) in [
        ("documents", repeated("", large, |i| format!("---\n{}", pod(i)))),
        (
            "list",
            repeated("apiVersion: v1\nkind: List\nitems:\n", size, |i| format!("- {}", pod(i))),
        ),
        (
            "json",
            repeated("{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n", size, json)
                + "]}",
        ),
        ("owned", repeated("", size, |i| format!("---\n{}", owned(i)))),
    ] {
        let (report, peak) = analyze(folder.path(), &text);
        let pods = report["summary"]["pods"].as_u64().unwrap();
        let findings = report["findings"].as_array().unwrap().len() as u64;
        assert!(pods > 20_000 && findings == 4 * pods, "{what}: {pods} pods, {findings} findings");
        let times = peak.saturating_sub(BASE) * 10 / text.len();
        assert!(times <= 100, "{what}: {} MiB are {}.{} x", peak / MIB, times / 10, times % 10);
    }
}

#[test]
fn what_would_take_much_memory_is_refused_before_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let size = 12 * MIB;
    let head = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n";
    let keys = (0..500).map(|i| format!("k{i}: v")).collect::<Vec<_>>().join(", ");
    let mut laughs = format!("{head}a0: &a0 [x, x, x, x]\n");
    for level in 1..30 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(laughs, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    let large = "is larger than 4 MiB, and no API server stores such an object";
    for (what, text, reason) in [
        (
            "merge keys",
            repeated(&format!("x: &x {{{keys}}}\n{head}spec:\n"), size, |_| {
                "  <<: *x\n".to_owned()
            }),
            large,
        ),
        (
            "fewer merge keys",
            repeated(&format!("x: &x {{{keys}}}\n{head}spec:\n"), 3 * MIB, |_| {
                "  <<: *x\n".to_owned()
            }),
            "take more than 32 MiB of memory",
        ),
        ("aliases", laughs + &"#".repeat(3 * MIB), "take more than 32 MiB of memory"),
        (
            "a wide mapping",
            repeated(&format!("{head}spec:\n"), size, |i| format!(" {i}:\n")),
            large,
        ),
        (
            "a list in flow style",
            repeated("apiVersion: v1\nkind: List\nitems: [", size, |_| "{},".to_owned()) + "]\n",
            "a List of more than 4 MiB is read as JSON",
        ),
    ] {
        let (report, peak) = analyze(folder.path(), &text);
        let failed = report["coverage"]["failed"].as_array().unwrap();
        assert_eq!(failed.len(), 1, "{what}: {failed:?}");
        let found = failed[0]["reason"].as_str().unwrap();
        assert!(found.contains(reason), "{what}: {found}");
        assert!(peak <= 128 * MIB, "{what}: {} MiB", peak / MIB);
    }
}

#[test]
fn odd_texts_take_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let size = 2 * MIB;
    let json_list = |open: &str| format!("{{\"apiVersion\": \"v1\", \"kind\": \"{open}");
    for (what, text) in [
        (
            "empty items",
            repeated(&json_list("List\", \"items\": [{}"), size, |_| ",{}".to_owned()) + "]}",
        ),
        (
            "block items",
            repeated("apiVersion: v1\nkind: List\nitems:\n", size, |_| "- {}\n".to_owned()),
        ),
        (
            "containers",
            repeated(&json_list("Pod\", \"spec\": {\"containers\": [{}"), size, |_| {
                ",{}".to_owned()
            }) + "]}}",
        ),
        (
            "labels",
            repeated(
                &json_list(
                    "Pod\", \"spec\": {\"containers\": [{}]}, \"metadata\": {\"labels\": {\"\":\"\"",
                ),
                size,
                |i| format!(",\"{i}\":\"\""),
            ) + "}}}",
        ),
        ("documents", repeated("", size, |_| "---\n{}\n".to_owned())),
        (
            "namespaces",
            repeated("", size, |i| {
                format!("---\n{}", pod(i).replace("name: p", &format!("namespace: n{i}, name: p")))
            }),
        ),
    ] {
        let (_, peak) = analyze(folder.path(), &text);
        assert!(peak <= BASE + 16 * text.len(), "{what}: {} MiB", peak / MIB);
    }
}
