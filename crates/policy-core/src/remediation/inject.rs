//! Injection into a pod at admission.

use serde_json::{Map, Value, json};

use super::facts::quantity;
use super::fields::{ContainerFields, Fields};
use super::fill::tcp_ports;
use super::owned::LISTS;
use super::target::is_set_for_pod;
use crate::api::{INJECTED_BY, INJECTED_FIELDS};
use crate::quantity::ParsedQuantity;
use crate::view::has_handler;

/// The operations of a JSON patch that fill in what a pod still lacks of the fields, for the policy
/// `namespace/name`; empty where it lacks nothing. Applied again to its own result, it is empty.
///
/// A value that does not fit the pod is left out: a probe of a port that the container does not
/// declare while it declares others, a request above a limit, and a request or limit that the pod has
/// for all of its containers.
#[must_use]
pub fn inject(pod: &Value, fields: &Fields, policy: &str) -> Vec<Value> {
    let (mut patch, mut injected) = (Vec::new(), Fields::default());
    for list in LISTS {
        let containers = pod["spec"][list].as_array().map(Vec::as_slice).unwrap_or_default();
        for (index, container) in containers.iter().enumerate() {
            let is_sidecar = container["restartPolicy"] == "Always";
            let name = container["name"].as_str().unwrap_or_default();
            let Some(fields) = fields.of(name).filter(|_| list == LISTS[0] || is_sidecar) else {
                continue;
            };
            let missing = missing(container, &pod["spec"]["resources"], fields);
            if !missing.is_empty() {
                patch.extend(operations(&format!("/spec/{list}/{index}"), container, &missing));
                injected.0.push(missing);
            }
        }
    }
    if !injected.is_empty() {
        patch.extend(annotations(pod, policy, &injected));
    }
    patch
}

/// What a container lacks of the fields.
fn missing(container: &Value, pod_resources: &Value, fields: &ContainerFields) -> ContainerFields {
    let mut missing = ContainerFields { name: fields.name.clone(), ..ContainerFields::default() };
    let ports = tcp_ports(container);
    let fits = |port: u16| ports.is_empty() || ports.contains(&port);
    let lacks = |name: &str| !has_handler(&container[name]);
    missing.readiness =
        fields.readiness.filter(|probe| lacks("readinessProbe") && fits(probe.port));
    missing.liveness = fields.liveness.filter(|probe| lacks("livenessProbe") && fits(probe.port));
    let live = |list: &str, name: &str| &container["resources"][list][name];
    for resource in ["cpu", "memory"] {
        if is_set_for_pod(pod_resources, resource) {
            continue;
        }
        let filled =
            |list: &str| fields.amount(list, resource).filter(|_| live(list, resource).is_null());
        let (mut request, mut limit) = (filled("requests"), filled("limits"));
        // As the API server does: a limit sets the request that is absent.
        if !live("limits", resource).is_null() {
            request = None;
        }
        let parsed = |filled: Option<&str>, list: &str| {
            filled.map_or_else(|| quantity(live(list, resource)), ParsedQuantity::parse)
        };
        if parsed(request, "requests") > parsed(limit, "limits") && limit.is_some() {
            limit = None;
        }
        if let Some(to) = missing.requests.of(resource) {
            *to = request.map(str::to_owned);
        }
        if let Some(to) = missing.limits.of(resource) {
            *to = limit.map(str::to_owned);
        }
    }
    missing
}

fn operations(at: &str, container: &Value, missing: &ContainerFields) -> Vec<Value> {
    let add = |path: String, value: Value| json!({ "op": "add", "path": path, "value": value });
    let mut patch: Vec<Value> =
        missing.probes().map(|(name, probe)| add(format!("{at}/{name}"), probe.json())).collect();
    let mut resources = container["resources"].clone();
    let amounts: Vec<_> = missing.amounts().collect();
    if !amounts.is_empty() {
        for (list, name, amount) in amounts {
            resources[list][name] = amount.into();
        }
        patch.push(add(format!("{at}/resources"), resources));
    }
    patch
}

/// The annotations that say what was injected. A JSON patch cannot add below what is missing.
fn annotations(pod: &Value, policy: &str, injected: &Fields) -> Vec<Value> {
    let add = |path: String, value: Value| json!({ "op": "add", "path": path, "value": value });
    let values = [(INJECTED_BY, policy.to_owned()), (INJECTED_FIELDS, injected.lines().join("\n"))];
    if pod["metadata"]["annotations"].is_object() {
        let path = |name: &str| format!("/metadata/annotations/{}", name.replace('/', "~1"));
        values.map(|(name, value)| add(path(name), value.into())).into()
    } else {
        let all = values.map(|(name, value)| (name.to_owned(), Value::from(value)));
        vec![add("/metadata/annotations".to_owned(), Value::Object(Map::from_iter(all)))]
    }
}
