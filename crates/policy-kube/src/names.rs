//! Names that Kubernetes accepts (RFC 1123, as `k8s.io/apimachinery/pkg/util/validation` checks it).

/// The longest label, in bytes.
pub const LONGEST_LABEL: usize = 63;
/// The longest subdomain, in bytes.
pub const LONGEST_SUBDOMAIN: usize = 253;

/// Whether a text can be the name of a Namespace: lower-case letters, digits and dashes.
#[must_use]
pub fn is_label(text: &str) -> bool {
    text.len() <= LONGEST_LABEL && is_part(text)
}

/// Whether a text can be the name of most objects: parts separated by dots. Kubernetes limits the
/// whole name to 253 bytes, and not the parts to 63.
#[must_use]
pub fn is_subdomain(text: &str) -> bool {
    text.len() <= LONGEST_SUBDOMAIN && text.split('.').all(is_part)
}

fn is_part(text: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(is_word)
        && bytes.last().is_some_and(is_word)
        && bytes.iter().all(|byte| is_word(byte) || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_kubernetes_accepts() {
        let long = "a".repeat(64);
        for (text, label, subdomain) in [
            ("shop-2", true, true),
            ("team.shop", false, true),
            (&long, false, true),
            (&"a".repeat(254), false, false),
            ("", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("a..b", false, false),
            ("Shop", false, false),
            ("x: y\n- z", false, false),
        ] {
            assert_eq!((is_label(text), is_subdomain(text)), (label, subdomain), "{text}");
        }
    }
}
