//! Policies of several clusters: the plan and the result of an import, differences, and exports.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use e2e::{Parts, Testbed};
use serde_json::{Value, json};

use super::trio::{join, variant};
use crate::cli;
use crate::policies::{policy, versions};

/// Two clusters with the definitions. A test has a namespace of its own in both.
pub(super) fn pair() -> &'static [Testbed; 2] {
    static PAIR: LazyLock<[Testbed; 2]> = LazyLock::new(|| {
        ["left", "right"].map(|name| {
            let testbed = Testbed::start(&Parts::new(name)).unwrap();
            cli::expect(&testbed, 0, &["crd", "install"], "");
            testbed
        })
    });
    &PAIR
}

/// The pair's files with more of them, and a namespace of this name in both.
pub(super) fn pair_with(namespace: &str, more: &[&Path]) -> PathBuf {
    for testbed in pair() {
        testbed.kubectl(&["create", "namespace", namespace]).unwrap().succeeded().unwrap();
    }
    join(&[&pair().each_ref().map(Testbed::kubeconfig)[..], more].concat())
}

#[test]
fn import_prints_a_plan_and_then_the_result_of_each_cluster() {
    let [left, right] = pair();
    let kubeconfig = pair_with("plan", &[]);
    let old = policy("plan", "b", "{maxRestartCount: 3}");
    cli::expect(left, 0, &["import", "-"], &old);
    let files = [policy("plan", "a", "{forbidLatestTag: true}"), old].concat();
    let import = ["import", "-", "--contexts", "right,l*"];
    let plan = "\
cluster right
  would be created  plan/a
  would be created  plan/b
cluster left
  would be created  plan/a
  unchanged         plan/b
";
    let run = cli::run(&kubeconfig, &[&import[..], &["--dry-run"]].concat(), &files);
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(0), plan, ""));
    assert!(versions(right, "plan").is_empty());
    let run = cli::run(&kubeconfig, &import, &files);
    let result = plan.replace("would be created", "created    ");
    let result = result.replace("unchanged     ", "unchanged");
    let expected = format!("Plan:\n{plan}\nResult:\n{result}");
    assert_eq!((run.code, run.stdout, run.stderr.as_str()), (Some(0), expected, ""));
    let stored = [left, right].map(|testbed| versions(testbed, "plan"));
    assert_eq!(stored.each_ref().map(Vec::len), [2, 2]);
    let run = cli::run(&kubeconfig, &import, &files);
    assert_eq!((run.code, run.stdout.matches("unchanged    plan/").count()), (Some(0), 8));
    assert_eq!([left, right].map(|testbed| versions(testbed, "plan")), stored);
}

#[test]
fn a_cluster_that_refuses_or_is_dead_does_not_stop_the_others() {
    let [left, right] = pair();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("https://{}", silent.local_addr().unwrap());
    let dead = ["dead-a", "dead-b"].map(|name| variant(left, name, &server));
    let kubeconfig = pair_with("refused", &[&dead[0], &dead[1]]);
    // Another manager owns the field in this cluster.
    let mine = policy("refused", "a", "{maxRestartCount: 5}");
    left.kubectl_stdin(&["apply", "-f", "-"], &mine).unwrap().succeeded().unwrap();
    let files = [policy("refused", "a", "{maxRestartCount: 3}"), policy("refused", "b", "{}")];
    let start = Instant::now();
    let import = ["import", "-", "--contexts", "dead-*,left,right", "-o", "json"];
    let run = cli::run(&kubeconfig, &import, &files.concat());
    // Its share is 5 s; the default deadline is 120 s.
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    let rows: Value = serde_json::from_str(&run.stdout).unwrap();
    let outcomes = |row: &Value| {
        let policies = row["policies"].as_array().unwrap().iter();
        policies.map(|policy| policy["outcome"].clone()).collect::<Vec<_>>()
    };
    let contexts = ["dead-a", "dead-b", "left", "right"];
    let expected = [vec![], vec![], vec!["notApplied", "notApplied"], vec!["created", "created"]];
    for (row, (context, expected)) in
        rows.as_array().unwrap().iter().zip(contexts.into_iter().zip(expected))
    {
        assert_eq!((&row["context"], json!(outcomes(row))), (&json!(context), json!(expected)));
    }
    for text in [
        "error: dead-a: cannot use cluster `dead-a`",
        "error: left: stdin:",
        "refused/a: refused: ",
        "left: nothing was applied, as a policy would be refused",
    ] {
        assert!(run.stderr.contains(text), "{text:?} is not in\n{}", run.stderr);
    }
    assert_eq!([left, right].map(|testbed| versions(testbed, "refused").len()), [1, 2]);
    // The gravest code is that of input which no cluster takes.
    let invalid = policy("refused", "c", "{maxRestartCount: -1}");
    assert_eq!(cli::run(&kubeconfig, &import, &invalid).code, Some(2));
}

