//! The body of a patch.

use serde_json::{Value, json};

use super::fields::{Fields, merge};
use super::owned::LISTS;
use super::target::Target;
use crate::api::PATCHED_BY;
use crate::facts::ContainerRole;

/// `apiVersion` of the kinds that are patched.
pub(super) const API_VERSION: &str = "apps/v1";

/// The body of a server-side apply that fills in the fields, for the policy `namespace/name`.
///
/// It has what the operator owns already, because an apply gives up what it does not name; the uid,
/// because an apply would otherwise create an object that is gone; the version, so that it is
/// refused where somebody else wrote meanwhile; and all containers of a list in their order, because
/// an apply moves those that it names to the front.
#[must_use]
pub fn apply_body(target: &Target, fields: &Fields, policy: &str) -> Value {
    let mut body = identity(target);
    body["metadata"]["resourceVersion"] = target.resource_version.as_str().into();
    body["metadata"]["annotations"][PATCHED_BY] = policy.into();
    for (list, owned) in LISTS.into_iter().zip(&target.owned) {
        let is_init = list == "initContainers";
        let live =
            target.facts.containers.iter().zip(&target.containers).filter(|(facts, _)| match facts
                .role
            {
                ContainerRole::Regular => !is_init,
                ContainerRole::Sidecar | ContainerRole::Init => is_init,
                ContainerRole::Ephemeral | ContainerRole::ImageVolume => false,
            });
        let containers: Vec<Value> = live
            .map(|(_, container)| {
                let mut part = json!({ "name": &*container.name });
                if let Some(ours) = owned.iter().find(|ours| ours["name"] == *container.name) {
                    merge(&mut part, ours);
                }
                if let Some(fields) = fields.of(&container.name) {
                    merge(&mut part, &fields.json());
                }
                part
            })
            .collect();
        let has_fields = |part: &Value| part.as_object().is_some_and(|fields| fields.len() > 1);
        if containers.iter().any(has_fields) {
            body["spec"]["template"]["spec"][list] = containers.into();
        }
    }
    body
}

/// What identifies the workload, and nothing else: applied, it takes back everything.
pub(super) fn identity(target: &Target) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": target.kind.as_str(),
        "metadata": { "name": target.name, "namespace": target.namespace, "uid": target.uid },
    })
}
