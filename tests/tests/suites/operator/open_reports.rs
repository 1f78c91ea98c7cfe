//! The operator writes Reports that the definition of openreports.io takes, with exactly the rights of
//! deploy/kustomize/open-reports.

use std::path::Path;

use e2e::{Parts, Service, Testbed};
use serde_json::{Value, json};

use super::cluster::apply_cluster_policy;
use super::rights::stop;
use super::{
    SURELY, apply_pod, apply_policy, delete, deploy_web, installed, list, program, wait_for_object,
    wait_for_status,
};
use crate::cli;
use crate::open_reports::DEFINITION;

const PLATFORM: &str = "kube-devops";
/// The Report of the cluster policy `strict`.
const OF_CLUSTER: (&str, &str) = (PLATFORM, "cdop-strict");
const USER: &str = "system:serviceaccount:kube-devops:policy-operator";
const SPEC: &str = "{forbidLatestTag: true, requireReadinessProbe: true, exemptions: [{checks: \
    [missing-readiness], workload: {kind: Deployment, name: web}, reason: it has no traffic}]}";

/// The Report of that name; `null` where there is none.
fn report(testbed: &Testbed, namespace: &str, name: &str) -> Value {
    let get = ["get", "reports.openreports.io", name, "-n", namespace, "-o", "json"];
    serde_json::from_str(&testbed.kubectl(&get).unwrap().stdout).unwrap_or_default()
}

/// Waits until the Report is as expected, and returns it.
fn wait_for_report(
    testbed: &Testbed,
    operator: &Service<'_>,
    (namespace, name): (&str, &str),
    expected: impl Fn(&Value) -> bool,
) -> Value {
    let read = || report(testbed, namespace, name);
    wait_for_object(testbed, operator, ("the Report", 2 * SURELY), read, expected)
}

/// Rule, result, workload and message of each result.
fn results(report: &Value) -> Vec<String> {
    let line = |result: &Value| {
        let [rule, outcome, message] =
            ["rule", "result", "message"].map(|field| result[field].as_str().unwrap_or_default());
        let of = &result["resources"][0];
        let [namespace, kind, name] =
            ["namespace", "kind", "name"].map(|field| of[field].as_str().unwrap_or_default());
        format!("{rule} {outcome} {namespace}/{kind}/{name}: {message}")
    };
    report["results"].as_array().into_iter().flatten().map(line).collect()
}

/// How many requests of the operator are about Reports.
fn requests(testbed: &Testbed) -> usize {
    let calls = testbed.audit(USER).unwrap();
    calls.iter().filter(|call| call.group == "openreports.io").count()
}

/// Also where the operator has the right to.
fn the_report_of_another_engine_is_not_changed(testbed: &Testbed, kubeconfig: &Path, shop: &str) {
    let foreign = |pass: u8| {
        let metadata = json!({ "name": "foreign", "namespace": shop });
        let summary = json!({ "pass": pass });
        json!({ "apiVersion": "openreports.io/v1alpha1", "kind": "Report", "metadata": metadata,
            "source": "other", "summary": summary })
        .to_string()
    };
    testbed.apply(&foreign(1)).unwrap();
    let account = format!("--kubeconfig={}", kubeconfig.display());
    let apply = ["apply", "--server-side", "--force-conflicts", "--validate=false", "-f", "-"];
    let apply = [&[account.as_str()], &apply[..]].concat();
    let refused = "the operator may change no Report but its own";
    let mut last = String::new();
    let waited = testbed.wait_for("the admission policy", SURELY, || {
        last = testbed.kubectl_stdin(&apply, &foreign(2))?.stderr;
        Ok(last.contains(refused))
    });
    assert!(waited.is_ok(), "{last}");
}

/// It is in the platform's namespace, and names those of its workloads.
fn of_a_cluster_policy(testbed: &Testbed, operator: &Service<'_>, shop: &str) {
    apply_pod(testbed, shop, "bad", "nginx");
    apply_cluster_policy(testbed, "strict", "{forbidLatestTag: true}");
    let found =
        wait_for_report(testbed, operator, OF_CLUSTER, |report| report["summary"]["fail"] == 1);
    assert_eq!(found["results"][0]["policy"], "ClusterDevOpsPolicy/strict");
    assert_eq!(found["results"][0]["resources"][0]["namespace"], shop);
}

