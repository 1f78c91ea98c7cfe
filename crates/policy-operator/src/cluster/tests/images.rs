use super::*;

#[tokio::test]
async fn workloads_that_run_different_images_are_noted_by_namespace() {
    let mut world = World::new();
    world.set_tier("bank", false);
    world.set_tier("shop", false);
    let pod = |namespace: &str, workload: &str, number: u8, digit: &str| {
        let pod = json!({
            "metadata": { "namespace": namespace, "name": format!("{workload}-{number}"),
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "StatefulSet",
                    "name": workload, "controller": true }] },
            "spec": { "containers": [{ "name": "c", "image": "nginx:1" }] },
            "status": { "phase": "Running", "containerStatuses": [{ "name": "c",
                "imageID": format!("nginx@sha256:{}", digit.repeat(64)) }] },
        });
        serde_json::from_value(pod).unwrap()
    };
    for number in 0..2 {
        world.pod_sink.applied(pod("shop", "db", number, "a"));
    }
    assert_eq!(world.judge().await.unwrap().0.notes, [""; 0]);
    world.pod_sink.applied(pod("shop", "db", 1, "b"));
    let notes = world.judge().await.unwrap().0.notes;
    assert_eq!(notes.len(), 1);
    assert!(notes[0].starts_with("shop/StatefulSet/db: container c: "), "{notes:?}");
    // More than are listed, in a namespace that comes first.
    for workload in 0..20 {
        for (number, digit) in [(0, "a"), (1, "b")] {
            world.pod_sink.applied(pod("bank", &format!("db-{workload:02}"), number, digit));
        }
    }
    let notes = world.judge().await.unwrap().0.notes;
    assert!(notes[0].starts_with("bank/StatefulSet/db-00: "), "{notes:?}");
    assert_eq!((notes.len(), &*notes[19]), (20, "and 2 more notes"));
    for number in 0..2 {
        world.pod_sink.deleted("shop", &format!("db-{number}"));
    }
    let notes = world.judge().await.unwrap().0.notes;
    assert!(notes[19].starts_with("bank/StatefulSet/db-19: "), "{notes:?}");
}
