//! Policies between files and a cluster: export, import, diff.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::sync::Once;

use e2e::{Run, Testbed, shared};
use serde_json::Value;

use crate::cli;

/// The shared control plane with the definitions of policies.
pub(crate) fn testbed() -> &'static Testbed {
    static INSTALLED: Once = Once::new();
    let testbed = shared();
    INSTALLED.call_once(|| drop(cli::expect(testbed, 0, &["crd", "install"], "")));
    testbed
}

pub(crate) fn policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

/// The policies of a namespace, by name, with their resource versions.
pub(crate) fn versions(testbed: &Testbed, namespace: &str) -> Vec<String> {
    let columns =
        r#"jsonpath={range .items[*]}{.metadata.name} {.metadata.resourceVersion}{"\n"}{end}"#;
    let get = ["get", "devopspolicies", "-n", namespace, "-o", columns];
    let text = testbed.kubectl(&get).unwrap().succeeded().unwrap();
    text.lines().map(str::to_owned).collect()
}

fn spec(testbed: &Testbed, namespace: &str, name: &str) -> Value {
    let get = ["get", "devopspolicies", name, "-n", namespace, "-o", "jsonpath={.spec}"];
    serde_json::from_str(&testbed.kubectl(&get).unwrap().succeeded().unwrap()).unwrap()
}

#[test]
fn importing_an_export_writes_nothing() {
    let testbed = testbed();
    let namespace = testbed.namespace("export").unwrap();
    // Made in three ways, so that three managers own the fields.
    let created =
        policy(&namespace, "created", "{maxRestartCount: 3, defaultProbe: {tcpPort: 80}}");
    testbed.kubectl_stdin(&["create", "-f", "-"], &created).unwrap().succeeded().unwrap();
    let applied = policy(&namespace, "applied", "{weights: {pending: 7}, requireResources: false}");
    testbed.kubectl_stdin(&["apply", "-f", "-"], &applied).unwrap().succeeded().unwrap();
    let label = ["label", "devopspolicy", "applied", "team=a", "-n", &namespace];
    testbed.kubectl(&label).unwrap().succeeded().unwrap();
    cli::expect(
        testbed,
        0,
        &["import", "-"],
        &policy(&namespace, "imported", "{forbidLatestTag: true}"),
    );
    let status = [
        "patch",
        "dop",
        "created",
        "-n",
        &namespace,
        "--subresource=status",
        "--type=merge",
        "-p",
        r#"{"status":{"healthScore":50}}"#,
    ];
    testbed.kubectl(&status).unwrap().succeeded().unwrap();

    let before = versions(testbed, &namespace);
    let export = cli::expect(testbed, 0, &["export", "-n", &namespace], "");
    for absent in
        ["status", "resourceVersion", "managedFields", "last-applied", "uid", "generation"]
    {
        assert!(!export.contains(absent), "{absent} in {export}");
    }
    assert!(export.contains("team: a"), "{export}");
    assert_eq!(export, cli::expect(testbed, 0, &["export", "-n", &namespace], ""));
    let import = cli::expect(testbed, 0, &["import", "-"], &export);
    let lines: Vec<&str> = import.lines().collect();
    let unchanged =
        ["applied", "created", "imported"].map(|name| format!("unchanged    {namespace}/{name}"));
    assert_eq!(lines, unchanged);
    assert_eq!(versions(testbed, &namespace), before);
    assert_eq!(cli::expect(testbed, 0, &["diff", "-"], &export), "");
    // What kubectl prints is as good: a List, with everything the server keeps for itself.
    let get = ["get", "dop", "-n", &namespace, "-o", "yaml", "--show-managed-fields"];
    let list = testbed.kubectl(&get).unwrap().succeeded().unwrap();
    cli::expect(testbed, 0, &["import", "-"], &list);
    assert_eq!(versions(testbed, &namespace), before);
}

