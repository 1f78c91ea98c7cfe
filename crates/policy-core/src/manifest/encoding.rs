//! Decodes manifests. YAML 1.2.2 section 5.2 allows UTF-16 beside UTF-8, and Windows editors
//! write it.

/// The text of a file as UTF-8. UTF-16 is recognised by its byte-order mark or by the zero byte
/// of its first character; anything else is returned as it is, valid UTF-8 or not.
#[must_use]
pub fn utf8(bytes: Vec<u8>) -> Vec<u8> {
    let Some(unit) = utf16(&bytes) else { return bytes };
    let (units, _) = bytes.as_chunks();
    let characters = char::decode_utf16(units.iter().copied().map(unit));
    let text: String =
        characters.map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    text.into_bytes()
}

/// Whether [`utf8`] changes the bytes of a file.
#[must_use]
pub fn is_utf16(bytes: &[u8]) -> bool {
    utf16(bytes).is_some()
}

/// How two bytes of UTF-16 become a unit.
fn utf16(bytes: &[u8]) -> Option<fn([u8; 2]) -> u16> {
    match *bytes {
        // The byte-order mark of UTF-32, which Kubernetes' own tools do not read either.
        [0xff, 0xfe, 0, 0, ..] => None,
        [0xff, 0xfe, ..] | [1..=0xff, 0, ..] => Some(u16::from_le_bytes),
        [0xfe, 0xff, ..] | [0, 1..=0xff, ..] => Some(u16::from_be_bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf_16_is_read_with_and_without_a_byte_order_mark() {
        for text in ["a: é\n", "\u{feff}a: 1\n", "a: 🚀"] {
            let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            for bytes in [little, big, text.as_bytes().to_vec()] {
                assert_eq!(String::from_utf8(utf8(bytes)).unwrap(), text);
            }
        }
    }

    #[test]
    fn other_bytes_stay_as_they_are() {
        for bytes in [&b""[..], b"a", b"\0", b"\xff\xfe\0\0a\0\0\0", b"\xff", b"\0\0a"] {
            assert_eq!(utf8(bytes.to_vec()), bytes);
        }
    }
}
