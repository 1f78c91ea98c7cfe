//! The patches that add and remove the operator's finalizer. Pure.
//!
//! Each tests what it relies on (`test`, [RFC 6902](https://www.rfc-editor.org/rfc/rfc6902#section-4.6)),
//! so that a change at the same time fails the patch, and never removes the finalizer of another.

use policy_core::api::FINALIZER;
use policy_core::view::{Finalizers, PolicyView};
use serde_json::{Value, json};

const LIST: &str = "/metadata/finalizers";

/// The patch that adds the finalizer to the version of the policy that was read.
pub(crate) fn added(policy: &PolicyView) -> Value {
    let (path, value) = if policy.finalizers == Finalizers::default() {
        // Without finalizers there is no list to append to.
        (LIST.to_owned(), json!([FINALIZER]))
    } else {
        (format!("{LIST}/-"), json!(FINALIZER))
    };
    json!([
        { "op": "test", "path": "/metadata/resourceVersion", "value": policy.metadata.resource_version },
        { "op": "add", "path": path, "value": value },
    ])
}

/// The patch that removes the finalizer, whatever else changed since the policy was read.
pub(crate) fn removed(policy: &PolicyView) -> Value {
    let path = format!("{LIST}/{}", policy.finalizers.ours.unwrap_or_default());
    json!([
        { "op": "test", "path": "/metadata/uid", "value": policy.metadata.uid },
        { "op": "test", "path": path, "value": FINALIZER },
        { "op": "remove", "path": path },
    ])
}

/// The error of such a patch. The API server answers to a test that fails with 422 and names no
/// cause, other than for an object that is invalid
/// (<https://github.com/kubernetes/kubernetes/blob/v1.37.0/staging/src/k8s.io/apiserver/pkg/endpoints/handlers/patch.go>,
/// `applyJSPatch`).
pub(crate) fn conflict(error: kube::Error) -> kube::Error {
    match error {
        kube::Error::Api(mut status)
            if status.code == 422
                && status.details.as_ref().is_none_or(|details| details.causes.is_empty()) =>
        {
            status.code = 409;
            "the policy was changed at the same time".clone_into(&mut status.message);
            kube::Error::Api(status)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(finalizers: &[&str]) -> PolicyView {
        serde_json::from_value(json!({ "metadata": { "name": "strict", "uid": "u-1",
            "resourceVersion": "7", "finalizers": finalizers } }))
        .unwrap()
    }

    #[test]
    fn the_finalizer_is_appended_to_the_version_that_was_read() {
        let version = json!({ "op": "test", "path": "/metadata/resourceVersion", "value": "7" });
        let first = json!({ "op": "add", "path": "/metadata/finalizers", "value": [FINALIZER] });
        assert_eq!(added(&policy(&[])), json!([version, first]));
        let next = json!({ "op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER });
        assert_eq!(added(&policy(&["example.com/other"])), json!([version, next]));
    }

    #[test]
    fn only_the_finalizer_itself_is_removed() {
        let path = "/metadata/finalizers/1";
        let expected = json!([
            { "op": "test", "path": "/metadata/uid", "value": "u-1" },
            { "op": "test", "path": path, "value": FINALIZER },
            { "op": "remove", "path": path },
        ]);
        assert_eq!(removed(&policy(&["example.com/other", FINALIZER])), expected);
    }

    #[test]
    fn a_test_that_fails_is_a_conflict_and_an_invalid_policy_is_not() {
        let failed = |details: Value| {
            let status = json!({ "status": "Failure", "code": 422, "reason": "Invalid",
                "message": "the server rejected our request", "details": details });
            match conflict(kube::Error::Api(serde_json::from_value(status).unwrap())) {
                kube::Error::Api(status) => status.code,
                other => panic!("{other}"),
            }
        };
        assert_eq!(failed(json!({})), 409);
        let causes = json!([{ "reason": "FieldValueInvalid", "field": "spec", "message": "no" }]);
        assert_eq!(failed(json!({ "causes": causes })), 422);
    }
}
