//! Whatever changes: what is kept by namespace adds up to an evaluation of everything.

mod images;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use policy_core::Timestamp;
use policy_core::facts::PodFacts;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::verdict::{Lists, MAX_LISTED, Verdict};
use policy_core::view::PolicyView;
use policy_runtime::testing::Script;
use policy_runtime::watch::Sink as _;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::namespaces::NamespaceSink;
use super::*;
use crate::drains::Drains;
use crate::judgement::Judged;
use crate::pods::{PodSink, Pods};
use crate::policies::{ClusterPolicySink, Policies};
use crate::policy_key::PolicyKey;
use crate::rollouts::Rollouts;
use crate::workload_labels::WorkloadLabels;

const NAMESPACES: [&str; 4] = ["bank", "kube-system", "old", "shop"];
/// Each with other rules or other namespaces.
const SPECS: [&str; 6] = [
    r#"{"forbidLatestTag": true, "forbidPendingDuration": 30, "forbidNotReadyDuration": 20}"#,
    r#"{"forbidLatestTag": true, "severityOverrides": {"latestTag": "critical"}, "requireReadinessProbe": true}"#,
    r#"{"forbidLatestTag": true, "maxRestartCount": 1, "restartWindow": 40,
        "namespaceSelector": {"matchLabels": {"tier": "web"}}}"#,
    r#"{"requireReadinessProbe": true, "forbidPendingDuration": 30, "excludedNamespaces": ["old"]}"#,
    r#"{"forbidLatestTag": true, "namespaceSelector": {"matchExpressions":
        [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["bank"]}]}}"#,
    r#"{"forbidLatestTag": true, "requireReadinessProbe": true, "exemptions": [
        {"checks": ["latest-tag"], "workload": {"kind": "Pod", "name": "web-1"}, "reason": "a copy"},
        {"checks": ["missing-readiness"], "workload": {"kind": "Pod", "name": "web-2"}, "reason": "new"}]}"#,
];