#[test]
fn each_policy_has_a_report_where_they_are_wanted() {
    let (testbed, kubeconfig) = installed(&Parts::new("open-reports").with_controllers());
    let shop = testbed.namespace("shop").unwrap();
    let [strict, other] = ["strict", "other"].map(|name| (shop.as_str(), name));
    apply_policy(&testbed, &shop, "strict", SPEC);
    apply_policy(&testbed, &shop, "other", "{forbidLatestTag: true}");
    apply_pod(&testbed, &shop, "bad", "nginx");
    deploy_web(&testbed, &shop);
    let start = |name: &str, is_wanted: &str| {
        testbed
            .service(name, program())
            .kubeconfig(&kubeconfig)
            .variable("GOV_OPEN_REPORTS__ENABLED", is_wanted)
            .start()
            .unwrap()
    };
    let judged = |operator: &Service<'_>, of: (&str, &str), violations: u64| {
        wait_for_status(&testbed, operator, of, |status| {
            status["podsEvaluated"] == 3 && status["totalViolations"] == violations
        });
    };

    // By default nothing is asked or written.
    let operator = start("without", "false");
    judged(&operator, strict, 2);
    judged(&operator, other, 1);
    stop(&operator);
    assert_eq!(requests(&testbed), 0);

    // Without the definition everything else is written, and the log says why, once.
    testbed.install_operator_rights("open-reports").unwrap();
    let operator = start("operator", "true");
    let said = "no Reports are written, because the cluster does not serve";
    let waited = testbed.wait_for("the warning", SURELY, || Ok(operator.logs()?.contains(said)));
    assert!(waited.is_ok(), "{}", operator.logs().unwrap());
    apply_pod(&testbed, &shop, "good", "nginx:1.27");
    for (policy, violations) in [(strict, 3), (other, 1)] {
        wait_for_status(&testbed, &operator, policy, |status| {
            status["podsEvaluated"] == 4 && status["totalViolations"] == violations
        });
    }
    delete(&testbed, &shop, "pod/good");
    assert_eq!(operator.logs().unwrap().matches(said).count(), 1, "{}", operator.logs().unwrap());

    // Once it is installed the Reports come, without a restart.
    testbed.apply(DEFINITION).unwrap();
    let first = wait_for_report(&testbed, &operator, (&shop, "dop-strict"), |report| {
        results(report).len() == 3
    });
    assert_eq!(
        results(&first),
        [
            format!(
                "latest-tag fail {shop}/Pod/bad: container c uses :latest image tag (nginx has no tag)"
            ),
            format!("missing-readiness fail {shop}/Pod/bad: container c missing readiness probe"),
            format!(
                "missing-readiness skip {shop}/Deployment/web: container c missing readiness probe; \
                 exempted: it has no traffic"
            ),
        ]
    );
    assert_eq!(first["summary"], json!({ "pass": 0, "fail": 2, "warn": 0, "error": 0, "skip": 1 }));
    assert_eq!(first["metadata"]["ownerReferences"][0]["name"], "strict");
    assert_eq!(first["metadata"]["labels"]["app.kubernetes.io/managed-by"], "policy-operator");
    wait_for_report(&testbed, &operator, (&shop, "dop-other"), |report| {
        report["summary"]["fail"] == 1
    });

    // `policyctl analyze` has the same results.
    let policy = testbed.folder().join("operator-open-reports.yaml");
    std::fs::write(&policy, cli::policy(&shop, "strict", SPEC)).unwrap();
    let policy = policy.to_str().unwrap();
    let analyze = ["analyze", "-n", &shop, "--policy", policy, "-o", "openreports"];
    let analyzed: Value = serde_json::from_str(&cli::expect(&testbed, 0, &analyze, "")).unwrap();
    assert_eq!(results(&analyzed["items"][0]), results(&first));

    the_report_of_another_engine_is_not_changed(&testbed, &kubeconfig, &shop);

    // A finding goes, and the Report follows.
    delete(&testbed, &shop, "pod/bad");
    let second = wait_for_report(&testbed, &operator, (&shop, "dop-strict"), |report| {
        results(report).len() == 1
    });
    assert_eq!(second["summary"]["skip"], 1);

    // The next leader writes it again, and nothing is stored.
    stop(&operator);
    let operator = start("next", "true");
    testbed
        .wait_for("the Reports of both policies", SURELY, || {
            Ok(operator.metrics()?.value("open_reports_total", &[]) >= Some(2.0))
        })
        .unwrap();
    let third = report(&testbed, &shop, "dop-strict");
    assert_eq!(third["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);

    of_a_cluster_policy(&testbed, &operator, &shop);
    // A Report goes with its policy.
    delete(&testbed, &shop, "dop/strict");
    testbed.kubectl(&["delete", "cdop", "strict"]).unwrap().succeeded().unwrap();
    wait_for_report(&testbed, &operator, (&shop, "dop-strict"), Value::is_null);
    wait_for_report(&testbed, &operator, OF_CLUSTER, Value::is_null);
    let left: Vec<_> = list(&testbed, &shop, "reports.openreports.io");
    assert_eq!(left.len(), 2, "those of the other policy and of the other engine: {left:#?}");

    stop(&operator);
    let role = "kube-devops-policy-operator-open-reports";
    let rights = testbed.rights(PLATFORM, "policy-operator").unwrap().of_role(role);
    testbed.needs_all_but(&[], &rights).unwrap();
}
