//! Volumes that hold the content of an image.

use serde::{Deserialize, Deserializer};

use super::lenient::for_each;
use super::{ContainerView, Located, MAX_CONTAINERS};

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

/// Decodes `volumes` and keeps the image volumes
/// ([KEP-4639](https://github.com/kubernetes/enhancements/issues/4639)), each as a container that
/// has an image and is named by its path, such as `volumes[models]`. No container can have such a
/// name.
pub(super) fn image_volumes<'de, D>(
    deserializer: D,
) -> Result<Vec<Located<ContainerView>>, D::Error>
where
    D: Deserializer<'de>,
{
    let mut found = Vec::new();
    let mut index = 0_usize;
    for_each(deserializer, |volume: Option<Located<Volume>>| {
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
        found.len() < MAX_CONTAINERS
    })?;
    Ok(found)
}
