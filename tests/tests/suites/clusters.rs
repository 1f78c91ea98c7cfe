//! Several clusters at once: each with its own numbers, all in one formula, and none that spoils
//! the others.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

mod policies;
mod reference;
mod silent;
mod trio;
mod watch;

use std::fs;

use e2e::{Parts, Testbed};
use serde_json::{Value, json};

use crate::cli;
use crate::failures::READ_PODS;
use trio::{ALL, EAST, NONE, SHOP, SURELY, WEST};
use trio::{
    assert_trio, assert_unread, join, report, row, states, trio, trio_and, variant, variant_of,
};

#[test]
fn every_cluster_has_its_own_numbers_and_all_together_one_formula() {
    let kubeconfig = trio_and(&[]);
    let [policy, urgent] =
        [("pending", ""), ("urgent", "weights: {pending: 40}")].map(|(name, more)| {
            let file = trio()[0].folder().join(format!("{name}.yaml"));
            let spec = format!("spec: {{forbidPendingDuration: 0, {more}}}");
            let head =
                "{apiVersion: devops.stochastic.io/v1, kind: DevOpsPolicy, metadata: {name: p}";
            fs::write(&file, format!("{head}, {spec}}}")).unwrap();
            file.to_str().unwrap().to_owned()
        });
    // What is judged by, and the scores of east, west, north and of all.
    let cases: [(&[&str], [u64; 4]); 5] = [
        (&[], [93, 80, 92, 90]),
        (&["--bundle", "baseline"], [95, 97, 99, 97]),
        (&["--exclude-namespace", "vault"], [93, 80, 97, 92]),
        (&["--policy", &policy], [100, 100, 99, 100]),
        (&["--policy", &urgent], [100, 100, 90, 96]),
    ];
    // A pod that was made in this very second is not yet pending for longer than none.
    let pending = e2e::wait_for("a pending pod to be one", SURELY, || {
        let (report, _) = report(&kubeconfig, 0, cases[3].0);
        Ok((report["summary"]["violationsByCheck"]["pending"] == 1).then_some(()))
    });
    pending.unwrap();
    for (arguments, scores) in cases {
        let (report, run) = report(&kubeconfig, 0, arguments);
        assert_eq!(run.stderr, "");
        assert_eq!(states(&report), ["east complete", "north complete", "west complete"]);
        let contexts = ["east", "west", "north"];
        for (context, (testbed, score)) in contexts.iter().zip(trio().iter().zip(scores)) {
            let analyze = ["analyze", "--context", context, "-o", "json"];
            let alone = cli::run(&kubeconfig, &[&analyze, arguments].concat(), "").succeeded();
            let alone: Value = serde_json::from_str(&alone.unwrap()).unwrap();
            let row = row(&report, context);
            assert_eq!(row["summary"], alone["summary"]);
            assert_eq!(row["coverage"], alone["coverage"]);
            assert_eq!(row["server"], testbed.server_url());
            assert_eq!(row["summary"]["score"], score, "{context} {arguments:?}");
        }
        assert_eq!(report["summary"]["score"], scores[3], "{arguments:?}");
    }
    let (report, _) = report(&kubeconfig, 0, &[]);
    assert_trio(&report);
    ALL.assert(&report["summary"]);
    assert_eq!(row(&report, "north")["coverage"]["skipped"], 2);
}

#[test]
fn the_order_is_the_one_asked_for_or_else_the_current_context_first() {
    let [east, west, north] = trio().each_ref().map(Testbed::kubeconfig);
    let kubeconfig = join(&[west, north, east]);
    let cases: [(&[&str], &[&str]); 5] = [
        (&[], &["west", "east", "north"]),
        (&["--contexts", "*st,nor??"], &["east", "west", "north"]),
        (&["--contexts", "north,*"], &["north", "east", "west"]),
        (&["--contexts", "north,west,north"], &["north", "west"]),
        (&["--contexts", "north", "--contexts", "east"], &["north", "east"]),
    ];
    for (arguments, contexts) in cases {
        let (report, _) = report(&kubeconfig, 0, arguments);
        let expected: Vec<_> = contexts.iter().map(|name| format!("{name} complete")).collect();
        assert_eq!(states(&report), expected);
    }
}