fn key() -> PolicyKey {
    PolicyKey::new("", "strict")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// A cluster with one cluster policy, and the judgement that is kept of it.
struct World {
    policies: Policies,
    policy_sink: ClusterPolicySink,
    pods: Pods,
    pod_sink: PodSink,
    namespaces: Namespaces,
    namespace_sink: NamespaceSink,
    rollouts: Rollouts,
    drains: Drains,
    labels: WorkloadLabels,
    state: Option<Box<ClusterState>>,
    lists: Lists,
    second: i64,
    version: i64,
    /// What exists: the label `tier` of each namespace, and the pods by namespace and name.
    tiers: BTreeMap<&'static str, bool>,
    all_pods: BTreeMap<(&'static str, u8), Value>,
}

impl World {
    fn new() -> Self {
        let policies = Policies::default();
        let pods = Pods::new(ExcludedNamespaces::default(), policies.clone());
        let namespaces = Namespaces::new(ExcludedNamespaces::default(), policies.clone());
        let mut world = Self {
            policy_sink: policies.cluster_sink(),
            pod_sink: pods.sink(),
            namespace_sink: namespaces.sink(),
            rollouts: Rollouts::new(ExcludedNamespaces::default(), policies.clone()),
            labels: WorkloadLabels::new(&ExcludedNamespaces::default(), &policies),
            drains: Drains::new(
                ExcludedNamespaces::default(),
                policies.clone(),
                Script::default().client(),
            ),
            policies,
            pods,
            namespaces,
            state: None,
            lists: Lists::Status,
            second: 0,
            version: 0,
            tiers: BTreeMap::new(),
            all_pods: BTreeMap::new(),
        };
        world.pod_sink.list_begins();
        world.pod_sink.list_completes();
        world.set_policy(0);
        world
    }

    fn set_policy(&mut self, spec: usize) {
        self.version += 1;
        let policy = json!({
            "metadata": { "name": "strict", "uid": "u-1", "generation": self.version,
                "resourceVersion": self.version.to_string() },
            "spec": serde_json::from_str::<Value>(SPECS[spec]).unwrap(),
        });
        self.policy_sink.applied(serde_json::from_value(policy).unwrap());
    }

    /// What the pod is like depends on `kind`.
    fn set_pod(&mut self, namespace: &'static str, number: u8, kind: u8) {
        let image = if kind.is_multiple_of(2) { "nginx" } else { "nginx:1" };
        let phase = if kind.is_multiple_of(3) { "Pending" } else { "Running" };
        let time = at(self.second).to_string();
        let pod = json!({
            "metadata": { "namespace": namespace, "name": format!("web-{number}"),
                "creationTimestamp": time },
            "spec": { "containers": [{ "name": "c", "image": image }] },
            "status": { "phase": phase,
                "conditions": [{ "type": "Ready", "status": "False", "lastTransitionTime": time }],
                "containerStatuses": [{ "name": "c", "restartCount": kind,
                    "lastState": { "terminated": { "exitCode": 1, "finishedAt": time } } }] },
        });
        self.pod_sink.applied(serde_json::from_value(pod.clone()).unwrap());
        self.all_pods.insert((namespace, number), pod);
    }

    fn delete_pod(&mut self, namespace: &'static str, number: u8) {
        self.pod_sink.deleted(namespace, &format!("web-{number}"));
        self.all_pods.remove(&(namespace, number));
    }

    /// All pods are listed again, without those of one namespace: these are gone.
    fn relist_without(&mut self, namespace: &'static str) {
        self.pod_sink.list_begins();
        self.all_pods.retain(|(of, _), _| *of != namespace);
        for pod in self.all_pods.values() {
            self.pod_sink.applied(serde_json::from_value(pod.clone()).unwrap());
        }
    }

    fn set_tier(&mut self, namespace: &'static str, is_web: bool) {
        let labels = if is_web { json!({ "tier": "web" }) } else { json!({}) };
        let object = json!({ "metadata": { "name": namespace, "labels": labels } });
        self.namespace_sink.applied(serde_json::from_value(object).unwrap());
        self.tiers.insert(namespace, is_web);
    }

    fn delete_namespace(&mut self, namespace: &'static str) {
        self.namespace_sink.deleted("", namespace);
        self.tiers.remove(namespace);
    }

    fn policy(&self) -> Arc<PolicyView> {
        self.policies.get(&key()).unwrap().0
    }

    /// Judges as a reconcile does; `None` while a list of pods is being read.
    async fn judge(&mut self) -> Option<(Judged, u64)> {
        let policy = self.policy();
        let judge = ClusterJudge {
            pods: &self.pods,
            namespaces: &self.namespaces,
            rollouts: &self.rollouts,
            drains: &self.drains,
            key: &key(),
            labels: &self.labels,
            rules: policy.rules.as_ref().unwrap(),
            part: policy.cluster.as_ref().unwrap(),
            lists: self.lists,
            now: at(self.second),
        };
        match judge.judge(&mut self.state, self.policies.take_changed(&key())).await {
            Ok(judged) => Some(judged),
            Err(Interrupted(remaining)) => {
                self.policies.give_back(&key(), remaining);
                None
            }
        }
    }

    /// The pods of the namespaces that are selected, evaluated at once.
    fn of_everything(&self) -> (Verdict, usize) {
        let policy = self.policy();
        let (rules, part) = (policy.rules.as_ref().unwrap(), policy.cluster.as_ref().unwrap());
        let selected: BTreeSet<&str> = self
            .tiers
            .iter()
            .filter(|(namespace, is_web)| {
                let tier = is_web.then(|| ("tier".to_owned(), "web".to_owned()));
                let name = ("kubernetes.io/metadata.name".to_owned(), (**namespace).to_owned());
                let labels = tier.into_iter().chain([name]).collect();
                part.scope.selects(namespace, &labels, &ExcludedNamespaces::default())
            })
            .map(|(namespace, _)| *namespace)
            .collect();
        let pods = self.all_pods.iter().filter(|((namespace, _), _)| selected.contains(namespace));
        let pods: Vec<_> = pods
            .map(|((namespace, _), pod)| {
                PodFacts::of_pod(&serde_json::from_value(pod.clone()).unwrap(), namespace)
            })
            .collect();
        (Verdict::listing(self.lists, &pods, rules, at(self.second)), selected.len())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pod {
        namespace: usize,
        number: u8,
        kind: u8,
    },
    DeletePod {
        namespace: usize,
        number: u8,
    },
    Tier {
        namespace: usize,
        is_web: bool,
    },
    DeleteNamespace {
        namespace: usize,
    },
    Policy {
        spec: usize,
    },
    Wait {
        seconds: i64,
    },
    /// A judgement that comes while the list is being read is interrupted.
    Relist {
        without: usize,
        is_judged: bool,
    },
    Judge,
}

fn step() -> impl Strategy<Value = Step> {
    let namespace = 0..NAMESPACES.len();
    prop_oneof![
        6 => (namespace.clone(), 0_u8..4, 0_u8..9)
            .prop_map(|(namespace, number, kind)| Step::Pod { namespace, number, kind }),
        2 => (namespace.clone(), 0_u8..4)
            .prop_map(|(namespace, number)| Step::DeletePod { namespace, number }),
        4 => (namespace.clone(), any::<bool>())
            .prop_map(|(namespace, is_web)| Step::Tier { namespace, is_web }),
        1 => namespace.clone().prop_map(|namespace| Step::DeleteNamespace { namespace }),
        1 => (0..SPECS.len()).prop_map(|spec| Step::Policy { spec }),
        4 => (-40_i64..40).prop_map(|seconds| Step::Wait { seconds }),
        1 => (namespace, any::<bool>())
            .prop_map(|(without, is_judged)| Step::Relist { without, is_judged }),
        4 => Just(Step::Judge),
    ]
}

async fn take(world: &mut World, step: Step) {
    match step {
        Step::Pod { namespace, number, kind } => {
            world.set_pod(NAMESPACES[namespace], number, kind);
        }
        Step::DeletePod { namespace, number } => world.delete_pod(NAMESPACES[namespace], number),
        Step::Tier { namespace, is_web } => world.set_tier(NAMESPACES[namespace], is_web),
        Step::DeleteNamespace { namespace } => world.delete_namespace(NAMESPACES[namespace]),
        Step::Policy { spec } => world.set_policy(spec),
        Step::Wait { seconds } => world.second += seconds,
        Step::Relist { without, is_judged } => {
            world.relist_without(NAMESPACES[without]);
            if is_judged {
                world.judge().await;
            }
            world.pod_sink.list_completes();
        }
        Step::Judge => {
            let (judged, _) = world.judge().await.expect("no list is being read");
            let (expected, selected) = world.of_everything();
            let found = judged.verdict.clone();
            assert_eq!(judged.namespaces, Some(selected));
            assert_eq!((found.tally, found.score), (expected.tally, expected.score));
            assert_eq!(found.due, expected.due);
            assert_eq!((found.worst, found.exempted), (expected.worst, expected.exempted));
            assert_eq!(found.reported, expected.reported);
            // The same, where nothing was known before.
            let known = world.state.take();
            world.policies.give_back(&key(), None);
            let (anew, _) = world.judge().await.expect("no list is being read");
            assert_eq!(anew.verdict, judged.verdict);
            world.state = known;
        }
    }
}

proptest! {
    #[test]
    fn the_sum_of_the_namespaces_is_an_evaluation_of_everything(
        steps in prop::collection::vec(step(), 1..60),
        has_report: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            world.lists = if has_report { Lists::StatusAndReport } else { Lists::Status };
            for step in steps.into_iter().chain([Step::Judge]) {
                take(&mut world, step).await;
            }
        });
    }
}

#[tokio::test]
async fn only_what_changed_is_evaluated() {
    let mut world = World::new();
    for namespace in ["bank", "shop"] {
        world.set_tier(namespace, false);
        (0..3).for_each(|number| world.set_pod(namespace, number, 1));
    }
    assert_eq!(world.judge().await.unwrap().1, 6);
    assert_eq!(world.judge().await.unwrap().1, 0, "nothing changed");
    world.set_pod("shop", 0, 2);
    assert_eq!(world.judge().await.unwrap().1, 3);
    world.set_pod("old", 0, 2);
    assert_eq!(world.judge().await.unwrap().1, 0, "the namespace is not known, so not selected");
    world.second = 31;
    let (judged, _) = world.judge().await.unwrap();
    assert_eq!(
        judged.sentence(),
        "score 96 (Healthy): 7 violations in 6 of 6 pods in 2 namespaces"
    );
}

/// A world with so many namespaces of one pod each, which has one finding.
fn crowd(namespaces: usize) -> World {
    let mut world = World::new();
    for number in 0..namespaces {
        let name: &'static str = format!("team-{number:05}").leak();
        world.set_tier(name, false);
        world.set_pod(name, 0, 2);
    }
    world
}

#[tokio::test]
async fn as_many_namespaces_are_evaluated_again_as_may_be_listed() {
    let mut world = crowd(300);
    let (judged, scanned) = world.judge().await.unwrap();
    assert_eq!(judged.verdict.tally.total_findings(), 300);
    assert_eq!(judged.verdict.worst.len(), MAX_LISTED);
    assert_eq!(scanned, 300, "each once");
    assert_eq!(&*judged.verdict.worst[99].namespace, "team-00099");
    world.set_pod("team-00000", 0, 1);
    let (judged, scanned) = world.judge().await.unwrap();
    assert_eq!(scanned, 1 + MAX_LISTED as u64);
    assert_eq!(&*judged.verdict.worst[99].namespace, "team-00100");
}

#[tokio::test]
async fn status_and_report_are_of_one_evaluation() {
    let mut world = crowd(300);
    world.lists = Lists::StatusAndReport;
    assert_eq!(world.judge().await.unwrap().1, 300);
    world.set_pod("team-00007", 0, 1);
    let (judged, scanned) = world.judge().await.unwrap();
    let reported = judged.verdict.reported.unwrap();
    assert_eq!((judged.verdict.worst.len(), reported.worst.len()), (MAX_LISTED, 299));
    assert_eq!(scanned, 300, "each once");
}

#[tokio::test]
async fn others_have_their_turn_while_many_namespaces_are_judged() {
    let mut world = crowd(3_000);
    let turns = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&turns);
    let other = tokio::spawn(async move {
        loop {
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    world.judge().await.unwrap();
    assert!(turns.load(Ordering::Relaxed) >= 3);
    turns.store(0, Ordering::Relaxed);
    world.set_pod("team-00007", 0, 1);
    world.judge().await.unwrap();
    assert_eq!(turns.load(Ordering::Relaxed), 0, "one namespace is no reason to wait");
    other.abort();
}
