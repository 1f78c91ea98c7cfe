//! Several outputs at once, baselines, and `policyctl report`.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

const WEB: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\n\
    spec: {template: {spec: {containers: [{name: web, image: nginx}]}}}\n";
const JOB: &str = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: job, namespace: shop}\n\
    spec: {restartPolicy: Never, containers: [{name: job, image: busybox}]}\n";

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_policyctl");
    Command::new(program).current_dir(folder).args(arguments).output().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// A folder with the manifests of before and of now, and the report on the former.
fn changed() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("app.yaml"), WEB).unwrap();
    let json = ["analyze", "-f", "app.yaml", "-o", "json=old.json"];
    assert_eq!(run(path, &json).status.code(), Some(0));
    // The finding moves to another line, and one is added.
    fs::write(path.join("app.yaml"), format!("# web\n\n{WEB}{JOB}")).unwrap();
    folder
}

#[test]
fn each_output_goes_where_it_is_sent() {
    let folder = changed();
    let path = folder.path();
    let outputs = ["-o", "table", "-o", "sarif=r.sarif", "-o", "html=r.html", "-o", "json=r.json"];
    let arguments: Vec<&str> = ["analyze", "-f", "app.yaml"].into_iter().chain(outputs).collect();
    let output = run(path, &arguments);
    assert!(text(output.stdout).starts_with("===== DevOps Governance Summary ====="));
    for (file, format) in [("r.sarif", "sarif"), ("r.html", "html"), ("r.json", "json")] {
        let alone = run(path, &["analyze", "-f", "app.yaml", "-o", format]);
        assert_eq!(fs::read_to_string(path.join(file)).unwrap(), text(alone.stdout), "{file}");
    }
    std::os::unix::fs::symlink("r.html", path.join("link")).unwrap();
    std::os::unix::fs::symlink("app.yaml", path.join("to-app")).unwrap();
    for (outputs, sentence) in [
        (["-o", "json", "-o", "yaml"], "two outputs go to standard output"),
        (["-o", "json=a", "-o", "yaml=a"], "two outputs go to the file a"),
        (["-o", "json=a", "-o", "yaml=./a"], "two outputs go to the file ./a"),
        (["-o", "json=r.html", "-o", "yaml=link"], "two outputs go to the file link"),
        (["-o", "table", "-o", "json=app.yaml"], "json=app.yaml would replace an input"),
        (["-o", "table", "-o", "json=to-app"], "json=to-app would replace an input"),
        (["-o", "table", "-o", "json=none/a"], "cannot write none/a: No such file"),
    ] {
        let arguments: Vec<&str> =
            ["analyze", "-f", "app.yaml"].into_iter().chain(outputs).collect();
        let output = run(path, &arguments);
        let error = text(output.stderr);
        assert!(output.status.code() == Some(2) && error.contains(sentence), "{error}");
    }
    assert!(fs::read_to_string(path.join("app.yaml")).unwrap().starts_with("# web"));
}