#[test]
fn the_table_has_a_row_for_each_and_on_demand_its_summary() {
    let analyze = ["multi-cluster", "analyze"];
    let kubeconfig = trio_and(&[]);
    let plain = cli::run(&kubeconfig, &analyze, "").succeeded().unwrap();
    let rows = "
CONTEXT  SCORE  STATUS   PODS  COMPLIANT  VIOLATIONS  READ
east        93  Healthy     4          1          12  complete
north       92  Healthy     4          2           5  complete
west        80  Healthy     2          0           5  complete

Findings of each check:
CHECK              east  north  west
high-restarts         0      1     1
latest-tag            3      1     1
missing-liveness      3      1     1
missing-readiness     3      1     1
missing-resources     3      1     1
not-ready             0      0     0
pending               0      0     0
";
    assert!(plain.ends_with(rows), "{plain}");
    assert!(plain.contains("\nCluster Health Score       : 90\n"), "{plain}");
    let each = cli::run(&kubeconfig, &[&analyze[..], &["--per-cluster"]].concat(), "");
    let each = each.succeeded().unwrap();
    let mut summaries = each.strip_prefix(&plain).unwrap().split("\ncluster ").skip(1);
    for (context, pods, score) in [("east", 4, 93), ("north", 4, 92), ("west", 2, 80)] {
        let summary = summaries.next().unwrap();
        assert!(summary.starts_with(&format!("{context}\n=====")), "{summary}");
        assert!(summary.contains(&format!("\nWorkload Pods Analyzed     : {pods}\n")), "{summary}");
        assert!(summary.contains(&format!("\nCluster Health Score       : {score}\n")));
    }
    let yaml = [&analyze[..], &["-o", "yaml"]].concat();
    let yaml = cli::run(&kubeconfig, &yaml, "").succeeded().unwrap();
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), report(&kubeconfig, 0, &[]).0);
}

#[test]
fn contexts_are_listed_and_on_demand_probed() {
    let dead = variant(&trio()[0], "dead", "https://127.0.0.1:1");
    let kubeconfig = trio_and(&[&dead]);
    let urls = trio().each_ref().map(Testbed::server_url);
    let list = ["multi-cluster", "list-contexts", "-o", "json"];
    let listed: Value =
        serde_json::from_str(&cli::run(&kubeconfig, &list, "").succeeded().unwrap()).unwrap();
    let row = |name: &str, server: &str, is_current: bool| json!({ "name": name, "cluster": name, "server": server, "isCurrent": is_current });
    let expected = json!([
        row("dead", "https://127.0.0.1:1", false),
        row("east", urls[0], true),
        row("north", urls[2], false),
        row("west", urls[1], false),
    ]);
    assert_eq!(listed, expected);
    let probe = ["multi-cluster", "list-contexts", "--probe"];
    let run = cli::run(&kubeconfig, &probe, "");
    assert_eq!((run.code, run.stderr.as_str()), (Some(3), ""));
    let lines: Vec<Vec<&str>> =
        run.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["CURRENT", "NAME", "CLUSTER", "SERVER", "REACHABLE"]);
    assert!(run.stdout.contains("no: Connection refused"), "{}", run.stdout);
    assert_eq!(lines[2][..5], ["*", "east", "east", urls[0], "yes:"]);
    assert!(lines[2][5].starts_with("v1."), "{}", run.stdout);
    assert_eq!(cli::run(&trio_and(&[]), &probe, "").code, Some(0));
}

