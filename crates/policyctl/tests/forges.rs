//! What the GitHub Action, the template for GitLab and the hooks of pre-commit run.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

const WEB: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\n\
    spec: {template: {spec: {containers: [{name: web, image: nginx}]}}}\n";

const GOOD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: job, namespace: shop}\n\
    spec: {restartPolicy: Never, containers: [{name: job, image: 'busybox:1.37', \
    resources: {requests: {cpu: 1}, limits: {memory: 1Gi}}}]}\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn yaml(file: &str) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(root().join(file)).unwrap()).unwrap()
}

/// A repository with a manifest in a folder with a space in its name.
fn repository() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("my deploy")).unwrap();
    fs::write(folder.path().join("my deploy/app.yaml"), WEB).unwrap();
    folder
}

/// Replaces its manifest by one without findings.
fn mend(repository: &TempDir) {
    fs::write(repository.path().join("my deploy/app.yaml"), GOOD).unwrap();
}

/// The mapping in flow style that a comment or a page has after this key.
fn example(file: &str, key: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join(file)).unwrap();
    let (_, after) = text.split_once(&format!("{key}: {{")).unwrap();
    let (mapping, _) = after.split_once('}').unwrap();
    let mapping: Value = serde_saphyr::from_str(&format!("{{{mapping}}}")).unwrap();
    let pair = |(key, value): (&String, &Value)| (key.clone(), value.as_str().unwrap().to_owned());
    mapping.as_object().unwrap().iter().map(pair).collect()
}

/// Runs a command of a shell there, with this build of policyctl on the path.
fn shell(folder: &Path, command: &str, variables: &[(&str, &str)]) -> Output {
    let programs = Path::new(env!("CARGO_BIN_EXE_policyctl")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    Command::new("bash")
        .args(["-euo", "pipefail", "-c", command])
        .current_dir(folder)
        .env("PATH", path)
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn json(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

#[test]
fn the_action_writes_sarif_and_a_summary_and_fails_as_asked() {
    let action = yaml(".github/actions/policyctl/action.yml");
    let steps = action["runs"]["steps"].as_array().unwrap();
    let judge = &steps[1];
    assert!(judge["run"].as_str().unwrap().ends_with("bash \"$GITHUB_ACTION_PATH/judge.sh\""));
    // Each input of the step has a variable, with its default here.
    let inputs = action["inputs"].as_object().unwrap();
    let variables: Vec<(&str, &str)> = judge["env"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(variable, from)| {
            let from = from.as_str().unwrap().trim_start_matches("${{ inputs.");
            (&**variable, inputs[from.trim_end_matches(" }}")]["default"].as_str().unwrap())
        })
        .collect();
    let repository = repository();
    let folder = repository.path();
    let script = root().join(".github/actions/policyctl/judge.sh");
    let run = |changed: &[(&str, &str)]| {
        let mut all = variables.clone();
        all.extend([("GITHUB_STEP_SUMMARY", "summary.md")]);
        all.extend(changed);
        shell(folder, &format!("bash '{}'", script.display()), &all)
    };
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("===== DevOps"));
    let sarif = json(&folder.join("policyctl.sarif"));
    let place = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "my%20deploy/app.yaml");
    let summary = fs::read_to_string(folder.join("summary.md")).unwrap();
    assert!(summary.contains("missing liveness probe"), "{summary}");
    let files = ("FILES", "my deploy/app.yaml\n$(touch harm)\n");
    let output = run(&[files]);
    assert!(output.status.code() == Some(2) && !folder.join("harm").exists(), "{output:?}");
    // What the comment and the page have as an example, but of the files here.
    let comment = example(".github/actions/policyctl/action.yml", "with");
    assert_eq!(comment, example("docs/policyctl.md", "with"));
    let mut shown: Vec<(String, &str)> = comment
        .iter()
        .map(|(input, value)| (input.to_uppercase().replace('-', "_"), value.as_str()))
        .collect();
    shown.push(("FILES".to_owned(), "my deploy"));
    let shown: Vec<(&str, &str)> = shown.iter().map(|(name, value)| (&**name, *value)).collect();
    assert_eq!(run(&shown).status.code(), Some(1));
    assert_eq!(run(&[("FAIL_ON", "")]).status.code(), Some(0), "none");
    mend(&repository);
    assert_eq!(run(&[]).status.code(), Some(0));
}

#[test]
fn the_template_for_gitlab_writes_its_reports() {
    let template = yaml("deploy/gitlab/policyctl.yml");
    let job = &template["policyctl"];
    let script = job["script"][0].as_str().unwrap();
    let variables: Vec<(&str, &str)> = template["variables"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (&**name, value.as_str().unwrap()))
        .collect();
    let repository = repository();
    let folder = repository.path();
    let output = shell(folder, script, &variables);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let reports = &job["artifacts"]["reports"];
    let report = |name: &str| folder.join(reports[name].as_str().unwrap());
    let issues = json(&report("codequality"));
    let issues = issues.as_array().unwrap();
    assert_eq!(issues.len(), 4, "{issues:#?}");
    for issue in issues {
        assert_eq!(issue["location"]["path"], "my deploy/app.yaml");
        assert!(issue["location"]["lines"]["begin"].as_u64() >= Some(1));
    }
    let fingerprints: std::collections::BTreeSet<_> =
        issues.iter().map(|issue| issue["fingerprint"].as_str().unwrap()).collect();
    assert_eq!(fingerprints.len(), issues.len());
    assert!(
        fs::read_to_string(report("junit")).unwrap().contains("<testsuites name=\"policyctl\"")
    );
    let comment = example("deploy/gitlab/policyctl.yml", "variables");
    let options = comment.iter().find(|(name, _)| name == "POLICYCTL_OPTIONS").unwrap();
    let shown = [&variables[..], &[("POLICYCTL_OPTIONS", &*options.1)]].concat();
    assert_eq!(shell(folder, script, &shown).status.code(), Some(1));
    mend(&repository);
    assert_eq!(shell(folder, script, &variables).status.code(), Some(0));
    // A file that cannot be read is the gravest issue.
    fs::write(folder.join("broken.yaml"), "apiVersion: v1\nkind: Pod\nspec: [\n").unwrap();
    let output = shell(folder, script, &variables);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let first = &json(&report("codequality"))[0];
    assert_eq!((&first["severity"], &first["check_name"]), (&"blocker".into(), &"not-read".into()));
    assert_eq!(first["location"]["path"], "broken.yaml");
}

#[test]
fn each_hook_of_pre_commit_runs() {
    let hooks = yaml(".pre-commit-hooks.yaml");
    let repository = repository();
    let folder = repository.path();
    let run = |hook: &str| {
        let hook = hooks.as_array().unwrap().iter().find(|found| found["id"] == hook).unwrap();
        let own: Vec<&str> =
            hook["args"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        let command = format!("{} {}", hook["entry"].as_str().unwrap(), own.join(" "));
        shell(folder, &command, &[]).status.code()
    };
    assert_eq!(run("policyctl"), Some(1));
    assert_eq!(run("policyctl-test"), Some(2), "there is no test file");
    mend(&repository);
    assert_eq!(run("policyctl"), Some(0));
}
