//! Writes by server-side apply (KEP-555) under our own field manager: only the fields that an object
//! names, and no field of another manager without `--force`.

use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::Value;

use super::{Cluster, ClusterError, ErrorKind};

/// The field manager of policyctl.
pub(crate) const FIELD_MANAGER: &str = "policyctl";

/// The options of a write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Apply {
    /// Validate on the API server, but store nothing.
    pub(crate) dry_run: bool,
    /// Take over fields of other field managers.
    pub(crate) force: bool,
}

impl Apply {
    /// Applies an object, and returns the server's version of it.
    pub(crate) async fn apply(
        self,
        cluster: &Cluster,
        api: &Api<DynamicObject>,
        name: &str,
        object: &Value,
        operation: &str,
    ) -> Result<DynamicObject, ClusterError> {
        let mut parameters = PatchParams::apply(FIELD_MANAGER).validation_strict();
        parameters.force = self.force;
        parameters.dry_run = self.dry_run;
        let patch = Patch::Apply(object);
        let applied = cluster.call(operation, api.patch(name, &parameters, &patch));
        applied.await.map_err(|error| match error.kind {
            ErrorKind::Conflict => error.and("--force-conflicts takes it over"),
            _ => error,
        })
    }
}

/// The object, or `None` where there is none of that name.
pub(crate) async fn get(
    cluster: &Cluster,
    api: &Api<DynamicObject>,
    name: &str,
    operation: &str,
) -> Result<Option<DynamicObject>, ClusterError> {
    match cluster.call(operation, api.get(name)).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
