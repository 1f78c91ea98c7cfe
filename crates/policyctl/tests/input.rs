//! What people and pipelines give to `policyctl analyze`: each bad input is reported in one sentence,
//! and the rest is still analysed.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: nginx}]}\n";

fn policyctl(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_policyctl"));
    command.current_dir(folder).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    command
}

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn analyze(folder: &Path, arguments: &[&str], stdin: &[u8]) -> Output {
    let mut child = policyctl(folder)
        .arg("analyze")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its input may be gone before it has read all of it.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

/// The JSON report, and what was not read as `source: reason`, also on standard error.
fn report(folder: &Path, arguments: &[&str], stdin: &[u8]) -> (Value, Vec<String>, i32) {
    let output = analyze(folder, &[arguments, &["-o", "json"]].concat(), stdin);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let failed: Vec<String> = json["coverage"]["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| format!("{}: {}", f["source"].as_str().unwrap(), f["reason"].as_str().unwrap()))
        .collect();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let reported: Vec<&str> =
        stderr.lines().map(|line| line.strip_prefix("error: ").unwrap()).collect();
    assert_eq!(reported, failed);
    (json, failed, output.status.code().unwrap())
}

#[test]
fn each_bad_input_is_named_and_the_rest_is_analysed() {
    let folder = folder(&[
        ("good.yaml", POD.as_bytes()),
        ("broken/syntax.yaml", b"apiVersion: v1\nkind: Pod\nspec: [1, 2\nb: 3\n"),
        ("broken/half.yaml", b"kind: Pod\n"),
        ("broken/bytes.yaml", b"apiVersion: v1\nkind: Pod\nb: \xff\xfe\n"),
        ("broken/playbook.yml", b"- hosts: all\n"),
        ("list.yml", b"- a\n"),
        ("broken/shape.json", br#"{"apiVersion": "v1", "kind": "Pod", "spec": {"containers": 5}}"#),
        ("broken/empty.yaml", b""),
        ("broken/notes.txt", b"not read"),
        ("no-manifests/readme.md", b"# nothing"),
        ("empty.yaml", b"# nothing\n"),
    ]);
    let arguments = [
        "-f",
        "good.yaml",
        "-f",
        "broken",
        "-f",
        "no-manifests",
        "-f",
        "empty.yaml",
        "-f",
        "list.yml",
        "-f",
        "gone.yaml",
    ];
    let (json, failed, code) = report(folder.path(), &arguments, b"");
    assert_eq!((json["summary"]["pods"].as_u64(), code), (Some(1), 2));
    assert_eq!(
        failed,
        [
            "broken/bytes.yaml:3: is not UTF-8 text",
            "broken/half.yaml:1: Pod without apiVersion",
            "broken/shape.json:1: expected a list",
            "broken/syntax.yaml:3: expected an object",
            "empty.yaml: holds no document",
            "gone.yaml: no such file or folder",
            "list.yml:1: expected an object",
            "no-manifests: has no manifests (*.yaml, *.yml, *.json)",
        ]
    );
}

#[test]
fn files_over_the_limit_are_refused_before_they_are_read() {
    let folder = folder(&[("good.yaml", POD.as_bytes())]);
    for (name, size) in [("large.yaml", 65 << 20), ("huge.yaml", 3 << 30)] {
        File::create(folder.path().join(name)).unwrap().set_len(size).unwrap();
    }
    let (json, failed, code) = report(folder.path(), &["-f", "."], b"");
    assert_eq!((json["summary"]["pods"].as_u64(), code), (Some(1), 2));
    let sentence = "is larger than 64 MiB; raise the limit with --max-file-size";
    assert_eq!(failed, [format!("huge.yaml: {sentence}"), format!("large.yaml: {sentence}")]);
    let small = report(folder.path(), &["-f", "-", "--max-file-size", "1"], &vec![b'#'; 2 << 20]);
    assert_eq!(small.1, ["stdin: is larger than 1 MiB; raise the limit with --max-file-size"]);
}

#[test]
fn standard_input_is_a_file_named_stdin() {
    let folder = tempfile::tempdir().unwrap();
    let (json, failed, code) = report(folder.path(), &["-f", "-", "-n", "shop"], POD.as_bytes());
    assert_eq!((failed, code), (Vec::new(), 0));
    assert_eq!(json["findings"][0]["file"], "stdin");
    assert_eq!(json["findings"][0]["namespace"], "shop");
    let (_, failed, code) = report(folder.path(), &["-f", "-"], b"");
    assert_eq!((failed, code), (vec!["stdin: holds no document".to_owned()], 2));
}

#[test]
fn a_file_named_in_several_ways_counts_once() {
    let folder = folder(&[("a/web.yaml", POD.as_bytes()), ("a/b/api.json", POD.as_bytes())]);
    let arguments = ["-f", "a", "-f", "a/web.yaml", "-f", "a/*.yaml", "-f", "./a/b"];
    let (json, failed, code) = report(folder.path(), &arguments, b"");
    assert_eq!((json["summary"]["pods"].as_u64(), failed.len(), code), (Some(2), 0, 0));
    for pattern in ["./a/*.yaml", "a//*.yaml", "a/./*.yaml", "./**/web.yaml", "?/*.yaml", "**/b"] {
        let (json, failed, code) = report(folder.path(), &["-f", pattern], b"");
        let pods = json["summary"]["pods"].as_u64();
        assert_eq!((pods, failed, code), (Some(1), Vec::new(), 0), "{pattern}");
    }
    let absolute = folder.path().join("a/web.yaml");
    let (json, ..) = report(folder.path(), &["-f", absolute.to_str().unwrap()], b"");
    assert_eq!(json["findings"][0]["file"], "a/web.yaml", "relative below the current folder");
}

/// Links, pipes and patterns, each in a way that once lied or never ended.
#[cfg(unix)]
#[test]
fn links_and_pipes_are_followed_refused_or_named() {
    use std::os::unix::fs::symlink;

    let folder = folder(&[("d/a.yaml", POD.as_bytes()), ("elsewhere/b.yaml", POD.as_bytes())]);
    let path = folder.path();
    symlink("../elsewhere", path.join("d/link")).unwrap();
    symlink("gone.yaml", path.join("d/dangling.yaml")).unwrap();
    symlink("gone", path.join("d/nobody-asked")).unwrap();
    for name in ["loop-a", "loop-b", "elsewhere-a", "elsewhere-b"] {
        let target = if name.starts_with("loop") { "." } else { "../elsewhere" };
        symlink(target, path.join("d").join(name)).unwrap();
    }
    let status = Command::new("mkfifo").arg(path.join("d/pipe.yaml")).status().unwrap();
    assert!(status.success());
    let expected =
        ["d/dangling.yaml: no such file or folder", "d/pipe.yaml: is not a regular file"];
    for (argument, pods) in [("d", 2), ("d/**/*.yaml", 1), ("./d/", 2), ("d/[!n]*", 2)] {
        let (json, failed, code) = report(path, &["-f", argument], b"");
        assert_eq!((json["summary"]["pods"].as_u64(), code), (Some(pods), 2), "{argument}: {json}");
        assert_eq!(failed, expected, "{argument}");
    }
    symlink("elsewhere", path.join("a-link")).unwrap();
    let (json, _, code) = report(path, &["-f", "**/elsewhere/*.yaml"], b"");
    assert_eq!((json["summary"]["pods"].as_u64(), code), (Some(1), 0), "by its own name");
    let (json, _, code) = report(path, &["-f", "*/b.yaml", "-f", "elsewhere"], b"");
    assert_eq!((json["summary"]["pods"].as_u64(), code), (Some(1), 0));
}

#[test]
fn names_cannot_pass_for_output_of_the_program() {
    let hostile = "apiVersion: \"\\e[2Jx\\n::error::hi\"\n";
    let empty = "apiVersion: v1\nkind: Pod\nmetadata: {name: \"x\\n::error::hi\\tx\\r\\x9b31m\"}\nspec: {}\n";
    let folder = folder(&[
        ("a.yaml", hostile.as_bytes()),
        ("b.yaml", empty.as_bytes()),
        ("e\u{1b}[31mvil\n.yaml", b"- a\n"),
    ]);
    let policy = "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {}\nspec: {\"\\e[2J\\n::error::x\": 1}\n";
    fs::write(folder.path().join("policy"), policy).unwrap();
    for arguments in [
        &["-f", ".", "-o", "json"] as &[&str],
        &["-f", "."],
        &["-f", ".", "-o", "junit"],
        &["-f", ".", "-o", "sarif"],
        &["-f", ".", "--policy", "policy"],
        &["-f", "gone\u{1b}[2J\n::error::y", "-o", "yaml"],
    ] {
        let output = analyze(folder.path(), arguments, b"");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let all = stderr + &String::from_utf8(output.stdout).unwrap();
        assert!(!all.contains(['\u{1b}', '\u{9b}', '\t', '\r']), "{arguments:?}: {all}");
        assert!(!all.contains("\n::error"), "{arguments:?}: {all}");
    }
}

#[test]
fn a_small_file_cannot_grow_into_a_large_report() {
    let name = "n".repeat(100_000);
    let containers = "{},".repeat(10_000);
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{containers}]}}\n"
    );
    let folder = folder(&[("a.yaml", pod.as_bytes())]);
    for format in ["json", "yaml", "sarif", "junit", "table"] {
        let output = analyze(folder.path(), &["-f", "a.yaml", "-o", format], b"");
        assert_eq!(output.status.code(), Some(0), "{format}");
        assert!(output.stdout.len() < 60_000_000, "{format}: {}", output.stdout.len());
    }
}