#[test]
fn a_killed_api_server_keeps_its_row_and_changes_no_other() {
    let doomed = Testbed::start(&Parts::new("doomed")).unwrap();
    let kubeconfig = trio_and(&[doomed.kubeconfig()]);
    let (before, _) = report(&kubeconfig, 0, &[]);
    NONE.assert(&row(&before, "doomed")["summary"]);
    doomed.kill_api_server().unwrap();
    let (after, run) = report(&kubeconfig, 3, &[]);
    assert_unread(&after, "doomed", "Connection refused");
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    assert!(run.stderr.starts_with("error: doomed: "), "{}", run.stderr);
    assert_trio(&after);
    ALL.assert(&after["summary"]);
    let table = cli::run(&kubeconfig, &["multi-cluster", "analyze", "--per-cluster"], "");
    assert_eq!((table.code, table.stderr.as_str()), (Some(3), ""));
    for text in [
        "\ndoomed     n/a  n/a         -          -           -  unread\n",
        "\nNot read of doomed:\n  cluster: Connection refused",
        "\ncluster doomed\n  not read\n",
    ] {
        assert!(table.stdout.contains(text), "{text:?} is not in\n{}", table.stdout);
    }
    doomed.restart_api_server().unwrap();
    assert_eq!(report(&kubeconfig, 0, &[]).0, before);
}

#[test]
fn refused_namespaces_are_named_and_lower_the_coverage_only() {
    let [east, west, north] = trio();
    let rules = "[{apiGroups: [''], resources: [namespaces], verbs: [list, get]}]";
    let account = north.service_account("shop", "reader", rules).unwrap();
    for namespace in ["default", "shop"] {
        let role = ["create", "role", "reader", "--verb=list", "--resource=pods", "-n", namespace];
        north.kubectl(&role).unwrap().succeeded().unwrap();
        let subject = "--serviceaccount=shop:reader";
        let binding =
            ["create", "rolebinding", "reader", "--role=reader", subject, "-n", namespace];
        north.kubectl(&binding).unwrap().succeeded().unwrap();
    }
    let kubeconfig = join(&[east.kubeconfig(), west.kubeconfig(), &account]);
    let (all, _) = report(&trio_and(&[]), 0, &[]);
    let (report, run) = report(&kubeconfig, 3, &[]);
    assert_eq!(states(&report), ["east complete", "north partial", "west complete"]);
    EAST.assert(&row(&report, "east")["summary"]);
    WEST.assert(&row(&report, "west")["summary"]);
    let north = row(&report, "north");
    SHOP.assert(&north["summary"]);
    let failed = north["coverage"]["failed"].as_array().unwrap();
    let sources: Vec<&str> = failed.iter().map(|part| part["source"].as_str().unwrap()).collect();
    assert_eq!(sources, ["namespace lab", "namespace vault"]);
    for part in failed {
        let reason = part["reason"].as_str().unwrap();
        assert!(reason.contains("forbidden") && reason.contains("shop:reader"), "{reason}");
    }
    assert_eq!(run.stderr.lines().count(), 2, "{}", run.stderr);
    let evaluated = |report: &Value| row(report, "north")["coverage"]["evaluated"].as_u64();
    assert!(evaluated(&report) < evaluated(&all));
    // (30 + 40 + 10) / 8: what was not read takes no points.
    assert_eq!((&report["summary"]["pods"], &report["summary"]["score"]), (&json!(8), &json!(90)));
    let table = cli::run(&kubeconfig, &["multi-cluster", "analyze", "--per-cluster"], "");
    assert_eq!((table.code, table.stderr.as_str()), (Some(3), ""));
    for text in [
        "\nnorth       95  Healthy     2          1           4  partial\n",
        "\nNot read of north:\n  namespace lab: ",
        "\n  namespace vault: ",
        "\nCoverage                   : 2 evaluated, 1 skipped, 2 not read\n",
    ] {
        assert!(table.stdout.contains(text), "{text:?} is not in\n{}", table.stdout);
    }
}

