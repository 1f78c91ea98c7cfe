use proptest::prelude::*;

use super::*;

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(".{0,8}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// What users may write into metadata, and what only a server does.
fn metadata() -> impl Strategy<Value = Value> {
    let field = prop::sample::select(vec![
        "name",
        "namespace",
        "generateName",
        "labels",
        "annotations",
        "ownerReferences",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "creationTimestamp",
        "finalizers",
        "managedFields",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
    ]);
    let owner = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web",
        "uid": "1", "controller": true }]);
    let value = prop_oneof![
        json_value(),
        Just(json!("kube-system")),
        Just(json!("2026-01-01T00:00:00Z")),
        Just(
            json!({ "kubernetes.io/config.mirror": "x", "devops.stochastic.io/remediation": "disabled" })
        ),
        Just(json!({ "pod-template-hash": "5d8", "app.kubernetes.io/managed-by": "x" })),
        Just(owner),
    ];
    prop::collection::btree_map(field, value, 0..8)
        .prop_map(|map| map.into_iter().map(|(field, value)| (field.to_owned(), value)).collect())
}

fn any_container() -> impl Strategy<Value = Value> {
    let image = prop::sample::select(vec!["nginx", "nginx:1", "::", "", "a/b:latest"]);
    (".{0,9}", image, any::<[bool; 4]>()).prop_map(|(name, image, [live, ready, memory, always])| {
        let probe = |is_set: bool| if is_set { json!({ "exec": {} }) } else { Value::Null };
        let restart = if always { json!("Always") } else { Value::Null };
        let limits = if memory { json!({ "memory": "1Gi" }) } else { json!({}) };
        json!({ "name": name, "image": image, "livenessProbe": probe(live), "restartPolicy": restart,
            "readinessProbe": probe(ready), "resources": { "limits": limits } })
    })
}

fn any_pod() -> impl Strategy<Value = Value> {
    let list = || prop::collection::vec(any_container(), 0..4);
    (list(), list(), list()).prop_map(|(containers, init, ephemeral)| {
        let mut pod = pod(&containers);
        pod["spec"]["initContainers"] = init.into();
        pod["spec"]["ephemeralContainers"] = ephemeral.into();
        pod
    })
}

/// Everything that the operator could own of a container.
fn all_own() -> Value {
    let probe = json!({ "f:tcpSocket": { "f:port": {} } });
    json!({ "f:livenessProbe": probe, "f:readinessProbe": probe,
        "f:resources": { "f:limits": { "f:cpu": {}, "f:memory": {} },
            "f:requests": { "f:cpu": {}, "f:memory": {} } } })
}

/// An entry of `managedFields` for these containers.
fn own_entry(containers: Vec<(String, Value)>) -> Value {
    let key = |name: String| format!("k:{}", json!({ "name": name }));
    let keyed: Value = containers.into_iter().map(|(name, fields)| (key(name), fields)).collect();
    json!({ "manager": "policy-operator", "operation": "Apply",
        "fieldsV1": { "f:spec": { "f:template": { "f:spec": { "f:containers": keyed } } } } })
}

/// An entry of any form for any containers.
fn any_own() -> impl Strategy<Value = Value> {
    let fields = prop_oneof![Just(all_own()), json_value()];
    let containers = prop::collection::vec((".{0,9}", fields), 0..4).prop_map(own_entry);
    prop_oneof![3 => containers, 1 => json_value()]
}

