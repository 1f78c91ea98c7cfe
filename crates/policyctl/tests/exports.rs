//! `policyctl export-vap` and `export-map` on files, without a cluster: what their objects judge and
//! fill in is what they say.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const LEGACY: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: legacy, namespace: shop}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {containers: [{name: app, image: nginx}]}
";

/// What is printed, each comment on one line, and what is said.
fn export(folder: &Path, arguments: &[&str]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_policyctl"))
        .current_dir(folder)
        .env("KUBECONFIG", "/nonexistent")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    let stdout = stdout.replace("\n#   ", " ");
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    (stdout, stderr)
}

fn policy(spec: &str) -> String {
    format!(
        "{{apiVersion: devops.stochastic.io/v1, kind: DevOpsPolicy, \
         metadata: {{name: own, namespace: shop}}, spec: {spec}}}"
    )
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// The exemption that ends is not in the objects, which deny what it exempts.
#[test]
fn what_exists_is_judged_as_the_objects_judge_it() {
    let exempted = |more: &str| {
        policy(&format!(
            "{{forbidLatestTag: true, severityOverrides: {{latestTag: high}}, exemptions: [{{\
             checks: [latest-tag], workload: {{kind: Deployment, name: legacy}}, reason: r{more}}}]}}"
        ))
    };
    let ends = exempted(", expires: \"2999-01-01T00:00:00Z\"");
    let folder =
        folder(&[("ends.yaml", &*ends), ("stays.yaml", &exempted("")), ("legacy.yaml", LEGACY)]);
    for (file, denied) in [("ends.yaml", 1), ("stays.yaml", 0)] {
        let arguments = ["export-vap", "--policy", file, "-f", "legacy.yaml"];
        let (_, said) = export(folder.path(), &arguments);
        let expected = format!("1 object, of which {denied} would be denied if created now");
        assert!(said.contains(&expected), "{file}: {said}");
    }
}

#[test]
fn kinds_of_ones_own_are_let_in_and_not_counted() {
    let rollout =
        LEGACY.replace("apps/v1", "argoproj.io/v1alpha1").replace("Deployment", "Rollout");
    let folder = folder(&[("all.yaml", &format!("{LEGACY}---\n{rollout}"))]);
    let own = ["--workload-kind", "argoproj.io/Rollout", "-f", "all.yaml"];
    let bundle = ["export-vap", "--bundle", "restricted", "-n", "shop"];
    let (printed, said) = export(folder.path(), &[&bundle[..], &own].concat());
    assert!(said.contains("existing in namespace shop: 1 object, of which"), "{said}");
    let note =
        "not judged: 1 object of your own kinds, such as Rollout, which these objects let in";
    assert!(said.contains(note), "{said}");
    assert!(printed.contains("# - Workloads of kinds of your own (workloadKinds"), "{printed}");
}

#[test]
fn what_is_exempted_is_not_filled_in_or_named() {
    let enforce = |exemption: &str| {
        policy(&format!(
            "{{requireReadinessProbe: true, enforcementMode: enforce, defaultProbe: \
             {{tcpPort: 8080}}, exemptions: [{{checks: [missing-readiness], reason: r, {exemption}}}]}}"
        ))
    };
    for (exemption, expression) in [
        (
            "workload: {kind: StatefulSet, name: db}",
            "owner.kind == 'StatefulSet' && owner.name == \"db\"",
        ),
        ("workload: {kind: Deployment, name: web}", "owner.name == \"web-\" + object.metadata"),
        ("workload: {kind: DaemonSet, name: a}, container: c", "&& c.name == \"c\""),
        ("workload: {kind: Pod, name: db-0}", "object.metadata.?name.orValue('') == \"db-0\""),
    ] {
        let folder = folder(&[("p.yaml", &enforce(exemption))]);
        let (printed, _) = export(folder.path(), &["export-map", "-n", "shop", "-f", "p.yaml"]);
        let unquoted = printed.replace("\\\"", "\"");
        assert!(unquoted.contains(expression), "{expression}: {printed}");
        assert!(!printed.contains("# - spec.exemptions"), "{printed}");
    }
    for (exemption, is_named) in [
        ("workload: {kind: Deployment, name: web}, expires: \"2999-01-01T00:00:00Z\"", true),
        ("selector: {matchLabels: {a: b}}", true),
        ("workload: {kind: Rollout, name: web}", true),
        ("workload: {kind: Job, name: web}", false),
        ("workload: {kind: Deployment, name: web, namespace: other}", false),
    ] {
        let folder = folder(&[("p.yaml", &enforce(exemption))]);
        let (printed, _) = export(folder.path(), &["export-map", "-n", "shop", "-f", "p.yaml"]);
        let remark =
            "# - spec.exemptions[0]: not respected, so that what the workloads lack is filled in.";
        assert_eq!(printed.contains(remark), is_named, "{exemption}: {printed}");
    }
}
