//! The JSON of an `AdmissionReview` of `admission.k8s.io/v1`. The types of its objects are
//! parameters.

use serde::Deserialize;

use super::own_fields::OwnFields;
use super::raw::Raw;
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

/// A request with an object of type `N` and an old object of type `O`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawRequest<'a, N, O> {
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
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow)]
    user_info: Option<UserInfo<'a>>,
    object: Option<N>,
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

/// The type and the spec of an object, and its metadata, not decoded. Nothing else counts at
/// admission, or has to be readable.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Object<'a> {
    #[serde(borrow)]
    api_version: Option<Text<'a>>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    metadata: Option<Raw<'a>>,
    /// Boxed, because it is moved several times.
    spec: Option<Box<SpecView>>,
}

impl<'a> Object<'a> {
    /// Metadata and spec; `None` if the object states another kind.
    fn parts_of(self, kind: ObjectKind) -> Option<(Option<Raw<'a>>, Box<SpecView>)> {
        let is_other = match (&self.api_version, &self.kind) {
            (Some(api_version), Some(name)) => {
                ObjectKind::of(&api_version.0, &name.0) != Some(kind)
            }
            _ => false,
        };
        (!is_other).then(|| (self.metadata, self.spec.unwrap_or_default()))
    }
}

impl<'a, N, O> RawRequest<'a, N, O> {
    /// The request without its objects, and these.
    pub(super) fn split(self) -> Result<(Request<'a>, Option<N>, Option<O>), String> {
        let GroupKind { group, kind } = self.kind.unwrap_or_default();
        let Text(operation) = self.operation;
        let request = Request {
            operation: operation
                .parse()
                .map_err(|_| format!("the operation `{operation}` is not known"))?,
            kind: ObjectKind::in_group(&group.0, &kind.0),
            subresource: self.sub_resource.0,
            namespace: self.namespace.0,
            name: self.name.0,
            user: self.user_info.unwrap_or_default().username.0,
            body: Raw::default(),
            metadata: None,
            spec: None,
            old_spec: None,
        };
        Ok((request, self.object, self.old_object))
    }

    /// The request. Its objects are decoded by these functions, and only where they are judged.
    pub(super) fn request(
        self,
        read_new: impl Fn(N) -> Result<Object<'a>, String>,
        read_old: impl Fn(O) -> Result<Object<'a>, String>,
    ) -> Result<Request<'a>, String> {
        let (mut request, object, old_object) = self.split()?;
        let Some(kind) = request.judged_kind() else { return Ok(request) };
        let object = object.ok_or("the request has no object")?;
        let (metadata, spec) = parts("the object", kind, read_new(object))?;
        (request.metadata, request.spec) = (metadata, Some(spec));
        if let Some(old) = old_object.filter(|_| request.operation == Operation::Update) {
            let (metadata, mut spec) = parts("the old object", kind, read_old(old))?;
            OwnFields::of(kind, metadata).remove_from(&mut spec);
            request.old_spec = Some(spec);
        }
        Ok(request)
    }
}

/// Metadata and spec of an object that was read.
fn parts<'a>(
    what: &str,
    kind: ObjectKind,
    object: Result<Object<'a>, String>,
) -> Result<(Option<Raw<'a>>, Box<SpecView>), String> {
    object
        .map_err(|why| format!("{what} cannot be read: {why}"))?
        .parts_of(kind)
        .ok_or_else(|| format!("{what} is of another kind than the request, {kind}"))
}