#[test]
fn diff_compares_each_cluster_by_itself() {
    let [left, right] = pair();
    let dead = variant(left, "gone", "https://127.0.0.1:1");
    let kubeconfig = pair_with("differ", &[&dead]);
    let file = policy("differ", "a", "{maxRestartCount: 3}");
    cli::expect(left, 0, &["import", "-"], &file);
    cli::expect(right, 0, &["import", "-"], &file.replace('3', "4"));
    let diff = ["diff", "-", "--contexts", "left,right"];
    let run = cli::run(&kubeconfig, &diff, &file);
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""));
    let head = "\
cluster left: no difference
cluster right: 1 different, 0 only in files, 0 only in the cluster
--- cluster: differ/a
+++ stdin:2
";
    let diff_lines = "-  maxRestartCount: 4\n+  maxRestartCount: 3\n";
    assert!(run.stdout.starts_with(head) && run.stdout.contains(diff_lines), "{}", run.stdout);
    let same = ["diff", "-", "--contexts", "left"];
    assert_eq!(cli::run(&kubeconfig, &same, &file).code, Some(0));
    let run = cli::run(&kubeconfig, &["diff", "-", "--contexts", "*", "-o", "json"], &file);
    assert_eq!(run.code, Some(3));
    let rows: Value = serde_json::from_str(&run.stdout).unwrap();
    let states = ["gone", "left", "right"].map(|context| {
        let rows = rows.as_array().unwrap().iter();
        let row = rows.clone().find(|row| row["context"] == context).unwrap();
        (row["policies"][0]["state"].clone(), row["error"].is_string())
    });
    let expected = [(Value::Null, true), (json!("same"), false), (json!("different"), false)];
    assert_eq!(states, expected);
    assert!(run.stderr.starts_with("error: gone: cannot use cluster `gone`"), "{}", run.stderr);
}

#[test]
fn exports_name_their_cluster_and_can_be_imported() {
    let [left, right] = pair();
    let kubeconfig = pair_with("exported", &[]);
    let file = policy("exported", "a", "{maxRestartCount: 3}");
    cli::expect(right, 0, &["import", "-"], &file);
    let export = ["export", "-n", "exported", "--contexts", "left,right"];
    let yaml = cli::run(&kubeconfig, &export, "").succeeded().unwrap();
    let head = "# cluster left: no policy\n---\n# cluster right\napiVersion: ";
    assert!(yaml.starts_with(head), "{yaml}");
    assert_eq!(cli::expect(right, 0, &["diff", "-"], &yaml), "");
    cli::expect(left, 0, &["import", "-"], &yaml);
    let json = [&export[..], &["-o", "json"]].concat();
    let json = cli::run(&kubeconfig, &json, "").succeeded().unwrap();
    let rows: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(rows[0]["policies"], rows[1]["policies"]);
    assert_eq!(rows[0]["policies"][0]["spec"]["maxRestartCount"], 3);
    assert_eq!(rows[1]["server"], right.server_url());
}

#[test]
fn options_of_several_clusters_are_not_ignored() {
    let file =
        "{apiVersion: devops.stochastic.io/v1, kind: DevOpsPolicy, metadata: {name: p}, spec: {}}";
    let text = std::fs::read_to_string(pair()[0].kubeconfig()).unwrap();
    let mut other: Value = serde_saphyr::from_str(&text).unwrap();
    other["contexts"][0]["name"] = "other".into();
    other["contexts"][0]["context"]["namespace"] = "shop".into();
    let path = pair()[0].folder().join("other.kubeconfig");
    std::fs::write(&path, other.to_string()).unwrap();
    let [left, right] = pair().each_ref().map(Testbed::kubeconfig);
    let kubeconfig = join(&[left, right, &path]);
    let cases: [(&[&str], &str); 5] = [
        (&["export", "--timeout", "3"], "--timeout has no effect without --contexts"),
        (&["import", "-", "--contexts", "l*", "--context", "left"], "not with --context"),
        (&["diff", "-", "--contexts", "prod-*"], "no context matches `prod-*`; there are left"),
        (&["export", "--contexts", ","], "--contexts names no context"),
        (&["import", "-", "--contexts", "left,other"], "p names no namespace, and the contexts"),
    ];
    for (arguments, sentence) in cases {
        let run = cli::run(&kubeconfig, arguments, file);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(run.stderr.contains(sentence), "{arguments:?}: {}", run.stderr);
    }
}
