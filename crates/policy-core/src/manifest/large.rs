//! Texts that are too large to be decoded as a whole.

use super::object_type::ObjectType;
use super::parse::{MAX_TOLERANT, ParseError};
use super::reader::Reader;
use super::{Note, expansion, lines};

/// The largest YAML text that is read as a whole. The members of a larger List are read one by one:
/// in memory, a member takes up to two hundred times the bytes of its shortest text, `{},`.
pub(super) const MAX_AT_ONCE: usize = 256 << 10;
/// The largest object. An API server takes 3 MiB of JSON, which are more in YAML.
const MAX_OBJECT: usize = 4 << 20;

impl Reader<'_> {
    /// Reads a large text without holding all its objects, and only if an API server could store
    /// them.
    pub(super) fn yaml_of_large(
        &mut self,
        bytes: &[u8],
        list_type: Option<&ObjectType>,
        nesting: usize,
    ) {
        let claimed = lines::object_type(bytes);
        if let Some((object_type, line)) = &claimed {
            if object_type.is_other() {
                return self.skip(self.file_line(*line), object_type);
            }
            // Each member is parsed by itself, so none may have an alias to another.
            if object_type.is_list()
                && !expansion::has_anchor(bytes)
                && lines::has_all_members(bytes)
            {
                let error = ParseError::mismatch(*line, String::new());
                return self.yaml_list(bytes, object_type, nesting, error);
            }
        }
        if bytes.len() <= MAX_OBJECT {
            return self.yaml_at_once(bytes, list_type, nesting);
        }
        let most = MAX_OBJECT >> 20;
        let reason = match &claimed {
            Some((object_type, _)) if object_type.is_list() => format!(
                "a List of more than {most} MiB is read as JSON, and as YAML where its items are in \
                 block style and have no anchors; write it so, or split it"
            ),
            _ => format!("is larger than {most} MiB, and no API server stores such an object"),
        };
        let is_manifest = claimed.is_some();
        self.fail(ParseError::mismatch(1, reason), is_manifest);
    }
}

/// Says that a text was not searched for repeated keys, which takes memory for each of its keys.
pub(super) fn too_large_for_notes(line: u32) -> Note {
    let most = MAX_TOLERANT >> 20;
    let message = format!("is larger than {most} MiB, so nothing is said about repeated keys");
    Note { line, message }
}
