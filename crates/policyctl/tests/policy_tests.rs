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