/// Everything that can be found is denied.
fn merciless() -> NamedPolicy {
    policy(
        "merciless",
        json!({ "forbidLatestTag": true, "requireLivenessProbe": true,
        "requireReadinessProbe": true, "requireResources": true,
        "admission": { "denySeverity": "low", "controllerPods": "deny" } }),
    )
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = Review::decode(&bytes);
    }

    #[test]
    fn no_metadata_lets_in_what_is_denied(found in metadata(), is_update: bool) {
        let bare = [json!({ "name": "web", "image": "nginx" })];
        let owned = [pod(&bare), workload("apps/v1", "ReplicaSet", &bare)];
        for object in owned {
            let review = |object: &Value| if is_update {
                update(&pod(&[]), object)
            } else {
                create(object)
            };
            let mut review_of_old = review(&object);
            review_of_old["request"]["oldObject"]["kind"] = object["kind"].clone();
            review_of_old["request"]["oldObject"]["apiVersion"] = object["apiVersion"].clone();
            let before = verdict(&review_of_old, &[strict()]);
            prop_assert!(!before.is_allowed());
            review_of_old["request"]["object"]["metadata"] = found.clone();
            prop_assert_eq!(verdict(&review_of_old, &[strict()]), before);
        }
    }

    #[test]
    fn an_update_to_itself_brings_nothing_in(pod in any_pod(), user in prop::sample::select(vec![ANN, REPLICA_SETS])) {
        let itself = verdict(&by(user, update(&pod, &pod)), &[merciless(), strict()]);
        prop_assert!(itself.is_allowed());
        prop_assert_eq!(itself.counts().map(|(.., count)| count).sum::<usize>(), 0);
    }

    /// What is the platform's can only make an update be judged less hard, and of what a deployment
    /// has the platform's part is never missed.
    #[test]
    fn taking_back_brings_nothing_in(
        old in any_pod(), new in any_pod(), own in prop::collection::vec(any_own(), 0..4),
    ) {
        let deployment = |pod: &Value, entries: &[Value]| {
            let containers = pod["spec"]["containers"].as_array().unwrap();
            let mut deployment = workload("apps/v1", "Deployment", containers);
            deployment["metadata"]["managedFields"] = entries.into();
            deployment
        };
        let judged = |entries: &[Value]| {
            verdict(&update(&deployment(&old, entries), &deployment(&new, entries)), &[merciless()])
        };
        let (with, without) = (judged(&own), judged(&[]));
        prop_assert!(without.is_allowed() <= with.is_allowed());
        let all: Vec<_> = old["spec"]["containers"].as_array().unwrap().iter()
            .filter_map(|container| Some((container["name"].as_str()?.to_owned(), all_own())))
            .collect();
        let mut bare = old.clone();
        for container in bare["spec"]["containers"].as_array_mut().unwrap() {
            for field in ["livenessProbe", "readinessProbe", "resources"] {
                container.as_object_mut().unwrap().remove(field);
            }
        }
        let owned = [own_entry(all)];
        let review = update(&deployment(&old, &owned), &deployment(&bare, &owned));
        prop_assert_eq!(verdict(&review, &[merciless()]).counts().count(), 0);
    }

    /// With white space it is read by other code than without.
    #[test]
    fn white_space_changes_nothing(
        old in any_pod(), new in any_pod(), metadata in metadata(),
        own in prop::collection::vec(any_own(), 0..3), is_workload: bool,
    ) {
        let deployment = |pod: &Value| {
            workload("apps/v1", "Deployment", pod["spec"]["containers"].as_array().unwrap())
        };
        let mut review = if is_workload {
            update(&deployment(&old), &deployment(&new))
        } else {
            update(&old, &new)
        };
        review["request"]["oldObject"]["metadata"]["managedFields"] = own.into();
        review["request"]["object"]["metadata"] = metadata;
        let read = |text: String| format!("{:?}", Review::decode(text.as_bytes()));
        prop_assert_eq!(read(review.to_string()), read(format!("{review:#}")));
    }

    /// What an update brings in is what the new object has and the old one did not.
    #[test]
    fn an_update_is_never_judged_harder_than_a_new_object(old in any_pod(), new in any_pod()) {
        let changed = verdict(&update(&old, &new), &[merciless()]);
        let made = verdict(&create(&new), &[merciless()]);
        prop_assert!(changed.counts().map(|(.., count)| count).sum::<usize>() <= made.counts().map(|(.., count)| count).sum::<usize>());
        prop_assert!(made.is_allowed() <= changed.is_allowed());
    }

    #[test]
    fn answers_stay_within_their_limits(
        name in ".{0,300}", namespace in ".{0,300}", container in ".{0,300}", image in ".{0,300}",
        number in 1..150_usize, why in ".{0,300}",
    ) {
        let rules = strict().rules;
        let bad = NamedPolicy { name: format!("{name}2").into(), rules: Err(why) };
        let policies = [NamedPolicy { name: name.into(), rules }, bad];
        let bare = json!({ "name": container, "image": format!("{image}:latest") });
        let mut review = create(&pod(&vec![bare; number]));
        review["request"]["namespace"] = namespace.into();
        let found = verdict(&review, &policies);
        let message = found.message().unwrap();
        prop_assert!(message.len() <= 2048 && message.lines().count() <= 11);
        let warnings = found.warnings();
        prop_assert!(warnings.iter().all(|line| line.chars().count() <= 120 && line.len() <= 256));
        prop_assert!(warnings.iter().map(String::len).sum::<usize>() <= 4096);
        prop_assert!(found.annotations().values().all(|value| value.len() <= 1024));
        let lines = message.lines().map(str::to_owned).chain(warnings).collect::<Vec<_>>();
        prop_assert!(lines.iter().all(|line| !line.contains(char::is_control)));
        let counted = |lines: &[&String]| lines.iter().map(|line| {
            let rest = line.strip_prefix("and ").and_then(|l| l.strip_suffix(" more"));
            rest.map_or(1, |rest| rest.parse::<usize>().unwrap())
        }).sum::<usize>();
        prop_assert_eq!(counted(&lines.iter().collect::<Vec<_>>()), 2 * number + 1);
    }
}

