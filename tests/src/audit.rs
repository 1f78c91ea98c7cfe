//! The API server's audit log: the requests that a user sent.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Testbed;

/// The name of the log in the testbed's folder.
pub(crate) const LOG: &str = "audit.log";

/// Logs the requests of all users, without bodies, except those of the API server itself. What the
/// operator sends to a workload is logged with its body.
pub(crate) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: ['system:apiserver']
- level: Request
  users: ['system:serviceaccount:kube-devops:policy-operator']
  verbs: [patch]
  resources: [{group: apps}]
- level: Metadata
";

/// One request. A field that does not apply is empty: `/version` has no resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditedCall {
    /// The verb in RBAC: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource, such as `pods`.
    pub resource: String,
    /// The subresource, such as `status`.
    pub subresource: String,
    /// The namespace; empty for a request about the whole cluster.
    pub namespace: String,
    /// The object; empty for a list, and for a creation whose name is in the body only.
    pub name: String,
    /// Path and query.
    pub url: String,
    /// The HTTP status of the response.
    pub code: u16,
    /// Audit annotations, such as those of admission webhooks.
    pub annotations: BTreeMap<String, String>,
    /// The body as it was sent, where the log has it.
    pub body: Option<String>,
}

impl Testbed {
    /// The finished requests of a user, in order. Users are `admin`, `limited-0` and so on, and
    /// `system:serviceaccount:NAMESPACE:NAME`.
    ///
    /// The log is written shortly after the response: poll for an expected request. A watch is
    /// logged when it ends.
    pub fn audit(&self, user: &str) -> Result<Vec<AuditedCall>> {
        let path = self.folder().join(LOG);
        let log = fs::read_to_string(&path);
        calls(&log.with_context(|| format!("cannot read {}", path.display()))?, user)
    }
}

fn calls(log: &str, user: &str) -> Result<Vec<AuditedCall>> {
    let mut found = Vec::new();
    for line in log.split_inclusive('\n') {
        // A line without an end is being written.
        let Some(line) = line.strip_suffix('\n') else { break };
        if !line.contains(user) {
            continue;
        }
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
    /// The API server embeds the bytes of a patch in its line, without spaces between tokens.
    request_object: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct User {
    /// Empty where the request was not authenticated.
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
            body: event.request_object.map(|body| body.get().to_owned()),
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
                r#"{{"stage":"{stage}","verb":"list","requestURI":"/api/v1/pods","user":{{"username":"{user}"}},"objectRef":{{"resource":"pods","apiVersion":"v1"}},"requestObject":{{"b":1,"a":"x"}},"responseStatus":{{"code":200}}}}"#
            )
        };
        let log = [line("a", "ResponseStarted"), line("a", "ResponseComplete")].join("\n");
        let log = format!("{log}\n{}\n{{\"stage\":", line("b", "ResponseComplete"));
        let calls = calls(&log, "a").unwrap();
        assert_eq!(calls.len(), 1);
        assert_eq!((calls[0].resource.as_str(), calls[0].code), ("pods", 200));
        assert_eq!(calls[0].namespace, "");
        assert_eq!(calls[0].body.as_deref(), Some(r#"{"b":1,"a":"x"}"#), "as it was sent");
    }
}
