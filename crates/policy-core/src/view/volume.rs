//! Volumes that hold the content of an image.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};

use super::excess::Containers;
use super::lenient::for_each;
use super::{ContainerView, Located};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Volume<'a> {
    #[serde(borrow)]
    name: Option<Name<'a>>,
    image: Option<ImageSource>,
}

/// Borrowed where possible: most volumes hold no image, and their names are not kept.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

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
    let mut found = Containers::default();
    let mut index = 0_usize;
    for_each(deserializer, |volume: Option<Located<Volume<'de>>>| {
        if let Some(Located { value, line }) = volume
            && let Some(ImageSource { reference }) = value.image
        {
            let name = value.name.map_or_else(|| index.to_string().into(), |Name(name)| name);
            let container = ContainerView {
                name: Some(format!("volumes[{name}]")),
                image: reference,
                ..ContainerView::default()
            };
            found.push(Located { value: container, line });
        }
        index += 1;
        true
    })?;
    Ok(found.into_list())
}