/// Reviews for the mutations to begin with.
fn seeds() -> Vec<Vec<u8>> {
    let bad = [json!({ "name": "web", "image": "nginx", "livenessProbe": { "exec": {} } })];
    let mut debugged = pod(&bad);
    debugged["spec"]["ephemeralContainers"] = json!([{ "name": "debug", "image": "busybox" }]);
    let mut debug = update(&pod(&bad), &debugged);
    debug["request"]["subResource"] = json!("ephemeralcontainers");
    let mut owned = pod(&bad);
    owned["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "web", "uid": "1",
            "controller": true }]);
    let mut patched = workload("apps/v1", "Deployment", &[container("web", "nginx")]);
    patched["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["tcpSocket"] =
        json!({ "port": 80 });
    patched["metadata"]["managedFields"] = json!([own_entry(vec![("web".into(), all_own())])]);
    let reviews = [
        create(&pod(&bad)),
        by(REPLICA_SETS, create(&pod(&bad))),
        update(&pod(&[container("web", "nginx")]), &pod(&bad)),
        create(&workload("batch/v1", "CronJob", &bad)),
        debug,
        create(&owned),
        update(&patched, &patched),
    ];
    reviews.iter().map(|review| review.to_string().into_bytes()).collect()
}

/// A change to a text at some place.
#[derive(Clone, Debug)]
enum Change {
    Replace(u8),
    Insert(&'static str),
    Remove(usize),
    Repeat(usize),
}

fn change() -> impl Strategy<Value = (prop::sample::Index, Change)> {
    let parts = vec![
        "null",
        "{}",
        "[]",
        "\"\"",
        "0",
        "-1",
        "1e999",
        "\\ud800",
        "\\u0000",
        "\u{1b}",
        "\u{202e}",
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        ":",
        "\n",
        "\"UPDATE\"",
        "\"containers\":",
        "\"spec\":{",
    ];
    let change = prop_oneof![
        any::<u8>().prop_map(Change::Replace),
        prop::sample::select(parts).prop_map(Change::Insert),
        (1..40_usize).prop_map(Change::Remove),
        (1..200_usize).prop_map(Change::Repeat),
    ];
    (any::<prop::sample::Index>(), change)
}

fn changed(mut text: Vec<u8>, changes: Vec<(prop::sample::Index, Change)>) -> Vec<u8> {
    for (place, change) in changes {
        if text.is_empty() {
            break;
        }
        let at = place.index(text.len());
        let end = |length: usize| (at + length).min(text.len());
        match change {
            Change::Replace(byte) => text[at] = byte,
            Change::Insert(part) => drop(text.splice(at..at, part.bytes())),
            Change::Remove(length) => drop(text.drain(at..end(length))),
            Change::Repeat(length) => {
                let again = text[at..end(length)].to_vec();
                text.splice(at..at, again);
            }
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// The fuzz target on mutated reviews: most are still JSON, and are judged.
    #[test]
    fn mutated_reviews_are_answered(
        seed in prop::sample::select(seeds()), changes in prop::collection::vec(change(), 0..4),
    ) {
        fuzz(&changed(seed, changes));
    }
}
