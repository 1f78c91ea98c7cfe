//! `policyctl fix` against a real API server: what it accepted before, it accepts edited as well.
//! `FIX_CORPUS` names one more folder of manifests to try it on.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

mod chart;

use std::path::Path;
use std::{env, fs};

use e2e::{Testbed, shared};
use serde_json::Value;

use crate::cli;

/// Manifests of all kinds and styles, beside the tests of `policyctl`.
const STYLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/policyctl/tests/fix");

/// Whether the API server would take the objects of a file.
fn is_accepted(testbed: &Testbed, namespace: &str, file: &Path) -> bool {
    let file = file.to_str().unwrap();
    let arguments = ["apply", "--dry-run=server", "-n", namespace, "-f", file];
    testbed.kubectl(&arguments).unwrap().code == Some(0)
}

/// The files that are edited below a folder.
fn edited(testbed: &Testbed, folder: &Path) -> Vec<String> {
    let arguments = ["fix", "-f", folder.to_str().unwrap(), "--bundle", "restricted", "-o", "json"];
    let run = cli::run(testbed.kubeconfig(), &arguments, "");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let files = report["files"].as_array().unwrap().iter();
    files.map(|file| file["file"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_api_server_accepts_what_is_edited() {
    let testbed = shared();
    let namespace = testbed.namespace("fix").unwrap();
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(STYLES).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("namespace: shop", &format!("namespace: {namespace}"));
        fs::write(folder.path().join(path.file_name().unwrap()), text).unwrap();
    }
    let more = env::var("FIX_CORPUS").ok().into_iter().map(Into::into);
    let folders = [folder.path().to_owned()].into_iter().chain(more);
    let (mut tried, mut refused) = (0, Vec::new());
    for name in folders.flat_map(|folder| edited(testbed, &folder)) {
        let original = Path::new(&name);
        if !is_accepted(testbed, &namespace, original) {
            continue;
        }
        let copy = folder.path().join("copy.yaml");
        fs::copy(original, &copy).unwrap();
        let copied = copy.to_str().unwrap();
        let arguments = ["fix", "-f", copied, "--bundle", "restricted", "--write", "--quiet"];
        cli::expect(testbed, 0, &arguments, "");
        assert_ne!(fs::read(&copy).unwrap(), fs::read(original).unwrap(), "{name}");
        tried += 1;
        if !is_accepted(testbed, &namespace, &copy) {
            refused.push(name);
        }
    }
    assert!(tried >= 2, "{tried}");
    assert_eq!(refused, [] as [String; 0], "of {tried}");
}

#[test]
fn what_is_applied_lacks_nothing_any_more() {
    let testbed = shared();
    let namespace = testbed.namespace("fixed").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("styles.yaml");
    let text = fs::read_to_string(format!("{STYLES}/styles.yaml")).unwrap();
    fs::write(&file, text.replace("namespace: shop", &format!("namespace: {namespace}"))).unwrap();
    let file = file.to_str().unwrap();
    cli::expect(testbed, 0, &["fix", "-f", file, "--bundle", "restricted", "--write"], "");
    testbed.apply(&fs::read_to_string(file).unwrap()).unwrap();
    let arguments = ["get", "deployment/web", "-n", &namespace, "-o", "json"];
    let stored: Value = serde_json::from_str(&testbed.kubectl(&arguments).unwrap().stdout).unwrap();
    let containers = &stored["spec"]["template"]["spec"]["containers"];
    let ports = [0, 1, 2].map(|index| &containers[index]["readinessProbe"]["tcpSocket"]["port"]);
    assert_eq!(ports, [80, 8443, 8080], "the declared port of each, 8080 where it is declared");
    assert_eq!(containers[2]["resources"]["requests"]["cpu"], "500m", "its own value stays");
    assert_eq!(containers[1]["resources"]["limits"]["memory"], "256Mi");
    assert_eq!(containers[2]["resources"]["limits"]["memory"], "64Mi");
    assert!(containers[2]["livenessProbe"]["exec"].is_object(), "its own probe stays");
}

#[test]
fn what_a_limit_range_of_the_input_refuses_is_not_filled_in() {
    let testbed = shared();
    let namespace = testbed.namespace("limits").unwrap();
    let range = format!(
        "apiVersion: v1\nkind: LimitRange\nmetadata: {{name: small, namespace: {namespace}}}\n\
         spec: {{limits: [{{type: Container, max: {{memory: 100Mi}}}}]}}\n"
    );
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web, namespace: {namespace}}}\nspec:\n  \
         containers:\n  - name: web\n    image: nginx:1.27\n    ports: [{{containerPort: 80}}]\n"
    );
    testbed.apply(&range).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let fixed = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        assert!(is_accepted(testbed, &namespace, &file), "{name}");
        let path = file.to_str().unwrap();
        let run = cli::run(
            testbed.kubeconfig(),
            &["fix", "-f", path, "--bundle", "restricted", "--write"],
            "",
        );
        assert!(fs::read_to_string(&file).unwrap().contains("livenessProbe"), "{run:?}");
        (run.stderr, is_accepted(testbed, &namespace, &file))
    };
    let (_, is_taken) = fixed("alone.yaml", &pod);
    assert!(!is_taken, "the limit of the policy is above max");
    let (said, is_taken) = fixed("together.yaml", &format!("{range}---\n{pod}"));
    assert!(is_taken && said.contains("LimitRange small"), "{said}");
}
