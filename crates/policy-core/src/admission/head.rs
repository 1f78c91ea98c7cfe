//! What a review says before its object.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::admit::{at_admission, decision, may_be_filled_in};
use super::policies::NamedPolicy;
use super::request::{Operation, judged_kind};
use super::requester::Requester;
use super::verdict::Decision;
use super::wire::{GroupKind, UserInfo};
use super::{API_VERSION, KIND};
use crate::view::Text;
use crate::workload::ObjectKind;

/// The beginning of a review, from the first bytes of its body. The API server writes the fields of
/// a request in the order of their declaration, and everything that names it is before its object:
/// <https://github.com/kubernetes/api/blob/master/admission/v1/types.go>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewHead<'a> {
    /// The uid that the response must have.
    pub uid: Cow<'a, str>,
    /// As in [`Request`](super::Request).
    pub operation: Operation,
    /// As in [`Request`](super::Request).
    pub kind: Option<ObjectKind>,
    /// As in [`Request`](super::Request).
    pub subresource: Cow<'a, str>,
    /// As in [`Request`](super::Request).
    pub namespace: Cow<'a, str>,
    /// As in [`Request`](super::Request); empty where the body is cut before its end.
    pub user: Cow<'a, str>,
}

impl<'a> ReviewHead<'a> {
    /// Reads the beginning of a body, which may be cut anywhere. `None` where there is no review
    /// whose uid and operation come before its object.
    #[must_use]
    pub fn read(beginning: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::default();
        let mut deserializer = serde_json::Deserializer::from_slice(beginning);
        // An error is the end of what is there, or the object.
        let _ = Members { fields: &mut fields, is_request: false }.deserialize(&mut deserializer);
        let Fields { kind, api_version, uid, group_kind, user, .. } = fields;
        let operation = fields.operation?.0.parse().ok()?;
        let is_review = kind.0 == KIND && api_version.0 == API_VERSION;
        (is_review && !uid.0.is_empty()).then_some(Self {
            uid: uid.0,
            operation,
            kind: ObjectKind::in_group(&group_kind.group.0, &group_kind.kind.0),
            subresource: fields.subresource.0,
            namespace: fields.namespace.0,
            user: user.username.0,
        })
    }

    /// As [`Request::judged_kind`](super::Request::judged_kind).
    #[must_use]
    pub fn judged_kind(&self) -> Option<ObjectKind> {
        judged_kind(self.kind, self.operation, &self.subresource)
    }

    /// A policy that would deny such a request, whatever it finds first. `None` where none does: the
    /// request is not judged, or all policies only warn of what they find.
    #[must_use]
    pub fn deniable_by<'p>(&self, policies: &'p [NamedPolicy]) -> Option<&'p NamedPolicy> {
        let kind = self.judged_kind()?;
        let requester = Requester::of_request(self.operation, &self.user, kind);
        policies.iter().find(|policy| {
            let Ok(rules) = &policy.rules else { return false };
            at_admission(rules).any(|(check, enabled)| {
                let may_be_filled_in = may_be_filled_in(check, kind, false);
                decision(rules, enabled.severity, may_be_filled_in, kind, requester)
                    == Decision::Denied
            })
        })
    }
}

/// The fields that were read so far.
#[derive(Default)]
struct Fields<'a> {
    kind: Text<'a>,
    api_version: Text<'a>,
    uid: Text<'a>,
    group_kind: GroupKind<'a>,
    subresource: Text<'a>,
    namespace: Text<'a>,
    operation: Option<Text<'a>>,
    user: UserInfo<'a>,
}

impl<'de> Fields<'de> {
    fn read_of_review<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match key {
            "kind" => self.kind = map.next_value()?,
            "apiVersion" => self.api_version = map.next_value()?,
            "request" => map.next_value_seed(Members { fields: self, is_request: true })?,
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }

    fn read_of_request<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match key {
            "uid" => self.uid = map.next_value()?,
            "kind" => self.group_kind = map.next_value::<Option<_>>()?.unwrap_or_default(),
            "subResource" => self.subresource = map.next_value()?,
            "namespace" => self.namespace = map.next_value()?,
            "operation" => self.operation = Some(map.next_value()?),
            "userInfo" => self.user = map.next_value::<Option<_>>()?.unwrap_or_default(),
            // Everything before it is known, and skipping it takes as long as it is large.
            "object" | "oldObject" => return Err(A::Error::custom("the object begins")),
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

/// Reads the members of the review, or of its request. What was read before an error stays.
struct Members<'f, 'de> {
    fields: &'f mut Fields<'de>,
    is_request: bool,
}

impl<'de> DeserializeSeed<'de> for Members<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key()? {
            if self.is_request {
                self.fields.read_of_request(&key, &mut map)?;
            } else {
                self.fields.read_of_review(&key, &mut map)?;
            }
        }
        Ok(())
    }
}
