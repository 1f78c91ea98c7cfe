use super::ContainerRole::{Ephemeral, ImageVolume, Init, Regular, Sidecar};
use super::*;
use std::num::NonZeroU32;

fn pod(text: &str) -> PodFacts {
    PodFacts::of_pod(&serde_json::from_str(text).unwrap(), "default")
}

fn only_container(text: &str) -> ContainerFacts {
    let facts = pod(&format!(r#"{{"spec": {{"containers": [{text}]}}}}"#));
    facts.checked.containers[0].clone()
}

#[test]
fn the_role_follows_from_list_and_restart_policy() {
    let facts = pod(r#"{"spec": {
        "containers": [{"name": "web"}],
        "initContainers": [{"name": "proxy", "restartPolicy": "Always"}, {"name": "setup"}, {}],
        "ephemeralContainers": [{"name": "debug"}],
        "volumes": [{"name": "config", "secret": {}}, {"name": "models", "image": {"reference": "a:1"}}, {"image": {}}]}}"#);
    let roles: Vec<_> = facts.checked.containers.iter().map(|c| (&*c.name, c.role)).collect();
    assert_eq!(
        roles,
        [
            ("web", Regular),
            ("proxy", Sidecar),
            ("setup", Init),
            ("initContainers[2]", Init),
            ("debug", Ephemeral),
            ("volumes[models]", ImageVolume),
            ("volumes[2]", ImageVolume),
        ]
    );
}

#[test]
fn each_handler_counts_and_an_empty_probe_does_not() {
    for way in ["httpGet", "tcpSocket", "exec", "grpc"] {
        let container = only_container(&format!(
            r#"{{"livenessProbe": {{"{way}": {{}}}}, "readinessProbe": {{"{way}": {{"port": 1}}}}}}"#
        ));
        assert!(container.has_liveness_probe && container.has_readiness_probe, "{way}");
    }
    for probe in ["{}", "null", r#"{"periodSeconds": 5}"#, r#"{"httpGet": null}"#] {
        let container = only_container(&format!(r#"{{"livenessProbe": {probe}}}"#));
        assert!(!container.has_liveness_probe && !container.has_readiness_probe, "{probe}");
    }
}

#[test]
fn a_limit_sets_the_request_and_the_pods_resources_count_for_all() {
    let missing = |container: &str, pod_level: &str| {
        let facts = pod(&format!(
            r#"{{"spec": {{"resources": {pod_level}, "containers": [{{"resources": {container}}}]}}}}"#
        ));
        let missing = facts.checked.containers[0].missing_resources;
        [missing.cpu_request, missing.memory_request, missing.memory_limit]
    };
    let (set, absent, invalid) = (ResourceGap::None, ResourceGap::Missing, ResourceGap::Invalid);
    assert_eq!(missing("null", "null"), [absent, absent, absent]);
    assert_eq!(missing("{}", "{}"), [absent, absent, absent]);
    assert_eq!(missing(r#"{"requests": {"cpu": "1", "memory": 1}}"#, "{}"), [set, set, absent]);
    assert_eq!(missing(r#"{"limits": {"cpu": 0.5}}"#, "{}"), [set, absent, absent]);
    assert_eq!(missing(r#"{"limits": {"memory": "1Gi"}}"#, "{}"), [absent, set, set]);
    let zero = r#"{"requests": {"cpu": 0, "memory": "0"}, "limits": {"memory": 0}}"#;
    assert_eq!(missing(zero, "{}"), [set, set, absent], "a limit of 0 is none");
    let nonsense =
        r#"{"requests": {"cpu": "", "memory": -5}, "limits": {"memory": "lots", "cpu": true}}"#;
    assert_eq!(missing(nonsense, "{}"), [invalid; 3], "the API server refuses these");
    assert_eq!(missing(r#"{"limits": {"memory": "1GB"}}"#, "{}"), [absent, absent, invalid]);
    assert_eq!(missing(r#"{"requests": {"memory": " 1Gi "}}"#, "{}"), [absent, set, absent]);
    let memory = r#"{"limits": {"memory": "1Gi"}}"#;
    assert_eq!(missing(r#"{"requests": {"cpu": "1"}}"#, memory), [set, set, set]);
}

/// What the API server stores of each of these specs gives the same facts.
#[test]
fn a_container_from_a_file_has_the_facts_of_the_stored_one() {
    let gaps = |resources: &str| {
        only_container(&format!(r#"{{"resources": {resources}}}"#)).missing_resources
    };
    for (file, stored) in [
        (
            r#"{"limits": {"cpu": 0, "memory": "1Gi"}}"#,
            r#"{"requests": {"cpu": "0", "memory": "1Gi"}, "limits": {"cpu": "0", "memory": "1Gi"}}"#,
        ),
        (
            r#"{"requests": {"cpu": null}, "limits": {"memory": "1Gi"}}"#,
            r#"{"requests": {"cpu": "0", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}"#,
        ),
        (
            r#"{"limits": {"cpu": 1, "memory": null}}"#,
            r#"{"requests": {"cpu": "1", "memory": "0"}, "limits": {"cpu": "1", "memory": "0"}}"#,
        ),
    ] {
        assert_eq!(gaps(file), gaps(stored), "{file}");
        assert_eq!(gaps(file).cpu_request, ResourceGap::None, "{file}");
    }
}

#[test]
fn images_are_absent_pinned_or_not() {
    for (image, fact) in [
        ("null", ImageFact::Absent),
        (r#""""#, ImageFact::Absent),
        (r#""nginx""#, ImageFact::NotPinned("nginx".into())),
        (r#""nginx:1.27""#, ImageFact::Pinned),
        (r#""{{ image }}""#, ImageFact::NotPinned("{{ image }}".into())),
    ] {
        assert_eq!(only_container(&format!(r#"{{"image": {image}}}"#)).image, fact, "{image}");
    }
}

#[test]
fn the_phase_decides_unless_a_gate_holds_the_pod() {
    let lifecycle = |phase: &str, gates: &str| {
        pod(&format!(
            r#"{{"metadata": {{"creationTimestamp": "1970-01-01T00:01:00Z"}},
                "spec": {{"schedulingGates": {gates}}}, "status": {{"phase": {phase}}}}}"#
        ))
        .checked
        .lifecycle
    };
    let pending = Lifecycle::Pending { since: NonZeroU32::new(60) };
    assert_eq!(lifecycle(r#""Pending""#, "[]"), pending);
    assert_eq!(lifecycle(r#""Pending""#, r#"[{"name": "quota"}]"#), Lifecycle::Active);
    assert_eq!(lifecycle(r#""Succeeded""#, "[]"), Lifecycle::Ended);
    assert_eq!(lifecycle(r#""Failed""#, "null"), Lifecycle::Ended);
    for phase in [r#""Running""#, r#""Unknown""#, "null"] {
        assert_eq!(lifecycle(phase, "[]"), Lifecycle::Active, "{phase}");
    }
}

/// The states of a gated pod in their order, and those of one without gates.
#[test]
fn a_pod_that_had_a_gate_is_pending_from_when_it_got_a_node() {
    let since = |generation: &str, condition: &str| {
        let facts = pod(&format!(
            r#"{{"metadata": {{"creationTimestamp": "1970-01-01T00:01:00Z", "generation": {generation}}},
                "status": {{"phase": "Pending", "conditions": [{{"type": "Initialized", "status": "True",
                    "lastTransitionTime": "1970-01-01T01:00:00Z"}}, {condition}]}}}}"#
        ));
        facts.checked.lifecycle
    };
    let condition = |status: &str, reason: &str, second: u8| {
        format!(
            r#"{{"type": "PodScheduled", "status": "{status}", "reason": "{reason}",
                "lastTransitionTime": "1970-01-01T00:01:{second}Z"}}"#
        )
    };
    let pending = |since| Lifecycle::Pending { since: NonZeroU32::new(since) };
    let bound = condition("True", "", 40);
    let unschedulable = condition("False", "Unschedulable", 10);
    assert_eq!(since("1", &bound), pending(60), "never had a gate");
    assert_eq!(since("1", &unschedulable), pending(60), "never had a gate");
    assert_eq!(since("2", &condition("False", "SchedulingGated", 10)), Lifecycle::Active);
    assert_eq!(since("2", &bound), pending(100), "its gate was removed");
    assert_eq!(since("3", &bound), pending(100), "its last gate was removed");
    assert_eq!(since("2", &condition("False", "Unschedulable", 0)), pending(60));
    assert_eq!(since("null", &bound), pending(100), "from a file without a generation");
    assert_eq!(since("null", "null"), pending(60), "without a condition");
}

#[test]
fn restarts_are_found_by_name_in_the_right_list() {
    let facts = pod(r#"{"spec": {
            "containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}],
            "ephemeralContainers": [{"name": "e"}]},
        "status": {
            "containerStatuses": [{"name": "b", "restartCount": 7}, {"name": "i", "restartCount": 1},
                {"name": "a", "restartCount": -1}],
            "initContainerStatuses": [{"name": "i", "restartCount": 99999999999}],
            "ephemeralContainerStatuses": [{"name": "e", "restartCount": 5}]}}"#);
    let restarts: Vec<_> =
        facts.checked.runs.iter().map(|run| (run.container, run.restarts)).collect();
    assert_eq!(restarts, [(1, 7), (2, u32::MAX)]);
    let mut at_admission = facts;
    at_admission.clear_status();
    assert_eq!(*at_admission.checked.runs, []);
}

#[test]
fn one_shot_pods_are_known() {
    for (policy, expected) in [
        ("null", true),
        (r#""""#, true),
        (r#""Always""#, true),
        (r#""Never""#, false),
        (r#""OnFailure""#, false),
    ] {
        let spec = format!(r#"{{"spec": {{"restartPolicy": {policy}, "containers": [{{}}]}}}}"#);
        assert_eq!(pod(&spec).checked.containers[0].restarts_always, expected, "{policy}");
    }
}

#[test]
fn names_longer_than_any_cluster_takes_are_cut() {
    let long = "ä".repeat(1000);
    let facts = pod(&format!(
        r#"{{"metadata": {{"name": "{long}", "namespace": "{long}", "ownerReferences": [{{"kind": "{long}", "name": "{long}", "controller": true}}]}},
            "spec": {{"containers": [{{"name": "{long}"}}]}}}}"#
    ));
    let names = [
        &*facts.name,
        &*facts.namespace,
        &*facts.workload.kind,
        &*facts.workload.name,
        &*facts.checked.containers[0].name,
    ];
    assert!(names.iter().all(|name| *name == "ä".repeat(253)));
}

#[test]
fn names_fall_back_to_what_is_there() {
    let named = |metadata: &str| {
        let facts = pod(&format!(r#"{{"metadata": {metadata}}}"#));
        format!("{}/{}", facts.namespace, facts.name)
    };
    assert_eq!(named(r#"{"name": "web", "namespace": "shop"}"#), "shop/web");
    assert_eq!(named(r#"{"generateName": "web-", "namespace": ""}"#), "default/web-");
    assert_eq!(named("null"), "default/(unnamed)");
}

#[test]
fn templates_are_found_where_each_kind_keeps_them() {
    let template = r#"{"spec": {"containers": [{"name": "web"}], "restartPolicy": "Always"}}"#;
    for kind in ObjectKind::BUILT_IN {
        let spec = match kind {
            ObjectKind::Pod => r#"{"containers": [{"name": "web"}]}"#.to_owned(),
            ObjectKind::CronJob => {
                format!(r#"{{"jobTemplate": {{"spec": {{"template": {template}}}}}}}"#)
            }
            _ => format!(r#"{{"template": {template}}}"#),
        };
        let conditions = r#"[{"type": "Failed", "status": "True"}]"#;
        let text = format!(
            r#"{{"spec": {spec}, "status": {{"phase": "Failed", "conditions": {conditions}}}}}"#
        );
        let object: ObjectView = serde_json::from_str(&text).unwrap();
        let facts = PodFacts::of_object(kind, &object, "default").unwrap();
        assert_eq!(&*facts.checked.containers[0].name, "web", "{kind}");
        assert_eq!(
            facts.checked.containers[0].restarts_always,
            !kind.runs_to_completion(),
            "{kind}"
        );
        let can_end = matches!(kind, ObjectKind::Pod | ObjectKind::Job);
        let has_ended = facts.checked.lifecycle == Lifecycle::Ended;
        assert_eq!(has_ended, can_end, "only the status of a pod and of a Job counts");
        let empty: ObjectView = serde_json::from_str(r#"{"spec": {"replicas": 2}}"#).unwrap();
        assert_eq!(PodFacts::of_object(kind, &empty, "default"), None, "{kind} without containers");
    }
}

/// What an index keeps of each pod, beside its names and what it shares. 112 bytes with the two counts of
/// an `Arc`: the largest that an allocator of sizes such as 96, 112 and 128 does not round up.
#[test]
fn the_facts_of_a_pod_are_small() {
    assert!(size_of::<PodFacts>() <= 96, "{}", size_of::<PodFacts>());
}
