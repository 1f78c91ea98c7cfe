//! A real Prometheus scrapes the installed chart while pods come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use e2e::{Parts, ProcessKubelet, Program, Prometheus, Run, Surroundings, Testbed, service_binary};
use policy_manifests::alerts::groups;
use policy_manifests::monitoring::prometheus_rule;
use serde_json::{Value, json};

use crate::chart::helm;
use crate::cli;
use crate::watcher::storm::{client, storm};

pub(super) const NAMESPACE: &str = "kube-devops";
const COMPONENTS: [&str; 3] = ["policy-operator", "policy-watcher", "policy-webhook"];
pub(super) const SURELY: Duration = Duration::from_secs(40);
/// What the contract names so, though `promtool check metrics` would name it otherwise.
const NAMED_BY_CONTRACT: [&str; 2] = ["devopspolicy_violations_total", "pods_tracked_total"];
/// The label `cluster` of the series of a second Prometheus; those of the first one have none.
const CLUSTER: &str = "eu.1";
const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: NAMESPACE}, \
    spec: {containers: [{name: a, image: nginx}]}}";
/// Changes of pods in the storm, and where.
const CHANGES: usize = 1500;
const NAMESPACES: usize = 4;

#[test]
fn prometheus_has_what_policyctl_reports() {
    // Not within the deadline of Helm.
    service_binary("policy-webhook").unwrap();
    let parts = Parts::new("scraped").with_controllers().with_nodes(1).with_pods_as_processes();
    let testbed = &Testbed::start(&parts).unwrap();
    testbed
        .run_pods(|kubelet| {
            installed(testbed);
            let rules = serde_json::to_value(prometheus_rule())?["spec"].take();
            let alone = Surroundings { api_server: true, cluster: None };
            let among_others = Surroundings { cluster: Some(CLUSTER), ..alone };
            let prometheus = testbed.start_prometheus(kubelet, &rules, alone)?;
            let of_cluster = testbed.start_prometheus(kubelet, &rules, among_others)?;
            let scraped = Scraped { testbed, kubelet, prometheus };
            scraped.wait_until_all_are_up();
            scraped.metrics_are_as_promtool_wants_them();
            scraped.storm();
            scraped.all_rules_are_evaluated_and_none_fires();
            let stopped = scraped.provoke();
            scraped.every_alert_finds_its_series();
            scraped.every_panel_has_data(&stopped, &of_cluster, CLUSTER);
            scraped.numbers_are_those_of_policyctl();
            scraped.a_deleted_namespace_is_gone_at_the_next_scrape();
            scraped.no_series_is_doubled_when_the_leader_changes();
            Ok(())
        })
        .unwrap();
}

fn installed(testbed: &Testbed) {
    let values = ["--create-namespace", "--wait", "--timeout=2m"];
    let enforcement = ["--set", "enforcement.enabled=true"];
    let install = helm(testbed, "install", &[&values[..], &enforcement].concat());
    assert_eq!(install.code, Some(0), "{install:?}");
    let policy = ["bundle", "apply", "restricted", "-n", "default"];
    testbed.apply(&cli::expect(testbed, 0, &policy, "")).unwrap();
}

pub(super) struct Scraped<'a> {
    pub(super) testbed: &'a Testbed,
    pub(super) kubelet: &'a ProcessKubelet<'a>,
    pub(super) prometheus: Prometheus<'a>,
}

