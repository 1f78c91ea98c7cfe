//! The objects of a review, read once more for what only some requests need.

use serde::Deserialize;

use super::raw::Raw;

/// The object and the old object of a review, not decoded.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawObjects<'a> {
    #[serde(borrow)]
    pub(super) object: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) old_object: Option<Raw<'a>>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    request: RawObjects<'a>,
}

impl<'a> RawObjects<'a> {
    /// Those in the body of a review.
    pub(super) fn of(body: Raw<'a>) -> Result<Self, String> {
        body.read::<Envelope<'_>>("review").map(|envelope| envelope.request)
    }
}
