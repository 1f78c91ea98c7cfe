//! Policies of a file as they were written, for an API server to judge.

use serde_json::Value;

use super::parse::parse;
use super::policy_file::{failure, without_nulls};
use super::{Failure, documents};
use crate::api::GROUP;
use crate::view::Located;

/// What a file holds of policies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenPolicies {
    /// The policies, in their order; those of Lists included.
    pub policies: Vec<WrittenPolicy>,
    /// How many objects of other kinds there are.
    pub others: usize,
    /// What could not be read.
    pub failures: Vec<Failure>,
}

/// A policy, its fields not looked at any further.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenPolicy {
    /// The line of the file on which it (in a List: the List) starts.
    pub line: u32,
    /// The whole object.
    pub object: Value,
}

/// All `DevOpsPolicy` objects of a file, of whatever version of the API.
#[must_use]
pub fn written_policies(bytes: &[u8]) -> WrittenPolicies {
    let mut written = WrittenPolicies::default();
    for document in documents(bytes) {
        match parse::<Located<Value>>(document.bytes) {
            Ok(None) => {}
            Ok(Some(root)) => {
                let line = u32::try_from(u64::from(root.line)).unwrap_or(u32::MAX);
                written.take(document.file_line(line), without_nulls(root.value));
            }
            Err(error) => written.failures.push(failure(&document, error)),
        }
    }
    written
}

impl WrittenPolicies {
    fn take(&mut self, line: u32, mut object: Value) {
        let api_version = object["apiVersion"].as_str().unwrap_or_default();
        let is_ours = api_version.split_once('/').is_some_and(|(group, _)| group == GROUP);
        match object["kind"].as_str() {
            _ if object.is_null() => {}
            Some("DevOpsPolicy") if is_ours => self.policies.push(WrittenPolicy { line, object }),
            Some("List" | "DevOpsPolicyList") => {
                let items = object["items"].as_array_mut().map(std::mem::take);
                items.into_iter().flatten().for_each(|item| self.take(line, item));
            }
            Some(_) if !api_version.is_empty() => self.others += 1,
            _ => {
                let reason = "is no Kubernetes object: it has no apiVersion and kind".to_owned();
                self.failures.push(Failure { line, reason, is_manifest: true });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_found_among_other_objects_and_in_lists() {
        let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n\
                    apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {name: a}\nspec: {weights: null}\n---\n\
                    apiVersion: v1\nkind: List\nitems:\n- {apiVersion: devops.stochastic.io/v2, kind: DevOpsPolicy, metadata: {name: b}}\n---\n\
                    kind: DevOpsPolicy\n---\nspec: [\n";
        let written = written_policies(text.as_bytes());
        let found: Vec<_> = written
            .policies
            .iter()
            .map(|policy| (policy.line, policy.object["metadata"]["name"].as_str().unwrap()))
            .collect();
        assert_eq!(found, [(5, "a"), (10, "b")]);
        assert_eq!(written.policies[0].object["spec"], serde_json::json!({}), "null is no value");
        assert_eq!(written.others, 1);
        let lines: Vec<u32> = written.failures.iter().map(|failure| failure.line).collect();
        assert_eq!(lines.len(), 2, "{:?}", written.failures);
    }
}