impl Scraped<'_> {
    pub(super) fn wait_until(
        &self,
        what: &str,
        within: Duration,
        mut condition: impl FnMut() -> bool,
    ) {
        let reached = self.testbed.wait_for(what, within, || Ok(condition()));
        assert!(reached.is_ok(), "{reached:?}\n{:?}", self.prometheus.targets());
    }

    /// Two of each, that of the webhook by HTTPS; the job is the name of the Service.
    fn wait_until_all_are_up(&self) {
        self.wait_until("six targets that are up", SURELY, || {
            let up = "count by (job) (up{job!=\"apiserver\"} == 1)";
            let up = self.prometheus.query(up).unwrap();
            let jobs = up.iter().map(|(labels, count)| (labels["job"].as_str().unwrap(), *count));
            jobs.collect::<BTreeMap<_, _>>() == COMPONENTS.map(|component| (component, 2.0)).into()
        });
        let targets = self.prometheus.targets().unwrap();
        let secure = targets
            .keys()
            .filter(|url| url.starts_with("https://198.18.") && url.ends_with(":8443/metrics"));
        assert_eq!(secure.count(), 2, "{targets:?}");
    }

    fn metrics_are_as_promtool_wants_them(&self) {
        let mut named = BTreeSet::new();
        for component in COMPONENTS {
            for pod in self.kubelet.ready_pods(component) {
                let path = "/metrics";
                let text = match component {
                    "policy-webhook" => self.proxied(pod.name(), path),
                    _ => pod.get(path).unwrap().1,
                };
                named.extend(lint(&text));
            }
        }
        assert_eq!(named, BTreeSet::from(NAMED_BY_CONTRACT.map(str::to_owned)));
    }

    /// Through the API server, which does not verify pods.
    fn proxied(&self, pod: &str, path: &str) -> String {
        let raw = format!("--raw=/api/v1/namespaces/{NAMESPACE}/pods/https:{pod}:8443/proxy{path}");
        self.testbed.kubectl(&["get", &raw]).unwrap().succeeded().unwrap()
    }

    fn storm(&self) {
        let namespaces: Vec<String> =
            (0..NAMESPACES).map(|_| self.testbed.namespace("storm").unwrap()).collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let taken = runtime.block_on(async {
            let client = client(self.testbed).await;
            storm(client, &namespaces, CHANGES, 4).await
        });
        assert!(taken > CHANGES / 5, "{taken} of {CHANGES} changes were taken");
        // The API server's own page, which the panels also need, may be late under the storm.
        let ours = "min_over_time(up{job=~\"policy-.+\"}[1m]) == 0";
        assert_eq!(self.prometheus.query(ours).unwrap(), [], "a scrape failed");
    }

    fn all_rules_are_evaluated_and_none_fires(&self) {
        let rules = self.prometheus.api("rules").unwrap();
        let groups_of = rules["groups"].as_array().unwrap();
        assert_eq!(groups_of.len(), groups().len());
        for rule in groups_of.iter().flat_map(|group| group["rules"].as_array().unwrap()) {
            assert_eq!(rule["health"], "ok", "{rule}");
        }
        // All is well, apart from what the storm did to pods and their scores.
        let expected = |alert: &String| alert.ends_with("Critical") || alert.ends_with("Falling");
        let firing = self.prometheus.firing().unwrap();
        assert!(firing.iter().all(expected), "{firing:?}");
    }

    fn numbers_are_those_of_policyctl(&self) {
        let by = |expression: &str, label: &str| -> BTreeMap<String, f64> {
            let found = self.prometheus.query(expression).unwrap();
            let named = found.into_iter().map(|(labels, value)| {
                (labels[label].as_str().unwrap_or_default().to_owned(), value)
            });
            named.collect()
        };
        let mut both = (Value::Null, Value::Null);
        let agrees = self.testbed.wait_for("both to agree", SURELY, || {
            let scraped = json!({
                "score": self.prometheus.value("cluster_health_score")?,
                "pods": self.prometheus.value("cluster_pods")?,
                "compliant": self.prometheus.value("cluster_compliant_pods")?,
                "scores": by("namespace_health_score", "namespace"),
                "of namespaces": by("namespace_pods", "namespace"),
                "violations": by("sum by (check) (namespace_violations) > 0", "check"),
            });
            let report = cli::analysis(self.testbed, &[]);
            let of = |field: &str| -> BTreeMap<String, Value> {
                let all = report["namespaces"].as_array().unwrap().iter();
                let named = all.map(|each| {
                    (each["namespace"].as_str().unwrap().to_owned(), json!(each[field].as_f64()))
                });
                named.collect()
            };
            let summary = &report["summary"];
            let number = |field: &str| summary[field].as_f64();
            let mut violations: BTreeMap<String, f64> =
                serde_json::from_value(summary["violationsByCheck"].clone())?;
            violations.retain(|_, count| *count > 0.0);
            let reported = json!({
                "score": number("score"),
                "pods": number("pods"),
                "compliant": number("compliantPods"),
                "scores": of("score"),
                "of namespaces": of("pods"),
                "violations": violations,
            });
            both = (scraped, reported);
            Ok(both.0 == both.1)
        });
        assert_eq!(both.0, both.1, "{agrees:?}");
        assert!(both.0["pods"].as_f64() > Some(6.0), "the storm left pods: {}", both.0);
    }

    fn a_deleted_namespace_is_gone_at_the_next_scrape(&self) {
        let namespace = self.testbed.namespace("gone").unwrap();
        self.testbed.apply(&cli::policy(&namespace, "p", "{requireLivenessProbe: true}")).unwrap();
        self.testbed.apply(&POD.replace("NAMESPACE", &namespace)).unwrap();
        let of_namespace =
            format!("{{__name__=~\".+\", namespace=\"{namespace}\", job!=\"policy-webhook\"}}");
        let names = || -> BTreeSet<String> {
            let found = self.prometheus.query(&of_namespace).unwrap();
            found
                .iter()
                .map(|(labels, _)| labels["__name__"].as_str().unwrap().to_owned())
                .collect()
        };
        self.wait_until("its series", SURELY, || {
            let names = names();
            names.contains("namespace_health_score") && names.contains("devopspolicy_health_score")
        });
        let delete = ["delete", "namespace", &namespace, "--timeout=60s"];
        self.testbed.kubectl(&delete).unwrap().succeeded().unwrap();
        // Without an end of the series Prometheus would show them for five minutes more.
        self.wait_until("their end", SURELY, || names().is_empty());
    }

    fn no_series_is_doubled_when_the_leader_changes(&self) {
        for component in ["policy-watcher", "policy-operator"] {
            let leader = format!("leader{{job=\"{component}\"}} == 1");
            let mut leading = Vec::new();
            self.wait_until("one leader", SURELY, || {
                leading = self.prometheus.query(&leader).unwrap();
                leading.len() == 1
            });
            let pod = leading[0].0["pod"].as_str().unwrap().to_owned();
            let delete = ["delete", "pod", &pod, "-n", NAMESPACE, "--timeout=30s"];
            self.testbed.kubectl(&delete).unwrap().succeeded().unwrap();
            self.wait_until("another leader", SURELY, || {
                let now = self.prometheus.query(&leader).unwrap();
                matches!(&now[..], [(labels, _)] if labels["pod"] != pod.as_str())
            });
        }
        for metric in
            ["cluster_health_score", "namespace_health_score", "devopspolicy_health_score"]
        {
            self.assert_one_at_a_time(metric);
        }
    }

    /// Of the replicas that ever exported a series, one ended before the next began.
    fn assert_one_at_a_time(&self, metric: &str) {
        let mut by_object: BTreeMap<String, Vec<(f64, f64, String)>> = BTreeMap::new();
        for (labels, times) in self.prometheus.times(metric).unwrap() {
            let object = format!("{} {}", labels["namespace"], labels["policy"]);
            let (first, last) = (times[0], *times.last().unwrap());
            by_object.entry(object).or_default().push((first, last, labels["pod"].to_string()));
        }
        let mut changes = 0;
        for (object, mut terms) in by_object {
            terms.sort_by(|a, b| a.0.total_cmp(&b.0));
            for pair in terms.windows(2) {
                changes += 1;
                assert!(pair[0].1 < pair[1].0, "{metric} of {object} was doubled: {pair:?}");
            }
        }
        assert!(changes > 0, "no leader of {metric} changed");
    }
}

/// The metrics that `promtool check metrics` finds fault with.
fn lint(text: &str) -> BTreeSet<String> {
    let mut promtool = Command::new(Program::Promtool.path().unwrap());
    let found = Run::of(promtool.args(["check", "metrics"]), Some(text)).unwrap();
    let sentence = "non-counter metrics should not have \"_total\" suffix";
    let named = found.stderr.lines().map(|line| {
        let (metric, problem) = line.split_once(' ').unwrap();
        assert_eq!(problem, sentence, "{metric}");
        metric.to_owned()
    });
    named.collect()
}