/// The API server stores 3 for `3.0`, and nothing for `null`.
#[test]
fn what_import_calls_unchanged_does_not_differ() {
    let testbed = testbed();
    let namespace = testbed.namespace("whole").unwrap();
    let float = policy(&namespace, "float", "{maxRestartCount: 3.0, weights: {pending: null}}");
    let config_map = "---\napiVersion: v1\nkind: ConfigMap\ndata: {a: b, a: c}\n";
    let file = float + config_map;
    let run = cli::run(testbed.kubeconfig(), &["import", "-"], &file);
    let created = format!("created      {namespace}/float\n");
    assert_eq!((run.code, run.stdout), (Some(0), created), "{}", run.stderr);
    assert!(!run.stderr.contains("also has"), "{}", run.stderr);
    assert_eq!(spec(testbed, &namespace, "float")["maxRestartCount"], 3);
    let import = cli::expect(testbed, 0, &["import", "-"], &file);
    assert_eq!(import, format!("unchanged    {namespace}/float\n"));
    assert_eq!(cli::expect(testbed, 0, &["diff", "-"], &file), "");
}

#[test]
fn a_dry_run_lets_the_server_judge_and_stores_nothing() {
    let testbed = testbed();
    let namespace = testbed.namespace("dry").unwrap();
    let good = policy(&namespace, "good", "{maxRestartCount: 3}");
    let text = cli::expect(testbed, 0, &["import", "-", "--dry-run"], &good);
    assert_eq!(text, format!("would be created  {namespace}/good\n"));
    assert!(versions(testbed, &namespace).is_empty());
    let text = cli::expect(testbed, 0, &["import", "-"], &good);
    assert_eq!(text, format!("created      {namespace}/good\n"));
    let other = policy(&namespace, "good", "{maxRestartCount: 4}");
    let text = cli::expect(testbed, 0, &["import", "-", "--dry-run"], &other);
    assert_eq!(text, format!("would be changed  {namespace}/good\n"));
    assert_eq!(spec(testbed, &namespace, "good")["maxRestartCount"], 3);
    assert_eq!(
        cli::expect(testbed, 0, &["import", "-"], &other),
        format!("changed      {namespace}/good\n")
    );
    assert_eq!(spec(testbed, &namespace, "good")["maxRestartCount"], 4);
}

#[test]
fn one_policy_that_is_refused_keeps_all_of_them_out() {
    let testbed = testbed();
    let namespace = testbed.namespace("broken").unwrap();
    let good = policy(&namespace, "good", "{maxRestartCount: 3}");
    for (bad, code, sentence) in [
        (
            policy(&namespace, "bad", "{maxRestartCount: -1}"),
            2,
            "stdin:10: spec.maxRestartCount: must be 0 or more, not -1",
        ),
        (
            policy(&namespace, "bad", "{maxRestarts: 1, weights: {pending: x}}"),
            2,
            "stdin:10: spec.maxRestarts: unknown field; did you mean `maxRestartCount`?",
        ),
        (policy(&namespace, "on", "{}"), 2, "metadata.name: invalid type: boolean `true`"),
        (
            policy("no-such-namespace", "bad", "{}"),
            3,
            r#"namespaces "no-such-namespace" not found"#,
        ),
        (policy(&namespace, "good", "{}"), 2, "is already in stdin:2"),
        ("---\nspec: [\n".to_owned(), 2, "stdin:"),
        (policy(&namespace, "''", "{}"), 2, "the policy has no name"),
        (
            policy(&namespace, "bad", "{weights: [1]}"),
            2,
            "stdin:10: spec.weights: invalid type: sequence",
        ),
        (policy("kube-system", "bad", "{}"), 2, "kube-system belongs to the system"),
        (
            "---\napiVersion: devops.stochastic.io/v9\nkind: DevOpsPolicy\n".to_owned(),
            2,
            "use devops.stochastic.io/v1",
        ),
    ] {
        let run = cli::run(testbed.kubeconfig(), &["import", "-"], &format!("{good}{bad}"));
        let Run { stdout, stderr, .. } = &run;
        assert_eq!(run.code, Some(code), "{bad}: {stdout}\n{stderr}");
        assert!(stderr.contains(sentence), "{sentence} in {stderr}");
        assert!(stderr.contains("nothing was applied"), "{stderr}");
        assert!(!stderr.contains("valueUnstructured"), "{stderr}");
        assert!(versions(testbed, &namespace).is_empty(), "{bad}");
    }
    // Another namespace than the one that was asked for is a mistake, as with kubectl.
    let run = cli::run(testbed.kubeconfig(), &["import", "-", "-n", "default"], &good);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains(&format!("to namespace {namespace}, not to default")), "{run:?}");
}

