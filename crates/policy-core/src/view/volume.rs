//! Volumes that hold the content of an image.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{ContainerView, Located, MAX_CONTAINERS};

/// Reads `volumes` and keeps the image volumes
/// ([KEP-4639](https://github.com/kubernetes/enhancements/issues/4639)), each as a container that
/// has an image and is named by its place, such as `volumes[models]`. No container can have such a
/// name.
pub(super) fn image_volumes<'de, D>(
    deserializer: D,
) -> Result<Vec<Located<ContainerView>>, D::Error>
where
    D: Deserializer<'de>,
{
    Ok(Option::<ImageVolumes>::deserialize(deserializer)?.unwrap_or_default().0)
}

#[derive(Default)]
struct ImageVolumes(Vec<Located<ContainerView>>);

#[derive(Deserialize, Default)]
#[serde(default)]
struct Volume {
    name: Option<String>,
    image: Option<ImageSource>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ImageSource {
    reference: Option<String>,
}

impl<'de> Deserialize<'de> for ImageVolumes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(VolumesVisitor)
    }
}

struct VolumesVisitor;

impl<'de> Visitor<'de> for VolumesVisitor {
    type Value = ImageVolumes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of volumes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut volumes: A) -> Result<ImageVolumes, A::Error> {
        let mut found = Vec::new();
        let mut index = 0_usize;
        while found.len() < MAX_CONTAINERS
            && let Some(volume) = volumes.next_element::<Option<Located<Volume>>>()?
        {
            if let Some(Located { value, line }) = volume
                && let Some(ImageSource { reference }) = value.image
            {
                let name = value.name.unwrap_or_else(|| index.to_string());
                let container = ContainerView {
                    name: Some(format!("volumes[{name}]")),
                    image: reference,
                    ..ContainerView::default()
                };
                found.push(Located { value: container, line });
            }
            index += 1;
        }
        while volumes.next_element::<IgnoredAny>()?.is_some() {}
        Ok(ImageVolumes(found))
    }
}