#[test]
fn a_misspelt_group_does_not_go_unsaid() {
    let deployment = b"apiVersion: app/v1\nkind: Deployment\n---\napiVersion: v1\nkind: Service\n";
    let folder = folder(&[("a.yaml", deployment)]);
    let output = analyze(folder.path(), &["-f", "a.yaml"], b"");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.contains(
            "Notes:\n  a.yaml:1: skipped app/v1 Deployment, though it is named like a workload\n"
        ),
        "{table}"
    );
    assert!(!table.contains("Service"), "{table}");
}

#[test]
fn excluded_namespaces_are_counted_and_left_out() {
    let manifests = POD.replace("{name: web}", "{name: web, namespace: sandbox}");
    let folder = folder(&[("a.yaml", manifests.as_bytes())]);
    let arguments = ["-f", "a.yaml", "--exclude-namespace", "sandbox"];
    let (json, _, code) = report(folder.path(), &arguments, b"");
    assert_eq!((json["summary"]["pods"].as_u64(), code), (Some(0), 0));
    assert_eq!(json["coverage"]["skipped"], 1);
}

#[test]
fn thresholds_and_errors_decide_the_exit_code() {
    let folder =
        folder(&[("a.yaml", POD.as_bytes()), ("service.yaml", b"apiVersion: v1\nkind: Service\n")]);
    // One pod with an unpinned image and no probes scores 90; its findings are medium.
    for (arguments, expected) in [
        (&["-f", "a.yaml"] as &[&str], 0),
        (&["-f", "a.yaml", "--fail-below", "90"], 0),
        (&["-f", "a.yaml", "--fail-below", "91"], 1),
        (&["-f", "a.yaml", "--fail-on", "high"], 0),
        (&["-f", "a.yaml", "--fail-on", "medium"], 1),
        (&["-f", "a.yaml", "--fail-on", "low"], 1),
        (&["-f", "a.yaml", "--fail-on", "critical", "--bundle", "restricted"], 1),
        (&["-f", "a.yaml", "-f", "gone.yaml", "--fail-on", "low"], 2),
        (&["-f", "service.yaml", "--fail-below", "100"], 0),
    ] {
        let code = analyze(folder.path(), arguments, b"").status.code();
        assert_eq!(code, Some(expected), "{arguments:?}");
    }
}