#[test]
fn with_a_baseline_only_new_findings_are_listed_and_fail() {
    let folder = changed();
    let path = folder.path();
    let analyze = |baseline: &str, more: &[&str]| {
        let arguments = ["analyze", "-f", "app.yaml", "--baseline", baseline, "--fail-on", "low"];
        run(path, &[&arguments, more].concat())
    };
    let all = run(path, &["analyze", "-f", "app.yaml", "--fail-on", "low"]);
    assert_eq!(all.status.code(), Some(1));
    let output = analyze("old.json", &["-o", "table", "-o", "json=new.json", "-o", "junit=j.xml"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(output.stderr);
    assert_eq!(error, "2 new findings of severity low or worse (--fail-on)\n");
    let table = text(output.stdout);
    let counts = "Since the baseline         : 2 new, 4 known and not listed, 0 fixed\n";
    assert!(table.contains(counts) && table.contains("\n2 findings in 1 object: 2 medium\n"));
    assert!(table.contains("shop  Pod/job") && !table.contains("Deployment/web"), "{table}");
    let junit = fs::read_to_string(path.join("j.xml")).unwrap();
    assert!(junit.contains("failures=\"2\"") && !junit.contains("Deployment"), "{junit}");

    // The JSON is whole, so that it is the next baseline.
    let new: Value =
        serde_json::from_str(&fs::read_to_string(path.join("new.json")).unwrap()).unwrap();
    assert_eq!(new["findings"].as_array().unwrap().len(), 6);
    let output = analyze("new.json", &[]);
    assert_eq!((output.status.code(), text(output.stderr)), (Some(0), String::new()));
}

#[test]
fn with_a_baseline_only_what_new_findings_deny_fails() {
    let folder = changed();
    let path = folder.path();
    let analyze = |baseline: &[&str]| {
        let arguments = ["analyze", "-f", "app.yaml", "--bundle", "restricted"];
        let all = [&arguments[..], &["--fail-on", "denied", "-o", "json=new.json"], baseline];
        run(path, &all.concat())
    };
    let output = analyze(&["-o", "table"]);
    assert_eq!(output.status.code(), Some(1));
    let objects = "  shop Deployment/web app.yaml:3 (latest-tag, missing-liveness, missing-readiness)\n  \
                   shop Pod/job app.yaml:8 (latest-tag)\n";
    let table = text(output.stdout);
    assert!(table.contains(&format!("\nAdmission would deny 2 objects:\n{objects}")), "{table}");

    // The Deployment was denied before, and its findings are known.
    let output = analyze(&["--baseline", "old.json"]);
    assert_eq!(output.status.code(), Some(1));
    let reason = "by new findings admission would deny 1 object (--fail-on denied): \
                  shop Pod/job app.yaml:8 (latest-tag)\n";
    assert_eq!(text(output.stderr), reason);
    let whole = fs::read_to_string(path.join("new.json")).unwrap();
    let whole: Value = serde_json::from_str(&whole).unwrap();
    assert_eq!(whole["denied"]["total"], 2, "the next baseline is whole");
    let output = analyze(&["--baseline", "new.json"]);
    assert_eq!((output.status.code(), text(output.stderr)), (Some(0), String::new()));
}

/// The objects of files that would be denied, by place.
fn objects(report: &Value, is_denied: impl Fn(&Value) -> bool) -> Vec<String> {
    let objects = report["objects"].as_array().unwrap().iter().filter(|object| is_denied(object));
    let place = |of: &Value| {
        format!("{}:{} {} {} {}", of["file"], of["line"], of["namespace"], of["kind"], of["name"])
    };
    let mut places: Vec<_> = objects.map(place).collect();
    places.sort();
    places
}

#[test]
fn analyze_denies_what_admit_denies() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let mut denied = 0;
    for folder in [
        "deploy/examples",
        "crates/policyctl/tests/fix",
        "crates/policyctl/tests/reports",
        "crates/policyctl/src/report/golden",
    ] {
        for bundle in ["restricted", "permissive"] {
            let of = |command: &[&str]| -> Value {
                let chosen = ["-f", folder, "--bundle", bundle, "-o", "json"];
                serde_json::from_str(&text(run(root, &[command, &chosen].concat()).stdout)).unwrap()
            };
            // Only `admit` judges what has ended.
            let ended = ["migrate", "seed", "done"];
            let admitted = objects(&of(&["admit"]), |object| {
                object["outcome"] == "denied" && !ended.iter().any(|name| object["name"] == *name)
            });
            let report = of(&["analyze", "--fail-on", "denied"]);
            assert_eq!(objects(&report["denied"], |_| true), admitted, "{folder} {bundle}");
            denied += admitted.len();
        }
    }
    assert!(denied > 20, "{denied}");
}

/// The webhook is not asked about the platform's own namespace, and names a cluster policy with its kind.
#[test]
fn a_cluster_policy_denies_by_its_kind_and_not_in_the_platforms_own_namespace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let policy = "apiVersion: devops.stochastic.io/v1\nkind: ClusterDevOpsPolicy\n\
        metadata: {name: fleet}\n\
        spec: {forbidLatestTag: true, severityOverrides: {latestTag: high}}\n";
    fs::write(path.join("fleet.yaml"), policy).unwrap();
    let own = WEB.replace("namespace: shop", "namespace: kube-devops");
    fs::write(path.join("app.yaml"), format!("{WEB}---\n{own}")).unwrap();
    let chosen = ["-f", "app.yaml", "--policy", "fleet.yaml", "-o", "json"];
    let of = |command: &[&str]| -> Value {
        serde_json::from_str(&text(run(path, &[command, &chosen].concat()).stdout)).unwrap()
    };
    let admitted = of(&["admit"]);
    let outcomes = [&admitted["objects"][0], &admitted["objects"][1]];
    assert_eq!(outcomes.map(|object| &object["outcome"]), ["denied", "allowed"]);
    let message = outcomes[0]["message"].as_str().unwrap();
    assert!(message.starts_with("denied by policy ClusterDevOpsPolicy/fleet: "), "{message}");
    assert_eq!(outcomes[1]["isExcluded"], true);
    let denied = &of(&["analyze", "--fail-on", "denied"])["denied"];
    assert_eq!((&denied["total"], &denied["objects"][0]["namespace"]), (&1.into(), &"shop".into()));
}

