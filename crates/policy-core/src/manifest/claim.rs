//! What a text that could not be parsed says that it is.

use super::lines;
use super::object_type::{Header, ObjectType};
use super::parse::{NOT_AN_OBJECT, ParseError, parse};
use crate::view::Located;

/// What a text that could not be parsed is, by its own account.
pub(super) enum Claim {
    /// An object, with its type if it has one, and its first line.
    Object(Option<ObjectType>, u32),
    /// Something else, or something unknown.
    Nothing { is_manifest: bool },
}

pub(super) fn claimed_type(bytes: &[u8], error: &ParseError) -> Claim {
    if let Some((object_type, line)) = lines::object_type(bytes) {
        return Claim::Object(Some(object_type), line);
    }
    if error.is_mismatch {
        // The text is well-formed, so its type can be parsed.
        return match parse::<Located<Header>>(bytes) {
            Ok(Some(header)) => Claim::Object(header.value.object_type(), header.line),
            Ok(None) => Claim::Nothing { is_manifest: false },
            Err(error) => Claim::Nothing { is_manifest: error.reason != NOT_AN_OBJECT },
        };
    }
    let names = |word: &str| memchr::memmem::find(bytes, word.as_bytes()).is_some();
    Claim::Nothing { is_manifest: names("apiVersion") && names("kind") }
}
