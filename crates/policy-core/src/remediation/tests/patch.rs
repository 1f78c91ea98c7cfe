//! The bodies of an apply and of what takes it back.

use super::*;

/// The body of the apply that a plan leads to.
fn body(workload: &Value, policies: &[&str]) -> Value {
    let plan = plan_of(workload, policies);
    let Plan::Patch { fields, .. } = plan else { panic!("{plan:?}") };
    apply_body(&read(workload), &fields, "shop/a")
}

#[test]
fn the_body_has_only_what_is_missing() {
    assert_eq!(
        body(&deployment(json!([web()])), &[RESOURCES]),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "u-1", "resourceVersion": "7",
                "annotations": { "devops.stochastic.io/patched-by": "shop/a" },
            },
            "spec": { "template": { "spec": { "containers": [{
                "name": "web", "resources": { "requests": { "cpu": "100m", "memory": "128Mi" } },
            }] } } },
        })
    );
}

#[test]
fn all_containers_of_a_list_are_named_in_their_order() {
    let mut complete = web();
    complete["name"] = "a".into();
    complete["readinessProbe"] = json!({ "exec": {} });
    complete["livenessProbe"] = json!({ "exec": {} });
    let body = body(&deployment(json!([complete, web()])), &[PROBES]);
    let spec = &body["spec"]["template"]["spec"];
    assert_eq!(spec["containers"][0], json!({ "name": "a" }));
    assert_eq!(spec["containers"][1]["name"], "web");
    assert!(spec.get("initContainers").is_none());
}

