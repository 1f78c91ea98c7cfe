use std::collections::BTreeMap;
use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::Timestamp;
use crate::api::DevOpsPolicySpec;
use crate::evaluate::evaluate;
use crate::facts::{
    CheckedFacts, ContainerFacts, ContainerRole, End, ImageFact, Lifecycle, PodFacts, ResourceGap,
    ResourceGaps, RunFacts,
};
use crate::policy::{CompiledPolicy, default_profile_spec};
use crate::workload::{ObjectKind, Workload};

/// What happens to a cluster. Few names, so that events meet.
#[derive(Clone, Debug)]
enum Event {
    Apply(u8, u8, PodFacts),
    Remove(u8, u8),
    Relist(BTreeMap<(u8, u8), PodFacts>),
    /// A relist that lists some pods and breaks off.
    BrokenRelist(BTreeMap<(u8, u8), PodFacts>),
    Wait(i64),
}

fn facts() -> impl Strategy<Value = PodFacts> {
    let lifecycle = prop_oneof![
        3 => Just(Lifecycle::Active),
        1 => Just(Lifecycle::Ended),
        3 => (0_u32..1000).prop_map(|since| Lifecycle::Pending { since: NonZeroU32::new(since) }),
        1 => Just(Lifecycle::Pending { since: None }),
        3 => (0_u32..1000).prop_map(|since| Lifecycle::NotReady {
            since: NonZeroU32::new(since),
            lacks_only_gates: false
        }),
    ];
    // The ends of containers meet each other and the limits, so that several changes are due at
    // the same second.
    let ended = proptest::option::of((0_i64..100).prop_map(|tens| tens * 10));
    let container = (any::<bool>(), any::<bool>(), 0_u32..9, ended).prop_map(
        |(pinned, probe, restarts, at)| {
            let last_end =
                at.map(|at| End { at: Some(at), reason: None, exit_code: 1, signal: None });
            let run = RunFacts { restarts, last_end, ..RunFacts::default() };
            let container = ContainerFacts {
                name: "c".into(),
                role: ContainerRole::Regular,
                image: if pinned {
                    ImageFact::Pinned
                } else {
                    ImageFact::NotPinned("nginx".into())
                },
                restarts_always: true,
                has_liveness_probe: probe,
                has_readiness_probe: true,
                missing_resources: ResourceGaps {
                    memory_limit: if probe { ResourceGap::None } else { ResourceGap::Missing },
                    ..Default::default()
                },
            };
            (container, run)
        },
    );
    let containers = proptest::collection::vec(container, 0..4);
    let workload = proptest::sample::select(vec!["web", "db", "cache"]);
    (lifecycle, containers, workload).prop_map(|(lifecycle, containers, workload)| PodFacts {
        created: 0,
        images: None,
        namespace: "n".into(),
        kind: ObjectKind::Pod,
        name: "p".into(),
        workload: Arc::new(Workload {
            group: "apps".into(),
            kind: "Deployment".into(),
            name: workload.into(),
        }),
        checked: CheckedFacts {
            lifecycle,
            containers: containers.iter().map(|(container, _)| container.clone()).collect(),
            runs: (containers.into_iter().enumerate())
                .map(|(container, (_, run))| RunFacts { container, ..run })
                .collect(),
            blocking_budget: None,
        },
    })
}

fn event() -> impl Strategy<Value = Event> {
    let pods = || proptest::collection::btree_map((0_u8..3, 0_u8..4), facts(), 0..8);
    prop_oneof![
        6 => (0_u8..3, 0_u8..4, facts()).prop_map(|(ns, name, pod)| Event::Apply(ns, name, pod)),
        3 => (0_u8..3, 0_u8..4).prop_map(|(ns, name)| Event::Remove(ns, name)),
        1 => pods().prop_map(Event::Relist),
        1 => pods().prop_map(Event::BrokenRelist),
        2 => (0_i64..400).prop_map(Event::Wait),
    ]
}

/// The index beside the plain truth: the live pods, counted afresh.
#[derive(Default)]
struct World {
    index: Index<ScoredPod>,
    live: BTreeMap<(u8, u8), PodFacts>,
    now: i64,
}

fn namespace(number: u8) -> String {
    format!("ns-{number}")
}

/// With a window and exemptions that end while the events of a test happen, before and after what
/// they exempt.
fn profile() -> CompiledPolicy {
    let exemptions = serde_json::json!([
        { "checks": ["latest-tag", "high-restarts"], "expires": "1970-01-01T00:03:20Z",
          "workload": { "kind": "Deployment", "name": "web" }, "reason": "until second 200" },
        { "checks": ["pending", "not-ready", "high-restarts"], "expires": "1970-01-01T00:15:00Z",
          "workload": { "kind": "Deployment", "name": "web" }, "reason": "until second 900" },
        { "checks": ["missing-liveness", "pending", "high-restarts"],
          "workload": { "kind": "Deployment", "name": "db" }, "reason": "for ever" },
    ]);
    let spec = DevOpsPolicySpec {
        restart_window: Some(200),
        exemptions: serde_json::from_value(exemptions).unwrap(),
        ..default_profile_spec()
    };
    CompiledPolicy::compile(&spec).unwrap()
}