#[test]
fn a_comparison_says_what_is_new_and_what_is_fixed() {
    let folder = changed();
    let path = folder.path();
    assert_eq!(
        run(path, &["analyze", "-f", "app.yaml", "-o", "json=new.json"]).status.code(),
        Some(0)
    );
    let report = |arguments: &[&str]| run(path, &[&["report"], arguments].concat());
    let json = text(report(&["old.json", "new.json", "-o", "json"]).stdout);
    let json: Value = serde_json::from_str(&json).unwrap();
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/changes.schema.json");
    let schema = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&json), "{json}");
    let count = |list: &str| json[list].as_array().unwrap().len();
    assert_eq!((count("new"), json["unchanged"].as_u64(), count("fixed")), (2, Some(4), 0));

    let back = report(&["new.json", "old.json", "--fail-on", "low", "-o", "markdown"]);
    assert_eq!(back.status.code(), Some(0), "nothing is new");
    let markdown = text(back.stdout);
    let title = "## Kubernetes governance: 0 new, 2 fixed, 4 unchanged\n";
    assert!(markdown.starts_with(title) && markdown.contains("\n### Fixed\n"), "{markdown}");
    assert_eq!(report(&["old.json", "new.json", "--fail-on", "medium"]).status.code(), Some(1));
    let refused = report(&["old.json", "app.yaml"]);
    let error = text(refused.stderr);
    let sentence =
        "error: app.yaml cannot be compared: it is no JSON report of `policyctl analyze`";
    assert!(refused.status.code() == Some(2) && error.starts_with(sentence), "{error}");
}

/// The policy of before, and the same with an exemption of the Deployment's image.
const POLICY: &str = "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\n\
    metadata: {name: p, namespace: shop}\nspec:\n  forbidLatestTag: true\n";
const EXEMPTION: &str = "  exemptions:\n  - checks: [latest-tag]\n    \
    workload: {kind: Deployment, name: web}\n    reason: SHOP-12\n";

#[test]
fn what_is_exempted_or_could_not_be_read_is_neither_fixed_nor_new() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let write = |file: &str, text: &str| fs::write(path.join(file), text).unwrap();
    write("before.yaml", POLICY);
    write("now.yaml", &format!("{POLICY}{EXEMPTION}"));
    fs::create_dir(path.join("deploy")).unwrap();
    write("deploy/app.yaml", WEB);
    write("deploy/job.yaml", JOB);
    let analyze = |policy: &str, more: &[&str]| {
        let arguments = ["analyze", "-f", "deploy", "--policy", policy, "--fail-on", "low"];
        run(path, &[&arguments, more].concat())
    };
    assert_eq!(analyze("before.yaml", &["-o", "json=old.json"]).status.code(), Some(1));
    write("deploy/job.yaml", "kind: [\n");
    let outputs = ["-o", "table", "-o", "json=new.json", "--baseline", "old.json"];
    let table = text(analyze("now.yaml", &outputs).stdout);
    let counts = "Since the baseline         : 0 new, 0 known and not listed, 0 fixed, \
                  1 exempted, 1 not read\n";
    assert!(table.contains(counts), "{table}");

    let report = |arguments: &[&str]| run(path, &[&["report"], arguments].concat());
    let found = report(&["old.json", "new.json", "--fail-on", "low"]);
    assert_eq!(found.status.code(), Some(0));
    let table = text(found.stdout);
    for lines in [
        "Fixed findings             : 0\nUnchanged findings         : 0\n\
         Exempted findings          : 1\nFindings not read          : 1\n",
        "\nNot read:\n  deploy/job.yaml:",
        "\nExempted now\n  medium    shop  Deployment/web  ",
        "\nNot known, because not read\n  medium    shop  Pod/job  ",
    ] {
        assert!(table.contains(lines), "{table}");
    }
    let markdown = text(report(&["old.json", "new.json", "-o", "markdown"]).stdout);
    let title = "## Kubernetes governance: 0 new, 0 fixed, 0 unchanged, 1 exempted, 1 not read\n";
    assert!(markdown.starts_with(title), "{markdown}");
    assert!(markdown.contains("\n### Not read\n\n- `deploy/job.yaml:"), "{markdown}");
    assert!(markdown.contains("\n### Exempted now\n"), "{markdown}");
    let json = text(report(&["old.json", "new.json", "-o", "json"]).stdout);
    let json: Value = serde_json::from_str(&json).unwrap();
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/changes.schema.json");
    let schema = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&json), "{json}");
    assert_eq!((&json["fixed"], &json["new"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    assert_eq!((&json["exempted"][0]["name"], &json["notCompared"]), (&"web".into(), &0.into()));
    assert_eq!(json["notRead"][0]["name"], "job");
    assert!(json["failed"][0]["source"].as_str().unwrap().starts_with("deploy/job.yaml"));

    // The other way round nobody knows whether what is read again was there before.
    let back = report(&["new.json", "old.json", "--fail-on", "low"]);
    assert_eq!(back.status.code(), Some(1));
    let note = "1 new finding in what the earlier report could not read";
    assert!(text(back.stdout).contains(note));
}