/// What a run with these arguments ends with and prints to standard error, quietly.
fn reasons(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = analyze(folder, &[arguments, &["-q"]].concat(), b"");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_threshold_that_cannot_be_crossed_is_told_with_a_baseline_as_well() {
    let folder = folder(&[("a.yaml", POD.as_bytes()), ("none.yaml", b"kind: List\n")]);
    let folder = folder.path();
    let report = analyze(folder, &["-f", "a.yaml", "-o", "json=old.json"], b"");
    assert_eq!(report.status.code(), Some(0));
    let never = "the built-in profile: --fail-on high can never fail, as its most severe check is \
                 medium\n";
    let denies_nothing = "the built-in profile: --fail-on denied can never fail, as the policy \
                          denies nothing at admission\n";
    let untested = "the built-in profile: no pod was evaluated, so no threshold was tested\n";
    for (file, threshold, expected) in [
        ("a.yaml", "medium", ""),
        ("a.yaml", "high", never),
        ("a.yaml", "denied", denies_nothing),
        ("none.yaml", "low", untested),
    ] {
        let arguments = ["-f", file, "--baseline", "old.json", "--fail-on", threshold];
        assert_eq!(reasons(folder, &arguments), (Some(0), expected.to_owned()), "{arguments:?}");
    }
}

#[test]
fn custom_checks_count_for_what_a_policy_can_find() {
    let policy = |spec: &str, severity: &str| {
        format!(
            "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {{name: own}}\n\
             spec: {{{spec}custom: [{{name: team, expression: 'false', severity: {severity}}}]}}\n"
        )
    };
    let both = policy("forbidLatestTag: true, ", "critical");
    let folder = folder(&[
        ("a.yaml", POD.as_bytes()),
        ("both.yaml", both.as_bytes()),
        ("alone.yaml", policy("", "low").as_bytes()),
    ]);
    let never = "--fail-on high can never fail, as its most severe check is low";
    for (policy, threshold, expected) in [
        ("both.yaml", "high", (1, "there are findings of severity critical (--fail-on high)")),
        ("alone.yaml", "low", (1, "there are findings of severity low (--fail-on low)")),
        ("alone.yaml", "high", (0, never)),
    ] {
        let arguments = ["-f", "a.yaml", "--policy", policy, "--fail-on", threshold];
        let expected = (Some(expected.0), format!("{policy}: {}\n", expected.1));
        assert_eq!(reasons(folder.path(), &arguments), expected, "{arguments:?}");
    }
}

#[test]
fn junit_has_a_case_for_each_custom_check() {
    let policy = "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {name: own}\n\
        spec: {forbidPendingDuration: 5, \
        custom: [{name: team, expression: 'false'}, {name: cost, expression: 'false'}, \
        {name: old, expression: 'false'}], exemptions: [{checks: [custom/old], reason: known, \
        workload: {kind: Pod, name: web}}]}\n";
    let folder = folder(&[("a.yaml", POD.as_bytes()), ("own.yaml", policy.as_bytes())]);
    let arguments = ["-f", "a.yaml", "--policy", "own.yaml", "-o", "junit"];
    let junit = String::from_utf8(analyze(folder.path(), &arguments, b"").stdout).unwrap();
    assert!(junit.contains("tests=\"4\" failures=\"2\" errors=\"0\" skipped=\"1\""), "{junit}");
    for part in [
        "name=\"custom/team\">\n      <failure message=\"1 finding of custom/team in default\">",
        "name=\"custom/cost\">\n      <failure message=\"1 finding of custom/cost in default\">",
        "name=\"custom/old\">\n      <skipped message=\"1 finding of custom/old in default, exempted",
        "name=\"pending\"/>",
    ] {
        assert!(junit.contains(part), "{part} in {junit}");
    }
}

#[test]
fn the_mistakes_of_a_policy_file_are_named_with_their_lines() {
    let policy = "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {}\nspec:\n  forbidLatestTga: true\n  maxRestartCount: -1\n";
    let folder = folder(&[("a.yaml", POD.as_bytes()), ("policy.yaml", policy.as_bytes())]);
    let output = analyze(folder.path(), &["-f", "a.yaml", "--policy", "policy.yaml"], b"");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: the policy cannot be used:\n  policy.yaml:5: spec.forbidLatestTga: unknown field; did you mean `forbidLatestTag`?\n  policy.yaml:6: spec.maxRestartCount: must be 0 or more, not -1\n"
    );
}

