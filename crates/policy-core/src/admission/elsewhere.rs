//! The pod templates of kinds that configuration added and that have them in an unusual place.

use serde::Deserialize;
use serde::de::DeserializeSeed as _;

use super::objects::RawObjects;
use super::raw::Raw;
use super::review::reason;
use crate::view::{SpecView, TemplateAt};
use crate::workload::ObjectKind;

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    spec: Option<Raw<'a>>,
}

/// The specs of the object and of the old object of a review.
pub(super) type Specs = (Option<Box<SpecView>>, Option<Box<SpecView>>);

/// The specs with their pod templates in the usual place, read from the body of a review; `None` for
/// a kind that has them there anyway.
pub(super) fn specs(kind: ObjectKind, body: Raw<'_>) -> Result<Option<Specs>, String> {
    let Some(path) = kind.template_path().map(Iterator::collect::<Vec<_>>) else {
        return Ok(None);
    };
    let RawObjects { object, old_object } = RawObjects::of(body)?;
    let spec = |object: Option<Raw<'_>>| {
        let object = object.map(|object| object.read::<Object<'_>>("object")).transpose()?;
        let Some(Raw(spec)) = object.and_then(|object| object.spec) else { return Ok(None) };
        let spec = TemplateAt(&path).deserialize(&mut serde_json::Deserializer::from_slice(spec));
        spec.map(|spec| Some(Box::new(spec)))
            .map_err(|error| format!("the pod template cannot be read: {}", reason(&error)))
    };
    Ok(Some((spec(object)?, spec(old_object)?)))
}