#[test]
fn another_managers_field_is_a_conflict_until_it_is_taken_over() {
    let testbed = testbed();
    let namespace = testbed.namespace("conflict").unwrap();
    let apply = ["apply", "--server-side", "--field-manager=somebody", "-f", "-"];
    let theirs = policy(&namespace, "p", "{maxRestartCount: 3, forbidLatestTag: true}");
    testbed.kubectl_stdin(&apply, &theirs).unwrap().succeeded().unwrap();
    let before = versions(testbed, &namespace);
    let ours = policy(&namespace, "p", "{maxRestartCount: 5}");
    let run = cli::run(testbed.kubeconfig(), &["import", "-"], &ours);
    assert_eq!(run.code, Some(3), "{run:?}");
    for part in ["conflict with \"somebody\"", ".spec.maxRestartCount", "--force-conflicts"] {
        assert!(run.stderr.contains(part), "{part} in {}", run.stderr);
    }
    assert_eq!(versions(testbed, &namespace), before);
    let run = cli::run(testbed.kubeconfig(), &["import", "-", "--force-conflicts"], &ours);
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (Some(0), format!("changed      {namespace}/p\n").as_str())
    );
    assert!(run.stderr.contains("also has spec.forbidLatestTag"), "{}", run.stderr);
    let spec = spec(testbed, &namespace, "p");
    assert_eq!((&spec["maxRestartCount"], &spec["forbidLatestTag"]), (&5.into(), &true.into()));
}

#[test]
fn diff_shows_each_kind_of_difference() {
    let testbed = testbed();
    let namespace = testbed.namespace("diff").unwrap();
    let same = policy(&namespace, "same", "{maxRestartCount: 3}");
    let live = [
        &same,
        &policy(&namespace, "changed", "{maxRestartCount: 3}"),
        &policy(&namespace, "live-only", "{}"),
    ];
    cli::expect(testbed, 0, &["import", "-"], &live.map(String::as_str).concat());
    let label = ["label", "dop", "same", "argocd.argoproj.io/instance=shop", "-n", &namespace];
    testbed.kubectl(&label).unwrap().succeeded().unwrap();
    let files = [
        &same,
        &policy(&namespace, "changed", "{maxRestartCount: 4}"),
        &policy(&namespace, "file-only", "{}"),
    ];
    let files = files.map(String::as_str).concat();
    let run = cli::run(testbed.kubeconfig(), &["diff", "-"], &files);
    assert_eq!(run.code, Some(1), "{run:?}");
    let expected = format!(
        "--- cluster: {namespace}/changed
+++ stdin:7
@@ -5,4 +5,4 @@
   namespace: {namespace}
 spec:
   enforcementMode: audit
-  maxRestartCount: 3
+  maxRestartCount: 4
--- /dev/null
+++ stdin:12
@@ -0,0 +1,7 @@
+apiVersion: devops.stochastic.io/v1
+kind: DevOpsPolicy
+metadata:
+  name: file-only
+  namespace: {namespace}
+spec:
+  enforcementMode: audit
--- cluster: {namespace}/live-only
+++ /dev/null
@@ -1,7 +0,0 @@
-apiVersion: devops.stochastic.io/v1
-kind: DevOpsPolicy
-metadata:
-  name: live-only
-  namespace: {namespace}
-spec:
-  enforcementMode: audit
"
    );
    assert_eq!(run.stdout, expected);
    assert_eq!(
        run.stderr,
        "4 compared: 1 different, 1 only in files, 1 only in the cluster; only namespaces that the \
         files name (-A: all)\n"
    );
    let run = cli::run(testbed.kubeconfig(), &["diff", "-", "-o", "json"], &files);
    assert_eq!(run.code, Some(1), "{run:?}");
    let found: Value = serde_json::from_str(&run.stdout).unwrap();
    let states = found.as_array().unwrap().iter().map(|found| found["state"].as_str().unwrap());
    let states: Vec<&str> = states.collect();
    assert_eq!(states, ["different", "onlyInFiles", "onlyInCluster", "same"]);
    assert_eq!((&found[0]["place"], &found[2]["place"]), (&"stdin:7".into(), &Value::Null));
    assert!(expected.starts_with(found[0]["diff"].as_str().unwrap()), "{found}");
    let run = cli::run(testbed.kubeconfig(), &["diff", "-"], &live.map(String::as_str).concat());
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""));
}