#[test]
fn contexts_of_one_cluster_count_once() {
    let [east, ..] = trio();
    let url = east.server_url();
    let again = variant(east, "again", url);
    let slash = variant(east, "slash", &format!("{url}/"));
    let letters = variant(east, "letters", &url.replace("https", "HTTPS"));
    let alias = variant(east, "alias", &url.replace("127.0.0.1", "localhost"));
    for other in [&again, &slash, &letters, &alias] {
        let name = other.file_stem().unwrap().to_str().unwrap();
        let kubeconfig = join(&[east.kubeconfig(), other]);
        let (first, _) = report(&kubeconfig, 0, &[]);
        let expected = ["east complete".to_owned(), format!("{name} duplicate")];
        assert_eq!(states(&first), expected);
        EAST.assert(&first["summary"]);
        assert_eq!(row(&first, name)["sameClusterAs"], "east");
        assert_eq!(row(&first, name)["summary"], Value::Null);
        let (last, _) = report(&kubeconfig, 0, &["--contexts", &format!("{name},east")]);
        assert_eq!(states(&last), [format!("{name} complete"), "east duplicate".to_owned()]);
        EAST.assert(&last["summary"]);
    }
    let kubeconfig = join(&[east.kubeconfig(), &again]);
    let table = cli::run(&kubeconfig, &["multi-cluster", "analyze", "--per-cluster"], "");
    let table = table.succeeded().unwrap();
    for text in [
        "\nagain      n/a  n/a         -          -           -  duplicate\n",
        "\nagain: the same cluster as east, counted once\n",
        "\ncluster again\n  the same cluster as east\n",
    ] {
        assert!(table.contains(text), "{text:?} is not in\n{table}");
    }
}

#[test]
fn a_context_that_reads_a_part_hides_no_other_of_its_cluster() {
    let [east, ..] = trio();
    let limited = east.limited_user("default", READ_PODS).unwrap();
    let part = variant_of(&limited, east, "part", east.server_url());
    let kubeconfig = join(&[&part, east.kubeconfig()]);
    let (report, _) = report(&kubeconfig, 0, &["--contexts", "part,east"]);
    assert_eq!(states(&report), ["part duplicate", "east complete"]);
    EAST.assert(&report["summary"]);
}

#[test]
fn a_context_that_is_refused_hides_no_other_of_its_server() {
    let [east, ..] = trio();
    let expired = variant(east, "expired", east.server_url());
    let text = fs::read_to_string(&expired).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["users"][0] = json!({ "name": "nobody", "user": { "token": "expired" } });
    config["contexts"][0]["context"]["user"] = "nobody".into();
    fs::write(&expired, config.to_string()).unwrap();
    let (report, _) =
        report(&join(&[&expired, east.kubeconfig()]), 3, &["--contexts", "expired,east"]);
    assert_unread(&report, "expired", "credentials");
    EAST.assert(&row(&report, "east")["summary"]);
    EAST.assert(&report["summary"]);
}

