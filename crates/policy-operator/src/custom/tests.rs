//! Results of custom checks follow pods, expressions and labels.

use std::collections::BTreeMap;

use policy_core::namespaces::ExcludedNamespaces;
use policy_core::view::PodView;
use policy_runtime::testing::{Script, status_json};
use policy_runtime::watch::{RawEvent, Sink as _};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::pods::PodSink;
use crate::policies::Policies;

const HOST: &str = "!has(object.spec.hostNetwork)";
const TEAM: &str = "has(object.metadata.labels.team)";
const TIER: &str = "has(namespaceObject.metadata.labels.tier)";

/// A namespace with pods, and what is found in them.
struct World {
    script: Script,
    pods: Pods,
    sink: PodSink,
    namespaces: Namespaces,
    policies: Policies,
}

fn pod(name: &str, version: u64, is_host: bool, has_team: bool) -> Value {
    let spec = if is_host { json!({ "hostNetwork": true }) } else { json!({}) };
    let labels = if has_team { json!({ "team": "a" }) } else { json!({}) };
    json!({ "metadata": { "namespace": "shop", "name": name, "labels": labels,
        "resourceVersion": version.to_string() }, "spec": spec })
}

fn rules(expressions: &[&str]) -> CompiledPolicy {
    let checks = expressions.iter().enumerate();
    let checks =
        checks.map(|(number, text)| json!({ "name": format!("c{number}"), "expression": text }));
    let spec = json!({ "custom": checks.collect::<Vec<_>>() });
    CompiledPolicy::compile(&serde_json::from_value(spec).unwrap()).unwrap()
}

fn list(pods: &[Value]) -> String {
    json!({ "metadata": {}, "items": pods }).to_string()
}

impl World {
    fn new(script: Script) -> Self {
        let policies = Policies::default();
        let pods = Pods::new(ExcludedNamespaces::default(), policies.clone());
        let namespaces = Namespaces::new(ExcludedNamespaces::default(), policies.clone());
        let mut world = Self { script, sink: pods.sink(), pods, namespaces, policies };
        world.sink.list_begins();
        world.sink.list_completes();
        world.label(&[]);
        world
    }

    fn label(&self, labels: &[&str]) {
        let labels: BTreeMap<_, _> = labels.iter().map(|key| (*key, "x")).collect();
        let object = json!({ "metadata": { "name": "shop", "labels": labels } });
        self.namespaces.sink().applied(serde_json::from_value(object).unwrap());
    }

    fn event(&mut self, pod: &Value) {
        let view: PodView = serde_json::from_value(pod.clone()).unwrap();
        let event = json!({ "type": "MODIFIED", "object": pod }).to_string();
        self.sink.applied_from(view, RawEvent::new(event.as_bytes()));
    }

    /// What was found: `web c0`; `web ?` for a pod that is not judged.
    fn found_by(&self, policy: &str, rules: &CompiledPolicy) -> Vec<String> {
        let pods = self.pods.of("shop").unwrap();
        let key = PolicyKey::new("shop", policy);
        let places = (&self.pods, &self.namespaces);
        let (found, standing) = found(places, (&key, rules), "shop", &pods);
        let mut texts: Vec<String> = pods
            .iter()
            .zip(&found)
            .flat_map(|(pod, found)| match found {
                None => vec![format!("{} ?", pod.name)],
                Some(found) => {
                    let all = found.iter().flat_map(|found| &found.violations);
                    all.map(|of| format!("{} {}", pod.name, of.name)).collect()
                }
            })
            .collect();
        texts.sort();
        let unjudged = texts.iter().filter(|text| text.ends_with('?')).count() as u64;
        assert_eq!(standing.map_or(0, |standing| standing.unjudged), unjudged);
        texts
    }

    fn found(&self, expressions: &[&str]) -> Vec<String> {
        self.found_by("own", &rules(expressions))
    }

    /// Lists what is due now. Returns how many lists that took.
    async fn list_due(&self) -> usize {
        let (client, pods, policies) =
            (self.script.client(), self.pods.clone(), self.policies.clone());
        let lists = PodLists { client, pods, policies };
        let mut number = 0;
        while let Ok(namespace) = self.pods.custom().take_due(Instant::now()) {
            lists.list(&namespace).await;
            number += 1;
        }
        number
    }

    fn report(&self) -> [usize; 3] {
        let CustomReport { namespaces, pods, to_be_listed } = self.pods.custom().report();
        [namespaces, pods, to_be_listed]
    }

    fn calls(&self) -> Vec<String> {
        self.script.calls()
    }
}