#[test]
fn import_and_diff_agree_on_equal_values() {
    let testbed = testbed();
    let namespace = testbed.namespace("equal").unwrap();
    // Defaults, and quantities in two spellings: nothing that another manager would have set.
    let spec = "{admission: {}, defaultProbe: {tcpPort: 80}, defaultResources: {cpuRequest: 1}}";
    let file = policy(&namespace, "p", spec);
    for done in ["created  ", "unchanged"] {
        let run = cli::run(testbed.kubeconfig(), &["import", "-"], &file);
        let line = format!("{done}    {namespace}/p\n");
        assert_eq!((run.code, run.stdout), (Some(0), line), "{}", run.stderr);
        let sentence = format!("policy {namespace}/p enables no check, so it finds nothing\n");
        assert_eq!(run.stderr, sentence);
        assert_eq!(cli::expect(testbed, 0, &["diff", "-"], &file), "");
    }
    let found = cli::json(testbed, &["import", "-", "--dry-run"], &file);
    assert_eq!(
        found,
        serde_json::json!([{ "namespace": namespace, "name": "p", "place": "stdin:2",
            "outcome": "unchanged", "keptFields": [], "error": null }])
    );
}

#[test]
fn export_reads_all_namespaces_and_says_what_it_could_not_read() {
    let testbed = testbed();
    let namespace = testbed.namespace("everything").unwrap();
    let file = policy(&namespace, "p", "{forbidLatestTag: true}");
    cli::expect(testbed, 0, &["import", "-"], &file);
    let list = cli::json(testbed, &["export"], "");
    assert_eq!(list["kind"], "List");
    let is_ours = |item: &&Value| item["metadata"]["namespace"] == namespace.as_str();
    let ours: Vec<&Value> = list["items"].as_array().unwrap().iter().filter(is_ours).collect();
    assert_eq!((ours.len(), &ours[0]["spec"]["forbidLatestTag"]), (1, &true.into()));
    let own = cli::json(testbed, &["export", "-n", &namespace], "");
    assert_eq!(own["items"].as_array().unwrap().len(), 1);
    assert_eq!(cli::expect(testbed, 0, &["diff", "-"], &own.to_string()), "");

    let rules = "[{apiGroups: [devops.stochastic.io], resources: [devopspolicies], verbs: [list]}]";
    let user = testbed.limited_user(&namespace, rules).unwrap();
    let run = cli::run(&user, &["export"], "");
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stdout.contains("forbidLatestTag: true"), "{run:?}");
    let part = format!("error: namespaces other than {namespace}: devopspolicies");
    assert!(run.stderr.starts_with(&part), "{run:?}");

    let empty = testbed.namespace("nothing").unwrap();
    let run = cli::run(testbed.kubeconfig(), &["export", "-n", &empty], "");
    let note = format!("there is no policy in namespace {empty}\n");
    assert_eq!((run.code, run.stdout, run.stderr), (Some(0), String::new(), note));
}

#[test]
fn bundles_are_applied_by_kubectl() {
    let testbed = testbed();
    let namespace = testbed.namespace("bundle").unwrap();
    for bundle in ["baseline", "restricted", "permissive"] {
        let apply = ["bundle", "apply", bundle, "-n", &namespace, "--policy-name", bundle];
        let policy = cli::expect(testbed, 0, &apply, "");
        testbed.kubectl_stdin(&["apply", "-f", "-"], &policy).unwrap().succeeded().unwrap();
    }
    assert_eq!(versions(testbed, &namespace).len(), 3);
}
