//! The removal of the operator's finalizer from policies.

use kube::api::{Patch, PatchParams};
use policy_core::api::FINALIZER;
use serde_json::{Value, json};

use crate::cluster::namespaced::Event;
use crate::cluster::write::{FIELD_MANAGER, get};
use crate::cluster::{Cluster, ClusterError, ErrorKind};
use crate::policies::{PolicyApi, PolicyName, full_name};

/// How often a policy is read again that somebody changes at the same time.
const TRIES: usize = 5;

/// All policies and cluster policies with the finalizer.
pub(super) async fn policies(api: &PolicyApi<'_>) -> Result<Vec<PolicyName>, ClusterError> {
    let (mut found, mut failed) = (Vec::new(), None);
    api.read(None, &mut |event| match event {
        Event::Page(page) => found.extend(page.objects.iter().filter_map(with_finalizer)),
        Event::NotRead { error, .. } => failed = failed.take().or(Some(error)),
    })
    .await;
    api.read_cluster(|object| found.extend(with_finalizer(object))).await?;
    match failed {
        Some(error) => Err(error),
        None => Ok(found),
    }
}

/// Its name, where it has the finalizer.
fn with_finalizer(policy: &Value) -> Option<PolicyName> {
    let metadata = &policy["metadata"];
    let finalizers = metadata["finalizers"].as_array()?;
    finalizers.iter().any(|name| name == FINALIZER).then(|| {
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        (text("namespace"), text("name"))
    })
}

/// Removes it, and no other finalizer.
pub(super) async fn remove(
    cluster: &Cluster,
    api: &PolicyApi<'_>,
    (namespace, name): &PolicyName,
    dry_run: bool,
) -> Result<(), ClusterError> {
    let api = api.namespaced(namespace);
    let mut tries = 1;
    loop {
        let policy = full_name(namespace, name);
        let read = format!("cannot read policy {policy}");
        let Some(found) = get(cluster, &api, name, &read).await? else { return Ok(()) };
        let metadata = found.metadata;
        let all = metadata.finalizers.unwrap_or_default();
        let others: Vec<&String> = all.iter().filter(|name| *name != FINALIZER).collect();
        if others.len() == all.len() {
            return Ok(());
        }
        // The version fails the patch where another changed the list in between.
        let patch = json!({ "metadata": {
            "uid": metadata.uid, "resourceVersion": metadata.resource_version,
            "finalizers": others,
        } });
        let mut parameters = PatchParams { dry_run, ..PatchParams::default() };
        parameters.field_manager = Some(FIELD_MANAGER.to_owned());
        let operation = format!("cannot remove the finalizer of policy {policy}");
        let patch = Patch::Merge(&patch);
        match cluster.call(&operation, api.patch(name, &parameters, &patch)).await {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind == ErrorKind::Conflict && tries < TRIES => tries += 1,
            result => return result.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_policies_with_the_finalizer_are_found() {
        let policy = |finalizers: Value| json!({ "metadata": { "namespace": "shop", "name": "web", "finalizers": finalizers } });
        let found = with_finalizer(&policy(json!(["example.com/other", FINALIZER])));
        assert_eq!(found, Some(("shop".to_owned(), "web".to_owned())));
        for none in [json!(["example.com/other"]), json!([]), json!(null)] {
            assert_eq!(with_finalizer(&policy(none)), None);
        }
    }
}
