//! Giving way to the owner of a patched workload.

use proptest::prelude::*;

use super::*;

/// The workload after the operator has filled in what these policies ask for.
fn patched(workload: &Value, policies: &[&str]) -> Value {
    let Plan::Patch { fields, .. } = plan_with_peaks(workload, policies) else { panic!() };
    applied(workload, &apply_body(&read(workload), &fields, "shop/a"))
}

fn plan_with_peaks(workload: &Value, policies: &[&str]) -> Plan {
    plan_in(&installed(), workload, policies, Some(&peaks("1Mi")))
}

/// The object after the operations, all of which remove something that is there.
fn after(object: &Value, patch: &[Value]) -> Value {
    let mut object = object.clone();
    for operation in patch {
        assert_eq!(operation["op"], "remove");
        let (parent, name) = operation["path"].as_str().unwrap().rsplit_once('/').unwrap();
        let parent = object.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        assert!(parent.remove(name).is_some(), "{operation}");
    }
    object
}

fn filled_in() -> Value {
    patched(&deployment(json!([web()])), &[PROBES, RESOURCES])
}

/// The first container.
fn first(object: &mut Value) -> &mut Value {
    object.pointer_mut("/spec/template/spec/containers/0").unwrap()
}

/// What is left of the first container after giving way to a change of it.
fn given_way(old: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut new = old.clone();
    change(&mut new);
    let patch = give_way(old, &new);
    let mut after = after(&new, &patch);
    assert!(give_way(old, &after).is_empty(), "again: {patch:?}");
    first(&mut after).clone()
}

#[test]
fn another_handler_takes_the_place_of_ours() {
    let old = filled_in();
    let web = given_way(&old, |new| {
        first(new)["readinessProbe"]["httpGet"] = json!({ "port": 8080, "path": "/" });
        first(new)["readinessProbe"]["timeoutSeconds"] = json!(7);
    });
    // What is left are the owner's values and the API server's defaults, which it sets again.
    let mut expected = json!({ "httpGet": { "port": 8080, "path": "/" }, "timeoutSeconds": 7 });
    expected["successThreshold"] = json!(1);
    assert_eq!(web["readinessProbe"], expected);
    assert_eq!(web["livenessProbe"]["tcpSocket"]["port"], 8080, "it is valid");
}

#[test]
fn values_that_the_owner_has_himself_stay() {
    let old = filled_in();
    let http = json!({ "port": 8080 });
    let changed = given_way(&old, |new| {
        first(new)["readinessProbe"]["httpGet"] = http.clone();
        first(new)["readinessProbe"]["periodSeconds"] = json!(3);
    });
    assert_eq!(changed["readinessProbe"]["periodSeconds"], 3);
    // The same value as ours, by the owner's manifest.
    let applied = json!({ "spec": { "template": { "spec": { "containers": [
        { "name": "web", "readinessProbe": { "httpGet": http, "periodSeconds": 10 } } ] } } } });
    let by_apply = given_way(&old, |new| {
        first(new)["readinessProbe"]["httpGet"] = http.clone();
        let name = "kubectl.kubernetes.io/last-applied-configuration";
        new["metadata"]["annotations"][name] = applied.to_string().into();
    });
    assert_eq!(by_apply["readinessProbe"]["periodSeconds"], 10);
    assert!(by_apply["readinessProbe"]["failureThreshold"].is_null());
    // The same by another manager that applies on the server.
    let by_server = given_way(&old, |new| {
        first(new)["readinessProbe"]["httpGet"] = http.clone();
        let fields = json!({ "f:spec": { "f:template": { "f:spec": { "f:containers": {
            "k:{\"name\":\"web\"}": { "f:readinessProbe": { "f:periodSeconds": {} } } } } } } });
        new["metadata"]["managedFields"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "manager": "helm", "operation": "Apply", "fieldsV1": fields }));
    });
    assert_eq!(by_server["readinessProbe"]["periodSeconds"], 10);
    assert!(by_server["readinessProbe"]["tcpSocket"].is_null());
}

#[test]
fn a_request_above_our_limit_and_a_limit_below_our_request_stay() {
    let old = filled_in();
    let web = given_way(&old, |new| {
        first(new)["resources"]["requests"]["memory"] = json!("1Gi");
    });
    let expected = json!({ "requests": { "cpu": "100m", "memory": "1Gi" }, "limits": {} });
    assert_eq!(web["resources"], expected);
    let web = given_way(&old, |new| {
        first(new)["resources"]["limits"]["cpu"] = json!("50m");
    });
    assert_eq!(web["resources"]["limits"]["cpu"], "50m");
    assert!(web["resources"]["requests"]["cpu"].is_null());
    let web = given_way(&old, |new| {
        first(new)["resources"]["limits"]["cpu"] = json!("0.1");
    });
    assert_eq!(web["resources"]["requests"]["cpu"], "100m", "it is no conflict");
}