impl World {
    fn scored(&self, name: u8, pod: &PodFacts) -> Option<ScoredPod> {
        let now = Timestamp::from_second(self.now).unwrap();
        ScoredPod::of(&name.to_string(), &evaluate(pod, &profile(), now))
    }

    fn apply(&mut self, (ns, name): (u8, u8), pod: &PodFacts) -> bool {
        let record = self.scored(name, pod);
        self.index.set(&namespace(ns), &name.to_string(), record)
    }

    /// Begins a relist and applies these pods.
    fn list(&mut self, pods: BTreeMap<(u8, u8), PodFacts>) -> BTreeSet<String> {
        self.index.begin_relist();
        let mut changed = BTreeSet::new();
        for (key, pod) in pods {
            if self.apply(key, &pod) {
                changed.insert(namespace(key.0));
            }
            self.live.insert(key, pod);
        }
        changed
    }

    fn happen(&mut self, event: Event) -> Result<(), TestCaseError> {
        let before = self.recount();
        let changed: BTreeSet<String> = match event {
            Event::Apply(ns, name, pod) => {
                let changed = self.apply((ns, name), &pod);
                self.live.insert((ns, name), pod);
                changed.then(|| namespace(ns)).into_iter().collect()
            }
            Event::Remove(ns, name) => {
                self.live.remove(&(ns, name));
                let changed = self.index.remove(&namespace(ns), &name.to_string());
                changed.then(|| namespace(ns)).into_iter().collect()
            }
            Event::Relist(pods) => {
                self.live.clear();
                let mut changed = self.list(pods);
                changed.extend(self.index.finish_relist().iter().map(ToString::to_string));
                changed
            }
            Event::BrokenRelist(pods) => self.list(pods),
            Event::Wait(seconds) => {
                self.now += seconds;
                self.index.advance(self.now).iter().map(ToString::to_string).collect()
            }
        };
        let after = self.recount();
        prop_assert_eq!(self.incremental(), after.clone());
        for name in (0..3).map(namespace) {
            if before.0.get(&name) != after.0.get(&name) {
                prop_assert!(changed.contains(&name), "{} changed without being returned", name);
            }
        }
        prop_assert!(self.index.next_due().is_none_or(|second| second > self.now));
        Ok(())
    }

    fn incremental(&self) -> (BTreeMap<String, Tally>, Tally, usize) {
        let namespaces = self.index.namespaces().map(|(name, t)| (name.to_string(), *t)).collect();
        (namespaces, *self.index.total(), self.index.len())
    }

    fn recount(&self) -> (BTreeMap<String, Tally>, Tally, usize) {
        let mut namespaces: BTreeMap<String, Tally> = BTreeMap::new();
        let (mut total, mut len) = (Tally::default(), 0);
        for ((ns, name), pod) in &self.live {
            if let Some(record) = self.scored(*name, pod) {
                total.add(&record.tally);
                namespaces.entry(namespace(*ns)).or_default().add(&record.tally);
                len += 1;
            }
        }
        (namespaces, total, len)
    }
}

proptest! {
    #[test]
    fn any_order_of_events_gives_what_a_recount_gives(
        events in proptest::collection::vec(event(), 1..60),
    ) {
        let mut world = World::default();
        for event in events {
            world.happen(event)?;
        }
    }
}

#[test]
fn the_same_record_again_is_no_change() {
    let policy = CompiledPolicy::default_profile();
    let pod = PodFacts::of_pod(
        &serde_json::from_str(r#"{"spec": {"containers": [{"image": "nginx"}]}}"#).unwrap(),
        "default",
    );
    let record = ScoredPod::of("web", &evaluate(&pod, &policy, Timestamp::UNIX_EPOCH)).unwrap();
    let mut index = Index::default();
    assert!(index.apply("shop", record.clone()));
    assert!(!index.apply("shop", record.clone()));
    assert!(!index.remove("shop", "other") && !index.remove("other", "web"));
    assert_eq!(index.records("shop").len(), 1);
    index.begin_relist();
    assert!(!index.apply("shop", record));
    assert!(index.finish_relist().is_empty());
    assert!(index.remove("shop", "web"));
    assert!(index.namespaces().next().is_none() && index.is_empty());
}

#[test]
fn facts_are_kept_and_a_pod_that_cannot_be_read_survives_a_relist() {
    let facts = |name: &str| {
        let text = format!(r#"{{"metadata": {{"name": "{name}"}}}}"#);
        Arc::new(PodFacts::of_pod(&serde_json::from_str(&text).unwrap(), "shop"))
    };
    let mut index = Index::default();
    for name in ["a", "b", "c"] {
        assert!(index.apply("shop", facts(name)));
    }
    index.begin_relist();
    assert!(!index.apply("shop", facts("a")));
    index.keep("shop", "b");
    index.keep("shop", "never-seen");
    assert_eq!(index.finish_relist(), BTreeSet::from(["shop".into()]));
    let records = index.records("shop");
    let names: BTreeSet<&str> = records.iter().map(|facts| &*facts.name).collect();
    assert_eq!(names, BTreeSet::from(["a", "b"]));
    let namespaces: Vec<_> = index.namespaces().collect();
    assert_eq!((index.total(), namespaces), (&2, vec![(&Arc::from("shop"), &2)]));
}
