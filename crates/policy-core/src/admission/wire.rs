//! The JSON of an `AdmissionReview` of `admission.k8s.io/v1`. The type of its objects is a
//! parameter.

use serde::Deserialize;

use super::request::{Operation, Request};
use crate::view::{SpecView, Text};
use crate::workload::ObjectKind;

/// The review around the request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Envelope<'a, R> {
    #[serde(borrow, default)]
    pub(super) api_version: Text<'a>,
    #[serde(borrow, default)]
    pub(super) kind: Text<'a>,
    pub(super) request: Option<R>,
}

/// The uid of a request, which the response needs; nothing else is decoded.
#[derive(Deserialize)]
pub(super) struct RequestUid<'a> {
    #[serde(borrow, default)]
    pub(super) uid: Text<'a>,
}

/// A request with objects of type `O`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawRequest<'a, O> {
    #[serde(borrow, default)]
    pub(super) uid: Text<'a>,
    #[serde(borrow)]
    kind: Option<GroupKind<'a>>,
    #[serde(borrow, default)]
    sub_resource: Text<'a>,
    #[serde(borrow, default)]
    operation: Text<'a>,
    #[serde(borrow, default)]
    namespace: Text<'a>,
    #[serde(borrow)]
    user_info: Option<UserInfo<'a>>,
    object: Option<O>,
    old_object: Option<O>,
}

#[derive(Deserialize, Default)]
pub(super) struct GroupKind<'a> {
    #[serde(borrow, default)]
    pub(super) group: Text<'a>,
    #[serde(borrow, default)]
    pub(super) kind: Text<'a>,
}

#[derive(Deserialize, Default)]
pub(super) struct UserInfo<'a> {
    #[serde(borrow, default)]
    pub(super) username: Text<'a>,
}

/// The type and the spec of an object. Nothing else is decoded: it neither counts at admission nor
/// has to be readable.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Object<'a> {
    #[serde(borrow)]
    api_version: Option<Text<'a>>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    /// Boxed, because it is moved several times.
    spec: Option<Box<SpecView>>,
}

impl Object<'_> {
    /// The spec; `None` if the object states another kind.
    fn spec_of(self, kind: ObjectKind) -> Option<Box<SpecView>> {
        let is_other = match (&self.api_version, &self.kind) {
            (Some(api_version), Some(name)) => {
                ObjectKind::of(&api_version.0, &name.0) != Some(kind)
            }
            _ => false,
        };
        (!is_other).then(|| self.spec.unwrap_or_default())
    }
}

impl<'a, O> RawRequest<'a, O> {
    /// The request. Its objects are decoded by `read`, and only where they are judged.
    pub(super) fn request(
        self,
        read: impl Fn(O) -> Result<Object<'a>, String>,
    ) -> Result<Request<'a>, String> {
        let GroupKind { group, kind } = self.kind.unwrap_or_default();
        let Text(operation) = self.operation;
        let mut request = Request {
            operation: operation
                .parse()
                .map_err(|_| format!("the operation `{operation}` is not known"))?,
            kind: ObjectKind::in_group(&group.0, &kind.0),
            subresource: self.sub_resource.0,
            namespace: self.namespace.0,
            user: self.user_info.unwrap_or_default().username.0,
            spec: None,
            old_spec: None,
        };
        let Some(kind) = request.judged_kind() else { return Ok(request) };
        let spec = |what: &str, object| match read(object).map(|object| object.spec_of(kind)) {
            Ok(Some(spec)) => Ok(spec),
            Ok(None) => Err(format!("{what} is of another kind than the request, {kind}")),
            Err(why) => Err(format!("{what} cannot be read: {why}")),
        };
        let object = self.object.ok_or("the request has no object")?;
        request.spec = Some(spec("the object", object)?);
        if request.operation == Operation::Update {
            let old = self.old_object.map(|old| spec("the old object", old));
            request.old_spec = old.transpose()?;
        }
        Ok(request)
    }
}
