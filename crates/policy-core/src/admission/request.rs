//! A request, after decoding.

use std::borrow::Cow;

use strum::VariantArray as _;

use super::raw::Raw;
use crate::view::SpecView;
use crate::workload::ObjectKind;

/// A request. Of the object it holds only the spec, so that a verdict cannot depend on metadata or
/// status; those of the old object say only what the platform has filled in. The metadata of what a
/// controller of the cluster creates says for which workload, and nothing else.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The operation on the object.
    pub operation: Operation,
    /// The kind of the object, `None` for one that is not judged. Where the API server converts for
    /// the webhook (`matchPolicy: Equivalent`), the kind converted to.
    pub kind: Option<ObjectKind>,
    /// The subresource, such as `ephemeralcontainers`; empty for the object itself.
    pub subresource: Cow<'a, str>,
    /// The namespace of the request; the one in the object's metadata does not count.
    pub namespace: Cow<'a, str>,
    /// The name of the object.
    pub name: Cow<'a, str>,
    /// The user that the API server authenticated.
    pub user: Cow<'a, str>,
    /// The whole review, not decoded, for what only some policies need.
    pub(super) body: Raw<'a>,
    /// The metadata of the object, not decoded.
    pub(super) metadata: Option<Raw<'a>>,
    /// The spec of the object; `None` where it is not judged.
    pub spec: Option<Box<SpecView>>,
    /// The spec of the old object, without what the platform has filled in; `None` except for
    /// updates.
    pub old_spec: Option<Box<SpecView>>,
}

/// The operation on an object.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::IntoStaticStr,
    strum::EnumString,
    strum::VariantArray,
)]
#[strum(serialize_all = "lowercase", ascii_case_insensitive)]
pub enum Operation {
    /// The object is created.
    Create,
    /// The object is changed.
    Update,
    /// The object is deleted.
    Delete,
    /// A connection is opened, as by `kubectl exec`.
    Connect,
}

impl Request<'_> {
    /// The kind where the request is judged at all: the creation or change of a pod or of an object
    /// with a pod template, as a whole or by its ephemeral containers.
    #[must_use]
    pub fn judged_kind(&self) -> Option<ObjectKind> {
        judged_kind(self.kind, self.operation, &self.subresource)
    }
}

/// The kind where such a request is judged.
pub(super) fn judged_kind(
    kind: Option<ObjectKind>,
    operation: Operation,
    subresource: &str,
) -> Option<ObjectKind> {
    let is_judged = matches!(operation, Operation::Create | Operation::Update)
        && matches!(subresource, "" | "ephemeralcontainers");
    kind.filter(|_| is_judged)
}

impl Operation {
    /// All operations.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The operation as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
