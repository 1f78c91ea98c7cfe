//! The pod template of an object that has it elsewhere than most kinds.

use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{PodTemplateView, SpecView};

/// Decodes a spec whose pod template is at these fields, into the form in which most kinds have it.
/// Everything else is skipped. What is no object on the way has no template.
#[derive(Clone, Copy)]
pub(crate) struct TemplateAt<'p>(pub(crate) &'p [&'p str]);

impl<'de> DeserializeSeed<'de> for TemplateAt<'_> {
    type Value = SpecView;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<SpecView, D::Error> {
        if self.0.is_empty() {
            let template = Option::<Box<PodTemplateView>>::deserialize(deserializer)?;
            return Ok(SpecView { template, ..SpecView::default() });
        }
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for TemplateAt<'_> {
    type Value = SpecView;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_none<E>(self) -> Result<SpecView, E> {
        Ok(SpecView::default())
    }

    fn visit_unit<E>(self) -> Result<SpecView, E> {
        Ok(SpecView::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<SpecView, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SpecView, A::Error> {
        let mut spec = SpecView::default();
        while let Some(field) = map.next_key::<String>()? {
            match self.0.split_first() {
                Some((first, rest)) if **first == *field => {
                    spec = map.next_value_seed(TemplateAt(rest))?;
                }
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(spec)
    }
}