#[test]
fn a_second_apply_keeps_what_the_first_one_set() {
    let workload = deployment(json!([web()]));
    let after = applied(&workload, &body(&workload, &[RESOURCES]));
    let target = read(&after);
    assert_eq!(target.ours.lines(), ["web: requests.cpu=100m requests.memory=128Mi"]);
    assert_eq!(target.patched_by.as_deref(), Some("shop/a"));
    let second = body(&after, &[RESOURCES, PROBES]);
    let container = &second["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["resources"]["requests"]["cpu"], "100m");
    assert_eq!(container["readinessProbe"]["tcpSocket"]["port"], 8080);
}

#[test]
fn our_fields_do_not_count_for_the_template() {
    let workload = deployment(json!([web()]));
    let before = read(&workload).template;
    let after = applied(&workload, &body(&workload, &[PROBES, RESOURCES]));
    assert_eq!(read(&after).template, before);
    let mut changed = after.clone();
    changed["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{ "name": "A" }]);
    assert_ne!(read(&changed).template, before);
    // Whoever takes over a field changes the template.
    let mut taken = after;
    taken["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "1".into();
    let entry = taken["metadata"]["managedFields"].as_array_mut().unwrap().pop().unwrap();
    taken["metadata"]["managedFields"] = json!([entry]);
    let path = r#"/metadata/managedFields/0/fieldsV1/f:spec/f:template/f:spec/f:containers/k:{"name":"web"}/f:resources/f:requests"#;
    taken.pointer_mut(path).unwrap().as_object_mut().unwrap().remove("f:cpu");
    assert_ne!(read(&taken).template, before);
    assert_eq!(plan_of(&taken, &[PROBES, RESOURCES]), plan_of(&taken, &[PROBES, RESOURCES]));
}

#[test]
fn a_release_applies_the_bare_object() {
    let workload = deployment(json!([web()]));
    assert_eq!(release(&read(&workload), &workload), None, "nothing is ours");
    let after = applied(&workload, &body(&workload, &[PROBES]));
    let bare = json!({ "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web", "namespace": "shop", "uid": "u-1" } });
    assert_eq!(release(&read(&after), &after), Some(Release::Apply(bare)));
}

/// The owner writes the same value into his manifest, and `kubectl apply` sends nothing.
#[test]
fn what_the_owner_applied_as_well_stays_his() {
    let workload = deployment(json!([web()]));
    let mut after = applied(&workload, &body(&workload, &[PROBES, RESOURCES]));
    let with_last_applied = |after: &mut Value, container: Value| {
        let manifest = json!({ "spec": { "template": { "spec": { "containers": [container] } } } });
        after["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
            manifest.to_string().into();
    };
    with_last_applied(
        &mut after,
        json!({ "name": "web", "resources": { "requests": { "cpu": "100m" } } }),
    );
    let removed = |workload: &Value| {
        let Some(Release::Patch(patch)) = release(&read(workload), workload) else { panic!() };
        let all = patch.as_array().unwrap().clone();
        let removed = all.iter().filter(|operation| operation["op"] == "remove");
        removed
            .map(|operation| {
                operation["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
            })
            .collect::<Vec<_>>()
    };
    let annotation = "devops.stochastic.io~1patched-by";
    assert_eq!(
        removed(&after),
        ["readinessProbe", "livenessProbe", "memory", "1", annotation],
        "all but the cpu request; our entry is the second one"
    );
    let all = after["spec"]["template"]["spec"]["containers"][0].clone();
    with_last_applied(&mut after, all);
    assert_eq!(removed(&after), ["1", annotation], "everything stays");
    with_last_applied(
        &mut after,
        json!({ "name": "web", "readinessProbe": {}, "livenessProbe": { "periodSeconds": 5 },
            "resources": { "requests": { "cpu": "100m", "memory": "128Mi" } } }),
    );
    assert_eq!(
        removed(&after),
        ["readinessProbe", "livenessProbe", "1", annotation],
        "a probe without a handler is none"
    );
}

#[test]
fn without_managed_fields_what_has_our_values_is_removed() {
    let workload = deployment(json!([web()]));
    let mut after = applied(&workload, &body(&workload, &[PROBES, RESOURCES]));
    let ours = read(&after).ours;
    after["metadata"]["managedFields"] = json!([]);
    after["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "1".into();
    assert_eq!(release(&read(&after), &after), None);
    let patch = removal(&after, &ours).unwrap();
    let removed: Vec<_> = patch
        .as_array()
        .unwrap()
        .iter()
        .filter(|operation| operation["op"] == "remove")
        .map(|operation| operation["path"].as_str().unwrap().rsplit('/').next().unwrap())
        .collect();
    assert_eq!(
        removed,
        ["readinessProbe", "livenessProbe", "memory", "devops.stochastic.io~1patched-by"]
    );
    assert_eq!(removal(&workload, &ours), None);
}

#[test]
fn cleared_managed_fields_are_told_from_an_owner_who_took_over() {
    let workload = deployment(json!([web()]));
    let plan = plan_of(&workload, &[PROBES]);
    let Plan::Patch { fields, .. } = plan else { panic!("{plan:?}") };
    let mut after = applied(&workload, &apply_body(&read(&workload), &fields, "shop/a"));
    assert!(!is_disowned(&after, &fields), "they are ours");
    after["metadata"]["managedFields"] = json!([]);
    assert!(is_disowned(&after, &fields));
    let theirs = json!({ "f:spec": { "f:template": { "f:spec": { "f:containers": {
        "k:{\"name\":\"web\"}": { "f:readinessProbe": { "f:periodSeconds": {} } } } } } } });
    let mut taken = after.clone();
    taken["metadata"]["managedFields"] =
        json!([{ "manager": "helm", "operation": "Apply", "fieldsV1": theirs }]);
    assert!(!is_disowned(&taken, &fields));
    let mut changed = after.clone();
    changed["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["periodSeconds"] =
        99.into();
    assert!(!is_disowned(&changed, &fields), "its owner has another value");
    after["metadata"]["annotations"] = json!({});
    assert!(!is_disowned(&after, &fields), "nothing tells that it was patched");
}

/// What an API server has once `helm` has applied these containers on the server.
fn taken_over(workload: &Value, containers: &Value) -> Value {
    let mut after = workload.clone();
    let template = json!({ "f:spec": { "f:containers": containers } });
    after["metadata"]["managedFields"].as_array_mut().unwrap().push(json!({
        "manager": "helm", "operation": "Apply",
        "fieldsV1": { "f:spec": { "f:template": template } },
    }));
    after
}

#[test]
fn who_applies_a_patched_workload_on_the_server_is_planned_for_as_if_the_patch_were_gone() {
    let workload = deployment(json!([web()]));
    let policies = [PROBES, RESOURCES];
    let patched = applied(&workload, &body(&workload, &policies));
    assert!(!read(&patched).locks_out());
    let locked = taken_over(&patched, &json!({ "k:{\"name\":\"web\"}": { "f:image": {} } }));
    let target = read(&locked);
    assert!(target.locks_out() && target.ours == read(&patched).ours);
    let released = taken_over(&workload, &json!({ "k:{\"name\":\"web\"}": { "f:image": {} } }));
    assert_eq!(target.template, read(&released).template, "the release does not change it");
    let plan = plan_of(&locked, &policies);
    assert!(matches!(plan, Plan::InjectAtAdmission { .. }), "{plan:?}");
    assert_eq!(plan, plan_of(&released, &policies));
    assert_eq!(lines(&plan), lines(&plan_of(&workload, &policies)));
    let empty = taken_over(&workload, &json!({}));
    assert!(!read(&empty).locks_out(), "nothing of ours is left");
}

#[test]
fn what_the_owner_applies_as_well_is_neither_planned_nor_removed() {
    let workload = deployment(json!([web()]));
    let patched = applied(&workload, &body(&workload, &[PROBES, RESOURCES]));
    // An empty probe has no handler of its own.
    let theirs = json!({ "k:{\"name\":\"web\"}": { "f:livenessProbe": {},
        "f:readinessProbe": { "f:tcpSocket": {} },
        "f:resources": { "f:requests": { "f:cpu": {} } } } });
    let shared = taken_over(&patched, &theirs);
    let all = lines(&plan_of(&shared, &[PROBES, RESOURCES])).join(" ");
    assert!(all.contains("livenessProbe") && all.contains("requests.memory"), "{all}");
    assert!(!all.contains("readinessProbe") && !all.contains("requests.cpu"), "{all}");
    let patch = removal(&shared, &read(&shared).ours).unwrap().to_string();
    assert!(patch.contains("livenessProbe") && patch.contains("requests/memory"), "{patch}");
    assert!(!patch.contains("readinessProbe") && !patch.contains("requests/cpu"), "{patch}");
}
