//! What makes a pod template the same one again.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::owned::{LISTS, remove};
use crate::managed_fields::FieldSet;
use crate::view::has_handler;

/// Set by `kubectl rollout restart`, which changes nothing else.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// The hash of a workload's pod template without what we own of it, and without the time of a
/// restart. `ours` is what we own of it, if anything.
pub(super) fn hash(workload: &Value, ours: Option<FieldSet<'_>>) -> String {
    let mut template = workload["spec"]["template"].clone();
    if let Some(metadata) = template["metadata"].as_object_mut() {
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(RESTARTED_AT);
        }
        metadata
            .retain(|_, value| !value.is_null() && !value.as_object().is_some_and(Map::is_empty));
    }
    for list in LISTS {
        let Some(live) = template["spec"][list].as_array_mut() else { continue };
        for container in live {
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            if let Some(ours) = ours {
                let part = ours.containers(list).find(|(of, _)| *of == name);
                if let Some((_, fields)) = part {
                    remove_fields(container, fields);
                }
            }
            without_defaults(container);
        }
    }
    let hash = Sha256::digest(template.to_string());
    let number = hash.iter().take(6).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    format!("{number:012x}")
}

/// Removes our fields of a container, but not its name.
fn remove_fields(container: &mut Value, fields: FieldSet<'_>) {
    let name = container["name"].clone();
    remove(container, fields);
    container["name"] = name;
}

/// Removes what the API server adds to a probe of ours, such as `timeoutSeconds`, and stays when ours
/// is removed. A probe without a handler is none.
fn without_defaults(container: &mut Value) {
    for name in ["livenessProbe", "readinessProbe"] {
        let is_empty = container.get(name).is_some_and(|probe| !has_handler(probe));
        if is_empty && let Some(container) = container.as_object_mut() {
            container.remove(name);
        }
    }
}
