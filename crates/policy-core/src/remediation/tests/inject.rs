//! Injection into pods.

use proptest::prelude::*;

use super::*;

/// Carries out the `add` operations of a JSON patch.
fn patched(pod: &Value, patch: &[Value]) -> Value {
    let mut pod = pod.clone();
    for operation in patch {
        assert_eq!(operation["op"], "add");
        let (parent, name) = operation["path"].as_str().unwrap().rsplit_once('/').unwrap();
        let parent = pod.pointer_mut(parent).unwrap_or_else(|| panic!("{operation}"));
        parent[name.replace("~1", "/")] = operation["value"].clone();
    }
    pod
}

fn fields() -> Fields {
    Fields::parse([
        "web: readinessProbe=tcp:8080,delay=5,period=10,failures=3 requests.cpu=100m \
         limits.memory=256Mi",
        "proxy: requests.memory=1Mi",
    ])
}

fn pod(containers: &Value) -> Value {
    json!({ "metadata": { "name": "web-1" }, "spec": { "containers": containers } })
}

#[test]
fn a_pod_gets_what_it_lacks_once_and_says_so() {
    let mut pod = pod(&json!([web()]));
    pod["spec"]["initContainers"] = json!([
        { "name": "proxy", "restartPolicy": "Always" }, { "name": "setup" },
    ]);
    let after = patched(&pod, &inject(&pod, &fields(), "shop/a"));
    let web = &after["spec"]["containers"][0];
    assert_eq!(web["readinessProbe"]["tcpSocket"], json!({ "port": 8080 }));
    assert_eq!(
        web["resources"],
        json!({ "requests": { "cpu": "100m" }, "limits": { "memory": "256Mi" } })
    );
    assert_eq!(after["spec"]["initContainers"][0]["resources"]["requests"]["memory"], "1Mi");
    let annotations = &after["metadata"]["annotations"];
    assert_eq!(annotations["devops.stochastic.io/injected-by"], "shop/a");
    let said = annotations["devops.stochastic.io/injected-fields"].as_str().unwrap();
    assert_eq!(Fields::parse(said.lines()), fields());
    assert!(inject(&after, &fields(), "shop/a").is_empty(), "again");
}

#[test]
fn what_the_pod_has_or_does_not_fit_stays() {
    let mut web = web();
    web["ports"] = json!([{ "containerPort": 9000 }]);
    web["resources"] = json!({ "requests": { "memory": "1Gi" }, "limits": { "cpu": "50m" } });
    let found = pod(&json!([web]));
    assert!(inject(&found, &fields(), "shop/a").is_empty());
    let mut annotated = pod(&json!([super::web()]));
    annotated["metadata"]["annotations"] = json!({ "a": "b" });
    let after = patched(&annotated, &inject(&annotated, &fields(), "shop/a"));
    assert_eq!(after["metadata"]["annotations"]["a"], "b");
    for odd in [json!({}), json!([]), json!({ "spec": { "containers": [7, { "name": 7 }] } })] {
        assert!(inject(&odd, &fields(), "shop/a").is_empty());
    }
}

proptest! {
    #[test]
    fn a_result_is_never_invalid_and_never_changed_again(
        request in prop::option::of(1_u32..1_000), limit in prop::option::of(1_u32..1_000),
        ours in (prop::option::of(1_u32..1_000), prop::option::of(1_u32..1_000)),
    ) {
        let mut web = web();
        for (list, amount) in [("requests", request), ("limits", limit)] {
            if let Some(amount) = amount {
                web["resources"][list]["memory"] = format!("{amount}Mi").into();
            }
        }
        let (our_request, our_limit) = ours;
        // A plan never has a request above its own limit.
        prop_assume!(our_request.is_none() || our_limit.is_none() || our_request <= our_limit);
        let amounts = |amount: Option<u32>| Amounts {
            memory: amount.map(|amount| format!("{amount}Mi")),
            ..Amounts::default()
        };
        let fields = Fields(vec![ContainerFields {
            name: "web".to_owned(),
            requests: amounts(our_request),
            limits: amounts(our_limit),
            ..ContainerFields::default()
        }]);
        // The API server refuses a pod that has such a request itself.
        prop_assume!(request.is_none() || limit.is_none() || request <= limit);
        let pod = pod(&json!([web]));
        let after = patched(&pod, &inject(&pod, &fields, "shop/a"));
        let resources = &after["spec"]["containers"][0]["resources"];
        let value = |list: &str| super::super::facts::quantity(&resources[list]["memory"]);
        if let (Some(request), Some(limit)) = (value("requests"), value("limits")) {
            prop_assert!(request <= limit, "{resources}");
        }
        prop_assert!(inject(&after, &fields, "shop/a").is_empty());
        for (list, amount) in [("requests", request), ("limits", limit)] {
            if let Some(amount) = amount {
                prop_assert_eq!(&resources[list]["memory"], &json!(format!("{amount}Mi")));
            }
        }
    }
}
