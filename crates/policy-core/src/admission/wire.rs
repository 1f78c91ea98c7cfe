//! An `AdmissionReview` of `admission.k8s.io/v1` as it comes, with the objects in whatever form
//! is wanted.

use serde::Deserialize;

use super::review::{Operation, Request};
use crate::view::ObjectView;
use crate::workload::ObjectKind;

/// What is around the request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Envelope<R> {
    pub(super) api_version: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) request: Option<R>,
}

/// Of a request, only to whom to answer.
#[derive(Deserialize)]
pub(super) struct Addressee {
    pub(super) uid: Option<String>,
}

/// A request with its objects as `O`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wire<O> {
    pub(super) uid: Option<String>,
    kind: Option<GroupKind>,
    sub_resource: Option<String>,
    operation: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    user_info: Option<UserInfo>,
    dry_run: Option<bool>,
    object: Option<O>,
    old_object: Option<O>,
}

#[derive(Deserialize)]
struct GroupKind {
    group: Option<String>,
    kind: Option<String>,
}

#[derive(Deserialize)]
struct UserInfo {
    username: Option<String>,
}

impl<O> Wire<O> {
    /// The request, its objects read by `read`: only where they are judged.
    pub(super) fn request(
        self,
        read: impl Fn(O) -> Result<Box<ObjectView>, String>,
    ) -> Result<Request, String> {
        let kind = self.kind.and_then(|GroupKind { group, kind }| {
            ObjectKind::in_group(&group.unwrap_or_default(), &kind.unwrap_or_default())
        });
        let operation = self.operation.unwrap_or_default();
        let mut request = Request {
            operation: Operation::named(&operation)
                .ok_or_else(|| format!("the operation `{operation}` is not known"))?,
            kind,
            subresource: self.sub_resource.unwrap_or_default(),
            namespace: self.namespace.unwrap_or_default(),
            name: self.name.unwrap_or_default(),
            user: self.user_info.and_then(|user| user.username).unwrap_or_default(),
            is_dry_run: self.dry_run.unwrap_or_default(),
            object: None,
            old_object: None,
        };
        let Some(kind) = request.judged_kind() else { return Ok(request) };
        let of_kind = |what: &str, object| match read(object) {
            Ok(object) if object.may_be(kind) => Ok(object),
            Ok(_) => Err(format!("{what} is of another kind than the request, {kind}")),
            Err(why) => Err(format!("{what} cannot be read: {why}")),
        };
        let object = self.object.ok_or("the request has no object")?;
        request.object = Some(of_kind("the object", object)?);
        if request.operation == Operation::Update {
            let old = self.old_object.map(|old| of_kind("the old object", old));
            request.old_object = old.transpose()?;
        }
        Ok(request)
    }
}
