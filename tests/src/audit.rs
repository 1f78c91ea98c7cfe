//! What the API server saw: which calls a user really made.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::Testbed;

/// The log's name in the testbed's folder.
pub(crate) const LOG: &str = "audit.log";

/// Every call of everybody but the API server's own, without bodies.
pub(crate) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: ['system:apiserver']
- level: Metadata
";

/// One call. What does not apply is empty: a URL such as `/version` has no resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditedCall {
    /// As RBAC knows it: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// In the plural, such as `pods`.
    pub resource: String,
    /// Such as `status`.
    pub subresource: String,
    /// Empty for the whole cluster.
    pub namespace: String,
    /// Empty for a list; also for some creations, where only the body has it.
    pub name: String,
    /// Path and query.
    pub url: String,
    /// HTTP status of the answer.
    pub code: u16,
    /// What admission and others had to say of it.
    pub annotations: BTreeMap<String, String>,
}

impl Testbed {
    /// The finished calls of a user in their order: `admin`, `limited-0`, or
    /// `system:serviceaccount:NAMESPACE:NAME`.
    ///
    /// The log may be a moment behind the answer: poll for the call that a suite expects. A watch
    /// stands in it once it has ended.
    pub fn audit(&self, user: &str) -> Result<Vec<AuditedCall>> {
        let path = self.folder().join(LOG);
        let log = fs::read_to_string(&path);
        calls(&log.with_context(|| format!("cannot read {}", path.display()))?, user)
    }
}

fn calls(log: &str, user: &str) -> Result<Vec<AuditedCall>> {
    let mut found = Vec::new();
    for line in log.split_inclusive('\n') {
        // The last line may still be written.
        let Some(line) = line.strip_suffix('\n') else { break };
        let event: Event = serde_json::from_str(line).context("a line of the audit log")?;
        if event.user.username == user && event.stage == "ResponseComplete" {
            found.push(event.into());
        }
    }
    Ok(found)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    url: String,
    user: User,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    response_status: Response,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct User {
    /// Nobody, where who asked could not be told.
    #[serde(default)]
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Response {
    code: u16,
}

impl From<Event> for AuditedCall {
    fn from(event: Event) -> Self {
        let object = event.object_ref;
        Self {
            verb: event.verb,
            group: object.api_group,
            resource: object.resource,
            subresource: object.subresource,
            namespace: object.namespace,
            name: object.name,
            url: event.url,
            code: event.response_status.code,
            annotations: event.annotations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_one_user_are_read_and_an_unfinished_line_is_not() {
        let line = |user: &str, stage: &str| {
            format!(
                r#"{{"stage":"{stage}","verb":"list","requestURI":"/api/v1/pods","user":{{"username":"{user}"}},"objectRef":{{"resource":"pods","apiVersion":"v1"}},"responseStatus":{{"code":200}}}}"#
            )
        };
        let log = [line("a", "ResponseStarted"), line("a", "ResponseComplete")].join("\n");
        let log = format!("{log}\n{}\n{{\"stage\":", line("b", "ResponseComplete"));
        let calls = calls(&log, "a").unwrap();
        assert_eq!(calls.len(), 1);
        assert_eq!((calls[0].resource.as_str(), calls[0].code), ("pods", 200));
        assert_eq!(calls[0].namespace, "");
    }
}