#[test]
fn colour_is_for_terminals_and_can_be_refused() {
    let folder = folder(&[("a.yaml", POD.as_bytes())]);
    let is_coloured = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = policyctl(folder.path());
        command.args(["analyze", "-f", "a.yaml"]).args(arguments).envs(variables.iter().copied());
        command.output().unwrap().stdout.contains(&0x1b)
    };
    let force = ("CLICOLOR_FORCE", "1");
    assert!(!is_coloured(&[], &[]), "no terminal");
    assert!(is_coloured(&[force], &[]));
    assert!(!is_coloured(&[force], &["--no-color"]));
    assert!(!is_coloured(&[force, ("NO_COLOR", "1")], &[]));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    // More than a pipe holds, so that the writer meets the closed end.
    let many = vec![POD; 2000].join("---\n");
    let folder = folder(&[("a.yaml", many.as_bytes())]);
    let mut child = policyctl(folder.path())
        .args(["analyze", "-f", "a.yaml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..50 {
        let pod = POD.replace("web", &format!("web-{i}"));
        fs::write(folder.path().join(format!("{i}.yaml")), [&*pod; 20].join("---\n")).unwrap();
    }
    for format in ["table", "json", "yaml", "sarif", "junit"] {
        let run = || analyze(folder.path(), &["-f", ".", "-o", format], b"").stdout;
        let first = run();
        assert!((0..3).all(|_| run() == first), "{format}");
    }
}