#[tokio::test(start_paused = true)]
async fn pods_that_were_there_before_an_expression_are_listed_once_and_then_judged_by_their_events()
{
    let answer = list(&[
        pod("db", 2, false, false),
        pod("gone", 3, true, false),
        pod("web", 1, true, false),
    ]);
    let mut world = World::new(Script::default().answer(200, answer));
    world.event(&pod("web", 1, true, false));
    world.event(&pod("db", 2, false, false));
    assert_eq!(world.report(), [0, 0, 0], "without custom checks nothing is kept");
    assert_eq!(world.found(&[HOST]), ["db ?", "web ?"]);
    assert_eq!(world.list_due().await, 1);
    assert_eq!(world.found(&[HOST]), ["web c0"]);
    assert!(
        world.calls()[0].contains("/api/v1/namespaces/shop/pods?&limit=50"),
        "{:?}",
        world.calls()
    );
    assert_eq!(world.report(), [1, 2, 0], "a pod that the watch does not have is none");
    world.event(&pod("web", 4, false, false));
    world.event(&pod("new", 5, true, false));
    assert_eq!(world.found(&[HOST]), ["new c0"]);
    world.sink.deleted("shop", "new");
    assert_eq!(world.found(&[HOST]), Vec::<String>::new());
    assert_eq!((world.list_due().await, world.calls().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_older_than_an_event_changes_nothing() {
    let old = list(&[pod("web", 5, true, false)]);
    let mut world = World::new(Script::default().answer(200, old));
    world.event(&pod("web", 5, true, false));
    assert_eq!(world.found(&[HOST]), ["web ?"]);
    world.event(&pod("web", 9, false, false));
    assert_eq!(world.list_due().await, 1);
    assert_eq!(world.found(&[HOST]), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn other_labels_of_the_namespace_concern_only_who_depends_on_them() {
    let answer = list(&[pod("web", 1, true, false)]);
    let mut world = World::new(Script::default().answer(200, answer));
    let (host, tier) = (rules(&[HOST]), rules(&[TIER]));
    assert!(world.found_by("host", &host).is_empty() && world.found_by("tier", &tier).is_empty());
    world.event(&pod("web", 1, true, false));
    assert_eq!(world.found_by("tier", &tier), ["web c0"]);
    world.label(&["tier"]);
    assert_eq!(world.found_by("tier", &tier), ["web ?"]);
    assert_eq!(world.found_by("host", &host), ["web c0"]);
    assert_eq!(world.list_due().await, 1);
    assert_eq!(world.found_by("tier", &tier), Vec::<String>::new());
    world.label(&[]);
    assert_eq!(world.found_by("tier", &tier), ["web ?"]);
    assert_eq!(world.list_due().await, 0, "not so soon after another list");
    // The policy is gone, and with it what was kept.
    world.pods.custom().retain_policies(|_| false);
    assert_eq!(world.report(), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_fails_is_repeated_later_and_the_reason_is_known() {
    let refused = status_json(403, "Forbidden", "no");
    let answer = list(&[pod("web", 1, true, false)]);
    let mut world = World::new(Script::default().answer(403, refused).answer(200, answer));
    world.event(&pod("web", 1, true, false));
    world.found(&[HOST]);
    assert_eq!(world.list_due().await, 1);
    let pods = world.pods.of("shop").unwrap();
    let key = PolicyKey::new("shop", "own");
    let places = (&world.pods, &world.namespaces);
    let (_, standing) = found(places, (&key, &rules(&[HOST])), "shop", &pods);
    let error = standing.unwrap().error.unwrap();
    assert!(error.contains("cannot list the pods of namespace shop for custom checks"), "{error}");
    assert_eq!(world.list_due().await, 0, "not at once");
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(world.list_due().await, 1);
    assert_eq!(world.found(&[HOST]), ["web c0"]);
}

#[tokio::test(start_paused = true)]
async fn who_takes_too_much_time_of_the_event_loop_waits_for_a_list() {
    let mut world = World::new(Script::default());
    world.found(&[HOST]);
    world.pods.custom().spent("shop", budget::OF_NAMESPACE);
    world.event(&pod("web", 1, true, false));
    assert_eq!(world.found(&[HOST]), ["web c0"], "a second begins with the first pod");
    world.pods.custom().spent("shop", budget::OF_NAMESPACE);
    world.event(&pod("web", 2, true, false));
    assert_eq!(world.found(&[HOST]), ["web ?"]);
    tokio::time::advance(Duration::from_secs(1)).await;
    world.event(&pod("web", 3, true, false));
    assert_eq!(world.found(&[HOST]), ["web c0"]);
}

#[test]
fn texts_are_bounded() {
    let text = "object.metadata.name + ' is bad'";
    let spec =
        json!({ "custom": [{ "name": "c", "expression": "false", "messageExpression": text }] });
    let rules = CompiledPolicy::compile(&serde_json::from_value(spec).unwrap()).unwrap();
    let mut world = World::new(Script::default());
    world.found_by("own", &rules);
    for number in 0..2_100 {
        world.event(&pod(&format!("web-{number}"), 1, false, false));
        let all_time = world.pods.custom().0.state.lock().namespaces.get_mut("shop").map(|known| {
            known.budget = Budget::default();
        });
        all_time.unwrap();
        world.pods.custom().0.state.lock().budget = Budget::default();
    }
    let found = world.found_by("own", &rules);
    assert_eq!(found.len(), 2_100, "each is counted");
    let texts = world.pods.custom().0.state.lock().texts;
    assert_eq!(texts, 2_001, "and one text stands for all others");
}

#[derive(Clone, Debug)]
enum Step {
    Event {
        pod: u8,
        is_host: bool,
        has_team: bool,
    },
    Delete {
        pod: u8,
    },
    Rules {
        which: usize,
    },
    Label {
        has_tier: bool,
    },
    /// The server answers a list; what it says arrives later.
    Read,
    Arrive,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u8, any::<bool>(), any::<bool>())
            .prop_map(|(pod, is_host, has_team)| Step::Event { pod, is_host, has_team }),
        1 => (0..3_u8).prop_map(|pod| Step::Delete { pod }),
        1 => (0..3_usize).prop_map(|which| Step::Rules { which }),
        1 => any::<bool>().prop_map(|has_tier| Step::Label { has_tier }),
        2 => Just(Step::Read),
        2 => Just(Step::Arrive),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the order, what is known of a pod is what its checks say of it as it is.
    #[test]
    fn results_are_those_of_the_pod_as_it_is(steps in proptest::collection::vec(step(), 1..40)) {
        const RULES: [&[&str]; 3] = [&[HOST], &[HOST, TEAM], &[TIER, TEAM]];
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let mut world = World::new(Script::default());
        let (mut which, mut has_tier, mut version) = (0, false, 0);
        let mut exists: BTreeMap<u8, Value> = BTreeMap::new();
        let mut read: Vec<Value> = Vec::new();
        let arrive = |world: &World, read: &[Value]| {
            for pod in read {
                let (name, version) = (pod["metadata"]["name"].as_str().unwrap(),
                    version_of(pod));
                if let Some(judging) = world.pods.custom().judging("shop", name, version) {
                    let input = CustomInput::of_pod_json(pod.to_string().as_bytes());
                    let results = judging.judge(&input).collect();
                    world.pods.judged("shop", name, version, results);
                }
            }
        };
        for step in steps.into_iter().chain([Step::Read, Step::Arrive]) {
            match step {
                Step::Event { pod: number, is_host, has_team } => {
                    version += 1;
                    let made = pod(&format!("p{number}"), version, is_host, has_team);
                    world.event(&made);
                    exists.insert(number, made);
                }
                Step::Delete { pod } => {
                    exists.remove(&pod);
                    world.sink.deleted("shop", &format!("p{pod}"));
                }
                Step::Rules { which: other } => which = other,
                Step::Label { has_tier: other } => {
                    has_tier = other;
                    world.label(if has_tier { &["tier"] } else { &[] });
                }
                Step::Read => read = exists.values().cloned().collect(),
                Step::Arrive => arrive(&world, &read),
            }
            let expected = |expression: &str, pod: &Value| match expression {
                HOST => pod["spec"]["hostNetwork"].is_null(),
                TEAM => pod["metadata"]["labels"]["team"].is_string(),
                _ => has_tier,
            };
            let found = world.found(RULES[which]);
            for (number, pod) in &exists {
                let unjudged = format!("p{number} ?");
                if found.contains(&unjudged) {
                    continue;
                }
                for (at, expression) in RULES[which].iter().enumerate() {
                    let is_found = found.contains(&format!("p{number} c{at}"));
                    prop_assert_eq!(is_found, !expected(expression, pod), "{}", expression);
                }
            }
        }
        // The rules may be new to the pods that the last list judged.
        arrive(&world, &read);
        let found = world.found(RULES[which]);
        prop_assert!(found.iter().all(|text| !text.ends_with('?')), "{found:?}");
    }
}

fn version_of(pod: &Value) -> Version {
    version(pod["metadata"]["resourceVersion"].as_str())
}