#[test]
fn the_gravest_outcome_is_the_exit_code() {
    let dead = variant(&trio()[0], "refused", "https://127.0.0.1:1");
    let (fine, with_dead) = (trio_and(&[]), trio_and(&[&dead]));
    let below = "the score 90 is below 91 (--fail-below)";
    let never = "--fail-on denied can never fail";
    let cases: [(_, &[&str], _, &str); 13] = [
        (&fine, &["--fail-below", "90"], 0, ""),
        (&fine, &["--fail-below", "91"], 1, below),
        (&fine, &["--fail-below", "91", "--contexts", "east"], 0, ""),
        (&fine, &["--fail-on", "critical"], 0, "--fail-on critical can never fail"),
        (&fine, &["--fail-on", "medium"], 1, "there are findings of severity medium"),
        (&fine, &["--fail-on", "high", "--bundle", "restricted"], 1, "severity critical"),
        (&fine, &["--fail-on", "denied"], 0, never),
        (&fine, &["--fail-on", "denied", "--bundle", "restricted"], 1, "admission would deny"),
        (&with_dead, &[], 3, ""),
        (&with_dead, &["--fail-below", "91"], 3, below),
        (&with_dead, &["--fail-below", "91", "--contexts", "west,north"], 1, "the score 88"),
        (&with_dead, &["--fail-below", "91", "--bundle", "none"], 2, "there is no bundle `none`"),
        (&with_dead, &["--fail-below", "101"], 2, "101"),
    ];
    for (kubeconfig, arguments, code, says) in cases {
        let arguments = [&["multi-cluster", "analyze"][..], arguments].concat();
        let run = cli::run(kubeconfig, &arguments, "");
        assert_eq!(run.code, Some(code), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains(says), "{arguments:?}: {}", run.stderr);
        assert_eq!(run.stderr.is_empty(), says.is_empty(), "{arguments:?}: {}", run.stderr);
    }
    for unknown in ["east,nowhere", "no*where,east", "East"] {
        let arguments = ["multi-cluster", "analyze", "--contexts", unknown];
        let run = cli::run(&fine, &arguments, "");
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
        let name = unknown.split(',').find(|name| *name != "east").unwrap();
        let expected = format!(
            "error: --contexts: no context matches `{name}`; there are east, north, west\n"
        );
        assert_eq!(run.stderr, expected);
    }
}

#[test]
fn what_admission_would_deny_is_that_of_each_cluster_alone() {
    let dead = variant(&trio()[0], "undenied", "https://127.0.0.1:1");
    let kubeconfig = trio_and(&[&dead]);
    let denied = ["--bundle", "restricted", "--fail-on", "denied"];
    let (report, run) = report(&kubeconfig, 3, &denied);
    for (context, number) in [("east", 3), ("west", 1), ("north", 1)] {
        let analyze = ["analyze", "--context", context, "-o", "json"];
        let alone = cli::run(&kubeconfig, &[&analyze[..], &denied].concat(), "");
        let found: Value = serde_json::from_str(&alone.stdout).unwrap();
        let row = row(&report, context);
        assert_eq!(row["denied"], found["denied"]);
        assert_eq!(row["denied"]["total"], number, "{context}: {row:#}");
        let reason = alone.stderr.replace("bundle restricted: ", &format!("{context}: "));
        assert!(run.stderr.contains(&reason), "{reason:?} is not in\n{}", run.stderr);
    }
    assert_eq!(row(&report, "undenied").get("denied"), None);
    let table = ["multi-cluster", "analyze", "--per-cluster"];
    let table = cli::run(&trio_and(&[]), &[&table[..], &denied].concat(), "");
    assert_eq!(table.code, Some(1));
    for text in [
        "VIOLATIONS  DENIED  READ\n",
        "\nAdmission would deny 3 objects:\n  default Pod/a (latest-tag, missing-liveness, missing-readiness)\n",
    ] {
        assert!(table.stdout.contains(text), "{text:?} is not in\n{}", table.stdout);
    }
}

#[test]
fn markdown_goes_into_a_file_beside_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clusters.md");
    let markdown = format!("markdown={}", file.display());
    let arguments = ["multi-cluster", "analyze", "-o", "table", "-o", &markdown];
    let table = cli::run(&trio_and(&[]), &arguments, "").succeeded().unwrap();
    assert_eq!(table, cli::run(&trio_and(&[]), &arguments[..2], "").succeeded().unwrap());
    let text = fs::read_to_string(file).unwrap();
    for line in [
        "## Kubernetes governance of 3 clusters: 90, Healthy\n",
        "\n| `west` | 80 | Healthy | 2 | 0 | 5 | complete |\n",
        "\n| Check | `east` | `north` | `west` |\n",
        "\n| latest-tag | 3 | 1 | 1 |\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}
