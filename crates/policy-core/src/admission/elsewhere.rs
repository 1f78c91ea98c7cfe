//! The pod templates of kinds that configuration added and that have them in an unusual place.

use serde::Deserialize;
use serde::de::DeserializeSeed as _;
use serde_json::value::RawValue;

use super::review::reason;
use crate::view::{SpecView, TemplateAt};
use crate::workload::ObjectKind;

#[derive(Deserialize)]
struct Review<'a> {
    #[serde(borrow)]
    request: Objects<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Objects<'a> {
    #[serde(borrow)]
    object: Option<Object<'a>>,
    #[serde(borrow)]
    old_object: Option<Object<'a>>,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    spec: Option<&'a RawValue>,
}

/// The specs of the object and of the old object of a review.
pub(super) type Specs = (Option<Box<SpecView>>, Option<Box<SpecView>>);

/// The specs with their pod templates in the usual place, read from the body of a review; `None` for
/// a kind that has them there anyway.
pub(super) fn specs(kind: ObjectKind, body: &[u8]) -> Result<Option<Specs>, String> {
    let Some(path) = kind.template_path().map(Iterator::collect::<Vec<_>>) else {
        return Ok(None);
    };
    let failure = |error| format!("the pod template cannot be read: {}", reason(&error));
    let Review { request } = serde_json::from_slice(body).map_err(failure)?;
    let spec = |object: Option<Object<'_>>| {
        let Some(spec) = object.and_then(|object| object.spec) else { return Ok(None) };
        let mut json = serde_json::Deserializer::from_str(spec.get());
        TemplateAt(&path).deserialize(&mut json).map(|spec| Some(Box::new(spec))).map_err(failure)
    };
    Ok(Some((spec(request.object)?, spec(request.old_object)?)))
}