#[test]
fn init_containers_give_way_as_well() {
    let mut workload = deployment(json!([web()]));
    let proxy = container(
        "proxy",
        &json!({ "restartPolicy": "Always",
        "ports": [{ "containerPort": 9000 }] }),
    );
    workload["spec"]["template"]["spec"]["initContainers"] = json!([proxy]);
    let old = patched(&workload, &[PROBES]);
    let mut new = old.clone();
    let probe = "/spec/template/spec/initContainers/0/livenessProbe";
    new.pointer_mut(probe).unwrap()["exec"] = json!({ "command": ["true"] });
    let after = after(&new, &give_way(&old, &new));
    assert!(after.pointer(probe).unwrap()["tcpSocket"].is_null());
    assert!(after.pointer(probe).unwrap()["exec"].is_object());
}

#[test]
fn what_is_not_ours_stays_and_is_refused() {
    // The user's own probe.
    let mut own = deployment(json!([web()]));
    first(&mut own)["readinessProbe"] = json!({ "tcpSocket": { "port": 1 } });
    first(&mut own)["resources"]["limits"]["memory"] = json!("1Mi");
    let old = patched(&own, &[PROBES, RESOURCES]);
    let mut new = old.clone();
    first(&mut new)["readinessProbe"]["httpGet"] = json!({ "port": 1 });
    first(&mut new)["resources"]["requests"]["memory"] = json!("2Mi");
    assert_eq!(give_way(&old, &new), Vec::<Value>::new());
    // Without any mark of the operator nothing is looked at.
    let mut unmarked = filled_in();
    unmarked["metadata"]["managedFields"] = json!([]);
    unmarked["metadata"]["annotations"] = json!({});
    let mut new = unmarked.clone();
    first(&mut new)["readinessProbe"]["httpGet"] = json!({ "port": 1 });
    assert!(give_way(&unmarked, &new).is_empty());
}

#[test]
fn where_managed_fields_were_cleared_the_annotation_counts() {
    let mut old = filled_in();
    old["metadata"]["managedFields"] = json!([]);
    let web = given_way(&old, |new| {
        first(new)["readinessProbe"]["httpGet"] = json!({ "port": 8080 });
        first(new)["resources"]["requests"]["memory"] = json!("1Gi");
    });
    assert!(web["readinessProbe"]["tcpSocket"].is_null());
    assert_eq!(web["resources"]["limits"]["memory"], "256Mi", "whose it is cannot be known");
}

proptest! {
    /// Whatever an owner changes of a container, giving way is idempotent, removes only values of
    /// ours, and leaves no probe with two handlers where ours is one of them.
    #[test]
    fn an_owner_gets_what_he_asks_for(
        handlers in prop::collection::vec(
            prop::sample::select(vec!["httpGet", "exec", "grpc"]), 0..2),
        probe in prop::sample::select(vec!["livenessProbe", "readinessProbe"]),
        period in prop::option::of(1..20_u32),
        amounts in prop::collection::vec((
            prop::sample::select(vec!["requests", "limits"]),
            prop::sample::select(vec!["cpu", "memory"]),
            prop::sample::select(vec!["1m", "100m", "2", "128Mi", "1Gi"])), 0..4),
    ) {
        let old = filled_in();
        let mut new = old.clone();
        for handler in &handlers {
            first(&mut new)[probe][handler] = json!({ "port": 1 });
        }
        if let Some(period) = period {
            first(&mut new)[probe]["periodSeconds"] = json!(period);
        }
        for (list, resource, amount) in &amounts {
            first(&mut new)["resources"][list][resource] = json!(amount);
        }
        let patch = give_way(&old, &new);
        let mut left = after(&new, &patch);
        prop_assert!(give_way(&old, &left).is_empty());
        for operation in &patch {
            let path = operation["path"].as_str().unwrap();
            prop_assert_eq!(old.pointer(path), new.pointer(path), "{}", path);
        }
        let web = first(&mut left);
        let is_two = web[probe]["tcpSocket"].is_object() && !handlers.is_empty();
        prop_assert!(!is_two, "{}", web);
        for resource in ["cpu", "memory"] {
            let set = |list: &str| {
                amounts.iter().any(|(l, r, _)| (*l, *r) == (list, resource))
            };
            let amount = |list: &str| {
                web["resources"][list][resource].as_str()
                    .and_then(crate::quantity::ParsedQuantity::parse)
            };
            let (request, limit) = (amount("requests"), amount("limits"));
            let is_valid = limit.is_none() || request <= limit;
            // Where the owner sets both, it is his own mistake.
            prop_assert!(is_valid || (set("requests") && set("limits")), "{}", web);
        }
    }
}
