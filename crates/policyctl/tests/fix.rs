//! `policyctl fix` over every manifest of the project: what it edits has nothing left that it could
//! fill in, and nothing else of it changes. `FIX_CORPUS` names one more folder to try it on.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::{env, fs};

use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Where the project has manifests.
const FOLDERS: [&str; 5] =
    ["crates/policyctl/tests", "crates/policy-core", "deploy", "docs", "charts"];
const MANIFESTS: [&str; 3] = ["yaml", "yml", "json"];

fn policyctl(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_policyctl"));
    command.current_dir(folder).args(arguments).output().unwrap()
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    let output = policyctl(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.stdout.is_empty(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn git(folder: &Path, arguments: &[&str], input: &[u8]) {
    let mut command = Command::new("git");
    // Neither settings of the user nor a repository around the temporary folders.
    command.env("GIT_CEILING_DIRECTORIES", env::temp_dir()).env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.current_dir(folder).args(arguments).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut git = command.spawn().unwrap();
    std::io::Write::write_all(&mut git.stdin.take().unwrap(), input).unwrap();
    let output = git.wait_with_output().unwrap();
    let reason = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {reason}");
}

/// The files below a folder, by their paths in it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let is_manifest =
                path.extension().is_some_and(|ext| MANIFESTS.iter().any(|m| ext == *m));
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if is_manifest && path.is_file() {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

/// A folder with a copy of all manifests, also with the line endings of Windows and without the last
/// line break, and what they were.
fn corpus() -> (tempfile::TempDir, BTreeMap<String, Vec<u8>>) {
    let folder = tempfile::tempdir().unwrap();
    let more = env::var("FIX_CORPUS").ok();
    let sources = FOLDERS.iter().map(|name| Path::new(ROOT).join(name));
    for (index, source) in sources.chain(more.map(Into::into)).enumerate() {
        for (name, bytes) in files(&source) {
            let copy = folder.path().join(index.to_string()).join(name);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::write(copy, bytes).unwrap();
        }
    }
    for (name, bytes) in files(folder.path()) {
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let windows = text.replace("\r\n", "\n").replace('\n', "\r\n");
        for (variant, text) in [("crlf", windows.as_str()), ("cut", text.trim_end_matches('\n'))] {
            let copy = folder.path().join(variant).join(&name);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::write(copy, text).unwrap();
        }
    }
    let originals = files(folder.path());
    (folder, originals)
}

/// `file container check` of each finding that could be filled in.
fn lacking(folder: &Path) -> BTreeSet<String> {
    let report = json(folder, &["analyze", "-f", ".", "--bundle", "restricted", "-o", "json"]);
    let findings = report["findings"].as_array().unwrap();
    let lacking = findings
        .iter()
        .filter(|finding| finding["check"].as_str().unwrap().starts_with("missing-"));
    lacking
        .map(|finding| {
            let of = |name: &str| finding[name].as_str().unwrap_or_default();
            let check = match of("check") {
                "missing-liveness" => "livenessProbe",
                "missing-readiness" => "readinessProbe",
                _ => "resources",
            };
            format!("{} {}/{} {} {check}", of("file"), of("kind"), of("name"), of("container"))
        })
        .collect()
}

/// The same of what `fix` says that it leaves.
fn left(report: &Value) -> impl Fn(&str) -> bool + use<> {
    let mut left = BTreeSet::new();
    for workload in report["workloads"].as_array().unwrap() {
        let of = |name: &str| workload[name].as_str().unwrap();
        let subject = format!("{} {}/{} ", of("file"), of("kind"), of("name"));
        for part in workload["left"].as_array().unwrap() {
            let field = part["field"].as_str().unwrap_or_default();
            let field = match field.split_once('.') {
                Some(("requests" | "limits", _)) => "resources",
                _ => field,
            };
            let container = part["container"].as_str().unwrap_or_default();
            left.insert(match (container, field) {
                ("", "") => subject.clone(),
                (container, field) => format!("{subject}{container} {field}"),
            });
        }
    }
    move |finding| left.iter().any(|left| finding.starts_with(left.as_str()))
}

/// Whether a text is another one with something put into it.
fn only_adds(before: &[u8], after: &[u8]) -> bool {
    let mut rest = before.iter().peekable();
    for byte in after {
        rest.next_if_eq(&byte);
    }
    rest.next().is_none()
}

#[test]
fn every_manifest_has_nothing_left_that_can_be_filled_in() {
    let (folder, originals) = corpus();
    let folder = folder.path();
    git(folder, &["init", "-q", "."], b"");
    let arguments = ["fix", "-f", ".", "--bundle", "restricted"];
    let lacking_before = lacking(folder);
    let report = json(folder, &[&arguments[..], &["-o", "json"]].concat());
    let is_left = left(&report);
    let edited: BTreeSet<&str> = report["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["file"].as_str().unwrap())
        .collect();
    assert!(
        edited.len() >= 25 && lacking_before.len() >= 200,
        "{edited:?} {}",
        lacking_before.len()
    );

    let output = policyctl(folder, &arguments);
    assert_eq!(files(folder), originals, "without --write nothing is written");
    git(folder, &["apply", "--check"], &output.stdout);
    git(folder, &["apply"], &output.stdout);
    let applied = files(folder);
    for (name, before) in &originals {
        assert_eq!(applied[name] != *before, edited.contains(name.as_str()), "{name}");
        assert!(only_adds(before, &applied[name]), "{name}");
    }
    // What is still missing was named with its reason, and nothing that was missing is forgotten.
    for finding in lacking(folder) {
        assert!(is_left(&finding), "{finding}");
    }
    let again = policyctl(folder, &arguments);
    assert_eq!(String::from_utf8_lossy(&again.stdout), "", "a second time there is no diff");

    for (name, before) in &originals {
        fs::write(folder.join(name), before).unwrap();
    }
    let written = policyctl(folder, &[&arguments[..], &["--write"]].concat());
    assert!(written.stdout.is_empty());
    assert_eq!(files(folder), applied, "--write does what the diff says");
}

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
      containers:
      - name: web
        image: nginx
        ports:
        - containerPort: 80
";

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn the_exit_code_says_whether_there_is_a_diff() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("web.yaml"), DEPLOYMENT).unwrap();
    let fix = |more: &[&str]| {
        policyctl(folder, &[&["fix", "-f", "web.yaml", "--bundle", "restricted"], more].concat())
    };
    let diff = fix(&[]);
    assert_eq!(diff.status.code(), Some(1));
    assert!(
        said(&diff)
            .contains("web.yaml:9: Deployment default/web, container web: uses :latest image tag"),
        "{}",
        said(&diff)
    );
    assert!(
        said(&diff).ends_with("1 workload to fill in in 1 file; 0 with something left; 1 hint\n"),
        "{}",
        said(&diff)
    );
    assert_eq!(fix(&["--write"]).status.code(), Some(0));
    assert_eq!(fix(&[]).status.code(), Some(0), "nothing is left to do");
    let baseline = policyctl(folder, &["fix", "-f", "web.yaml", "--bundle", "baseline"]);
    assert_eq!(baseline.status.code(), Some(2));
    assert!(said(&baseline).contains("neither defaultProbe nor defaultResources"));
    let stdin = policyctl(folder, &["fix", "-f", "-", "--bundle", "restricted", "--write"]);
    assert_eq!(stdin.status.code(), Some(2), "{}", said(&stdin));
}

const AUTOSCALER: &str = "\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: scaler
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
";

#[test]
fn what_another_file_of_the_input_says_counts() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("web.yaml"), DEPLOYMENT).unwrap();
    fs::write(folder.join("x-scaler.yaml"), AUTOSCALER).unwrap();
    let fix = |arguments: &[&str]| {
        policyctl(folder, &[&["fix", "--bundle", "restricted"], arguments].concat())
    };
    let cpu = "requests.cpu and limits.cpu are not filled in: HorizontalPodAutoscaler scaler computes with its cpu";
    for files in [&["-f", "."][..], &["-f", "x-scaler.yaml", "-f", "web.yaml"]] {
        let output = fix(files);
        let diff = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(diff.contains("+            memory: 128Mi\n") && !diff.contains("cpu:"), "{diff}");
        assert!(said(&output).contains(cpu), "{}", said(&output));
    }
    let alone = fix(&["-f", "web.yaml"]);
    assert!(String::from_utf8(alone.stdout).unwrap().contains("+            cpu: 100m\n"));

    // Standard input can be read only once.
    let mut command = Command::new(env!("CARGO_BIN_EXE_policyctl"));
    command.args(["fix", "-f", "-", "--bundle", "restricted"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let input = format!("{DEPLOYMENT}---\n{AUTOSCALER}");
    std::io::Write::write_all(&mut process.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let diff = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(diff.contains("+            memory: 128Mi\n") && !diff.contains("cpu:"), "{diff}");
    assert!(said(&output).contains(cpu), "{}", said(&output));

    // One that cannot be read is no reason to stop, and is named.
    fs::write(folder.join("x-scaler.yaml"), format!("{AUTOSCALER}  broken: {{]\n")).unwrap();
    let output = fix(&["-f", "."]);
    assert!(
        said(&output).contains("x-scaler.yaml:1: cannot be read, so that"),
        "{}",
        said(&output)
    );
}

#[cfg(unix)]
#[test]
fn what_must_not_be_written_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["web.yaml", "locked.yaml"] {
        fs::write(folder.join(name), DEPLOYMENT).unwrap();
    }
    std::os::unix::fs::symlink("web.yaml", folder.join("link.yaml")).unwrap();
    let mut permissions = fs::metadata(folder.join("locked.yaml")).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(folder.join("locked.yaml"), permissions).unwrap();
    let files =
        ["fix", "-f", "link.yaml", "-f", "locked.yaml", "--bundle", "restricted", "--write"];
    let output = policyctl(folder, &files);
    assert_eq!(output.status.code(), Some(2));
    let said = said(&output);
    assert!(said.contains("error: link.yaml: is a symbolic link"), "{said}");
    assert!(said.contains("error: locked.yaml: is read-only"), "{said}");
    assert_eq!(fs::read_to_string(folder.join("web.yaml")).unwrap(), DEPLOYMENT);
}

#[test]
fn a_path_that_git_applies_elsewhere_is_named() {
    let root = tempfile::tempdir().unwrap();
    let (outer, inner) = (root.path().join("deploy"), root.path().join("deploy/deploy"));
    fs::create_dir_all(&inner).unwrap();
    for folder in [&outer, &inner] {
        fs::write(folder.join("web.yaml"), DEPLOYMENT).unwrap();
    }
    git(root.path(), &["init", "--quiet"], b"");
    let fix = |folder: &Path, file: &str| {
        policyctl(folder, &["fix", "-f", file, "--bundle", "restricted"])
    };
    let wrong = fix(&outer, "deploy/web.yaml");
    assert!(
        said(&wrong).contains("deploy/web.yaml: `git apply` takes the path for one of the root")
    );
    git(&outer, &["apply"], &wrong.stdout);
    assert_eq!(fs::read_to_string(inner.join("web.yaml")).unwrap(), DEPLOYMENT, "as it says");

    fs::write(outer.join("web.yaml"), DEPLOYMENT).unwrap();
    let right = fix(root.path(), "deploy/deploy/web.yaml");
    assert!(!said(&right).contains("git apply"));
    git(root.path(), &["apply"], &right.stdout);
    assert_eq!(fs::read_to_string(outer.join("web.yaml")).unwrap(), DEPLOYMENT);
    assert!(fs::read_to_string(inner.join("web.yaml")).unwrap().contains("livenessProbe"));
    assert!(!said(&fix(&outer, "web.yaml")).contains("git apply"));
    let outside = fix(&outer, "../deploy/web.yaml");
    assert!(said(&outside).contains("web.yaml: `git apply` takes no such path"));
}

#[test]
fn an_audit_policy_fills_in_what_it_would_in_enforce_mode() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("web.yaml"), DEPLOYMENT).unwrap();
    let policy = "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {name: strict}\nspec:\n  defaultResources: {cpuRequest: 100m, memoryRequest: 64Mi, memoryLimit: 128Mi}\n";
    fs::write(folder.join("policy.yaml"), policy).unwrap();
    let output = policyctl(folder, &["fix", "-f", "web.yaml", "--policy", "policy.yaml"]);
    let diff = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(diff.contains("+          limits:\n+            memory: 128Mi\n"), "{diff}");
    assert!(!said(&output).contains("enables no check"), "{}", said(&output));
}

#[test]
fn what_is_told_is_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let hidden = folder.join("web.txt");
    fs::write(&hidden, DEPLOYMENT).unwrap();
    fs::hard_link(&hidden, folder.join("web.yaml")).unwrap();
    let fix = |arguments: &[&str]| {
        policyctl(folder, &[&["fix", "--bundle", "restricted", "-f"], arguments].concat())
    };
    let refused = fix(&["web.yaml", "--write"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        said(&refused).contains("0 workloads filled in; 0 of 1 file written;"),
        "{}",
        said(&refused)
    );

    let portless = DEPLOYMENT.replace("        ports:\n        - containerPort: 80\n", "");
    let each = |number| portless.replace("name: web\nspec", &format!("name: web-{number}\nspec"));
    let many: Vec<String> = (0..60).map(each).collect();
    fs::write(folder.join("many.yaml"), many.join("---\n")).unwrap();
    let output = fix(&["many.yaml", "-o", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["workloads"].as_array().unwrap().len(), 60);
    let told = said(&output);
    assert_eq!(told.matches("is a guess").count(), 50, "{told}");
    assert!(told.contains("10 more workloads not named here; -o json has all"), "{told}");
}

#[test]
fn a_hint_about_values_does_not_need_a_text_that_can_be_edited() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let rendered = format!(
        "---\n# Source: shop/templates/web.yaml\n{}        resources: null\n",
        DEPLOYMENT.replace("  name: web\nspec", "  name: web\n  annotations: {a: '{{ b }}'}\nspec")
    );
    fs::write(folder.join("web.yaml"), rendered).unwrap();
    fs::write(folder.join("values.yaml"), "web: {resources: {}}\n").unwrap();
    let with = ["fix", "-f", "web.yaml", "--bundle", "restricted", "--values", "values.yaml"];
    let output = policyctl(folder, &with);
    assert!(
        said(&output).contains("perhaps .Values.web.resources of shop/templates/web.yaml, which")
    );
    let told = said(&policyctl(folder, &with[..5]));
    assert!(told.contains("is left as it is: its document has `{{`"), "{told}");
}
