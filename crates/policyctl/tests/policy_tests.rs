//! `policyctl test`: what it writes is what it then expects, and its formats follow their schemas.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const STRICT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/policy-tests/strict");

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_policyctl");
    Command::new(program).current_dir(folder).arg("test").args(arguments).output().unwrap()
}

fn schema(name: &str) -> jsonschema::Validator {
    let text = fs::read_to_string(format!("{ROOT}/docs/{name}.schema.json")).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

#[test]
fn the_actual_verdicts_are_written_in_place_of_the_tests_only() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["strict.yaml", "web.yaml"] {
        fs::copy(format!("{STRICT}/{name}"), folder.path().join(name)).unwrap();
    }
    let file = folder.path().join("policy-test.yaml");
    let shipped = fs::read_to_string(format!("{STRICT}/policy-test.yaml")).unwrap();
    let (head, _) = shipped.split_once("tests:").unwrap();
    let named = "tests: # of the web team\n- name: an image without tag is denied\n  object: Deployment/web\n  admission: allowed\n";
    let after = "# The namespace is moved to the end.\nnamespace: shop\n";
    fs::write(&file, head.replace("namespace: shop\n", "") + named + after).unwrap();

    assert_eq!(run(folder.path(), &[]).status.code(), Some(1), "the admission differs");
    let written = run(folder.path(), &["--write"]);
    let note = String::from_utf8(written.stderr).unwrap();
    assert_eq!((written.status.code(), &*note), (Some(0), "policy-test.yaml: wrote, 2 tests\n"));
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text, shipped.replace("namespace: shop\n", "") + after);
    assert_eq!(run(folder.path(), &[]).status.code(), Some(0));
    // The same from another folder, where the names of the files differ.
    let path = folder.path().to_str().unwrap();
    assert_eq!(run(Path::new("/"), &["--write", path]).status.code(), Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn a_file_in_another_style_is_not_rewritten() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(format!("{STRICT}/web.yaml"), folder.path().join("web.yaml")).unwrap();
    let file = folder.path().join("policy-test.yaml");
    let flow = "{policies: [{bundle: baseline}], objects: [web.yaml]}\n";
    fs::write(&file, flow).unwrap();
    let output = run(folder.path(), &["--write"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("policy-test.yaml: cannot be rewritten"), "{error}");
    assert_eq!((output.status.code(), fs::read_to_string(&file).unwrap()), (Some(2), flow.into()));
}

/// The kinds are in a variable, as a CI system sets it: empty, or with blanks.
#[test]
fn an_object_of_a_configured_kind_has_a_name_that_the_schema_knows() {
    let folder = tempfile::tempdir().unwrap();
    let test = |kinds: &str, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_policyctl"));
        command.current_dir(folder.path()).env("POLICYCTL_WORKLOAD_KINDS", kinds);
        command.arg("test").args(arguments).output().unwrap()
    };
    let rollout = "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: web}\n\
        spec: {template: {spec: {containers: [{name: web, image: nginx}]}}}\n";
    fs::write(folder.path().join("web.yaml"), rollout).unwrap();
    let file = folder.path().join("policy-test.yaml");
    fs::write(&file, "policies:\n- bundle: baseline\nobjects: [web.yaml]\n").unwrap();
    let kinds = "argoproj.io/Rollout, example.com/Batch,";
    assert_eq!(test(kinds, &["--write"]).status.code(), Some(0));
    let written: Value = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(written["tests"][0]["object"], "Rollout/web");
    assert!(schema("policy-test").is_valid(&written), "{written}");
    // One file, whatever paths lead to it.
    let once = test(kinds, &[".", "policy-test.yaml", "-o", "json"]);
    let once: Value = serde_json::from_slice(&once.stdout).unwrap();
    assert_eq!(once["summary"]["passed"], 1, "{once}");
    let unknown = test("", &[]);
    let printed = String::from_utf8(unknown.stdout).unwrap();
    assert!(printed.contains("`Rollout/web` is no KIND/NAME"), "{printed}");
    assert_eq!(unknown.status.code(), Some(2));
}

/// The API server writes quantities anew, but for those of a custom resource.
#[test]
fn a_custom_check_sees_a_manifest_as_the_webhook_would() {
    let folder = tempfile::tempdir().unwrap();
    let spec = "spec: {template: {spec: {containers: [{name: web, image: nginx, \
        resources: {limits: {memory: 1024Mi}}}]}}}\n";
    let object = |version: &str, kind: &str| {
        format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: web}}\n{spec}")
    };
    let both =
        object("apps/v1", "Deployment") + "---\n" + &object("argoproj.io/v1alpha1", "Rollout");
    fs::write(folder.path().join("web.yaml"), both).unwrap();
    let policy = "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {name: own}\n\
        spec: {custom: [{name: memory, severity: high, expression: \"object.spec.containers.all(c, \
        c.resources.limits.memory == '1Gi')\"}]}\n";
    fs::write(folder.path().join("own.yaml"), policy).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_policyctl"));
    command.current_dir(folder.path()).args(["--workload-kind", "argoproj.io/Rollout", "admit"]);
    command.args(["-f", "web.yaml", "--policy", "own.yaml", "-o", "json"]);
    let report: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    let outcome = |index: usize| &report["objects"][index]["outcome"];
    assert_eq!([outcome(0), outcome(1)], ["allowed", "denied"], "{report:#}");
}

#[test]
fn reports_and_shipped_test_files_follow_their_schemas() {
    let report = schema("test");
    for arguments in ["deploy/examples", "crates/policyctl/tests/policy-tests"] {
        let output = run(Path::new(ROOT), &["-o", "json", arguments]);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let errors: Vec<String> = report.iter_errors(&json).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{arguments}: {errors:?}");
    }
    let file = schema("policy-test");
    let is_valid = |path: &str| {
        let text = fs::read_to_string(path).unwrap();
        file.is_valid(&serde_saphyr::from_str::<Value>(&text).unwrap())
    };
    for bundle in ["baseline", "restricted", "permissive"] {
        let path = format!("{ROOT}/deploy/examples/policies/{bundle}.policy-test.yaml");
        assert!(is_valid(&path), "{path}");
    }
    assert!(is_valid(&format!("{STRICT}/policy-test.yaml")));
    assert!(!is_valid(&format!("{STRICT}/../mistakes/type.policy-test.yaml")));
}
