//! The platform is replaced by its next version while workloads are created.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Address, Load, Metrics, Parts, Service, Signal, say};
use serde_json::{Value, json};

use crate::webhook::continuity::Front;
use crate::webhook::{self, AdmissionTestbed};
use crate::{operator, watcher};

/// For what takes a moment, on a busy machine.
const SURELY: Duration = Duration::from_secs(60);
/// For an answer of a replica that is ending.
const SHORT: Duration = Duration::from_millis(300);
/// After this time a standby takes over from a leader that has not released its Lease.
const LEASE: Duration = Duration::from_secs(15);

/// The replicas of a service that elects a leader, and the score that the leader exports.
struct Scores {
    metric: &'static str,
    replicas: Mutex<Vec<Address>>,
}

impl Scores {
    fn new(metric: &'static str, replicas: &[Service<'_>]) -> Self {
        let replicas = replicas.iter().map(|replica| replica.at(replica.addr())).collect();
        Self { metric, replicas: Mutex::new(replicas) }
    }

    fn add(&self, replica: &Service<'_>) {
        self.replicas.lock().unwrap().push(replica.at(replica.addr()));
    }

    fn are_exported(&self) -> bool {
        let replicas = self.replicas.lock().unwrap().clone();
        replicas.iter().any(|replica| {
            let answer = replica.get("/metrics", SHORT);
            answer.is_ok_and(|(_, text)| Metrics::parse(&text).unwrap().has(self.metric))
        })
    }

    /// Asks all replicas until it is over, and gives the longest time without the score.
    fn longest_gap(&self, is_over: &AtomicBool) -> Duration {
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        while !is_over.load(Ordering::Relaxed) {
            let is_exported = self.are_exported();
            longest = longest.max(last.elapsed());
            if is_exported {
                last = Instant::now();
            }
            thread::sleep(Duration::from_millis(50));
        }
        longest
    }
}

/// Replaces pods as a Deployment does by default: one more is started, and once it is ready, an old
/// one is told to end.
fn roll<'a>(
    old: &[Service<'a>],
    start: impl Fn(&str) -> Service<'a>,
    is_ready: impl Fn(&Service<'a>),
    is_ending: impl Fn(&Service<'a>),
) -> Vec<Service<'a>> {
    let replace = |old: &Service<'a>| {
        let new = start(&format!("{}-next", old.name()));
        is_ready(&new);
        old.signal(Signal::Term).unwrap();
        is_ending(old);
        new
    };
    let new = old.iter().map(replace).collect();
    for old in old {
        assert_eq!(old.wait_exit(SURELY).unwrap().code(), Some(0));
    }
    new
}

/// Objects with an unpinned image, which is denied, and with a pinned one.
fn pairs(namespace: &str) -> Vec<[Value; 2]> {
    let images = ["shop/web", "shop/web:v1"];
    let pod = |image| json!({ "containers": [{ "name": "web", "image": image }] });
    let metadata = json!({ "generateName": "web-", "namespace": namespace });
    let labels = json!({ "app": "web" });
    vec![
        images.map(|image| {
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod(image) })
        }),
        images.map(|image| {
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": pod(image) },
            } })
        }),
    ]
}

#[test]
fn an_upgrade_admits_nothing_bad_refuses_nothing_good_and_keeps_the_scores() {
    let admission = AdmissionTestbed::new(&Parts::new("upgrade"));
    let testbed = admission.testbed();
    let shop = admission.strict();
    let account = |name: &str| testbed.account_kubeconfig("kube-devops", name).unwrap();
    let [watching, operating] = ["policy-watcher", "policy-operator"].map(account);
    let start_watcher = |name: &str| watcher::start(testbed, name, &watching);
    let start_operator = |name: &str| operator::start(testbed, name, &operating);
    // Endpoints know of the end after half of that.
    let drain = [("GOV_SHUTDOWN__DRAIN_SECONDS", "10")];
    let start_webhook = |name: &str| admission.start(name, webhook::program(), &drain);
    let watchers = ["watcher-a", "watcher-b"].map(start_watcher);
    let operators = ["operator-a", "operator-b"].map(start_operator);
    let webhooks = ["webhook-a", "webhook-b"].map(start_webhook);
    let front = Front::start(webhooks.iter().map(Service::addr).collect());
    admission.install_at(front.addr);
    admission.wait_until_denied(&shop);
    let of_cluster = &Scores::new("cluster_health_score", &watchers);
    let of_policy = &Scores::new("devopspolicy_health_score", &operators);
    let led = || Ok(of_cluster.are_exported() && of_policy.are_exported());
    testbed.wait_for("the first leaders", SURELY, led).unwrap();

    let is_over = AtomicBool::new(false);
    let upgrade = || {
        let leave = |old: &Service<'_>| {
            let is_unready = || Ok(old.get("/readyz").is_ok_and(|(status, _)| status == 503));
            testbed.wait_for("it not to be ready", Duration::from_secs(5), is_unready).unwrap();
            front.drop(old.addr());
        };
        thread::scope(|scope| {
            let gaps =
                [of_cluster, of_policy].map(|scores| scope.spawn(|| scores.longest_gap(&is_over)));
            let rolls = [
                scope.spawn(|| roll(&watchers, start_watcher, |new| of_cluster.add(new), |_| ())),
                scope.spawn(|| roll(&operators, start_operator, |new| of_policy.add(new), |_| ())),
                scope.spawn(|| roll(&webhooks, start_webhook, |new| front.add(new.addr()), leave)),
            ];
            let new = rolls.map(|roll| roll.join().unwrap());
            testbed.wait_for("a leader of the next version", SURELY, led).unwrap();
            is_over.store(true, Ordering::Relaxed);
            // They run until the load has ended.
            (gaps.map(|gap| gap.join().unwrap()), new)
        })
    };
    let load = Load { pairs: pairs(&shop), least: 100, ..Load::default() };
    let ((gaps, _new), answers) = load.during(testbed, || Ok(upgrade())).unwrap();
    say(&format!("{answers}; longest time without a score: {gaps:.1?}"));
    assert!(gaps.iter().all(|gap| *gap < LEASE), "{gaps:?}");
}
