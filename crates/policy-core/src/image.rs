//! Image references by the grammar of the distribution project:
//! <https://github.com/distribution/reference/blob/main/reference.go>.

use memchr::{memchr, memrchr};

/// A parsed image reference, `[registry/]repository[:tag][@digest]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageReference<'a> {
    /// Host and optional port; `None` for the default registry of the container runtime.
    pub registry: Option<&'a str>,
    /// The path below the registry, such as `library/nginx`.
    pub repository: &'a str,
    /// The tag, where there is one.
    pub tag: Option<&'a str>,
    /// The digest with its algorithm, such as `sha256:…`, where there is one.
    pub digest: Option<&'a str>,
}

/// The longest name (registry and repository) that a registry accepts.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

impl<'a> ImageReference<'a> {
    /// Parses a reference; `None` where the text is not one.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (rest, digest) = split_once(text, b'@');
        // A colon before the last slash is that of a port.
        let last_component = memrchr(b'/', rest.as_bytes()).map_or(0, |slash| slash + 1);
        let (name, tag) = match memrchr(b':', &rest.as_bytes()[last_component..]) {
            Some(colon) => {
                let colon = last_component + colon;
                (&rest[..colon], Some(&rest[colon + 1..]))
            }
            None => (rest, None),
        };
        let (registry, repository) = split_registry(name);
        let valid = name.len() <= MAX_NAME
            && registry.is_none_or(is_registry)
            && is_path(repository)
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest)
            // 64 hexadecimal digits alone are an image id, which no runtime accepts as a name.
            && !(text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        valid.then_some(Self { registry, repository, tag, digest })
    }

    /// Whether the reference has a digest, or a tag other than `latest`.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.digest.is_some() || self.tag.is_some_and(|tag| tag != "latest")
    }
}

/// `str::split_once` for an ASCII byte, several times as fast: the webhook parses images while a
/// user waits.
fn split_once(text: &str, separator: u8) -> (&str, Option<&str>) {
    match memchr(separator, text.as_bytes()) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// The first component is a registry when it cannot be part of a path: it has a dot, a port or
/// an upper-case letter, or is `localhost`.
fn split_registry(name: &str) -> (Option<&str>, &str) {
    match split_once(name, b'/') {
        (first, Some(rest))
            if first == "localhost"
                || first
                    .bytes()
                    .any(|b| matches!(b, b'.' | b':' | b'[') || b.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

fn is_registry(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        let is_address =
            !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
        return is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = split_once(text, b':');
    port.is_none_or(is_port) && host.as_bytes().split(|b| *b == b'.').all(is_domain_component)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_domain_component(bytes: &[u8]) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

/// Path components separated by `/`. Each consists of runs of lower-case letters and digits, joined
/// by `.`, `_`, `__` or any number of `-`.
fn is_path(text: &str) -> bool {
    #[derive(PartialEq)]
    enum After {
        Word,
        Underscore,
        Dashes,
        /// A separator after which only a word may follow.
        Other,
    }
    let mut after = After::Other;
    for byte in text.bytes() {
        after = match (byte, after) {
            (b'a'..=b'z' | b'0'..=b'9', _) => After::Word,
            (b'-', After::Word | After::Dashes) => After::Dashes,
            (b'_', After::Word) => After::Underscore,
            (b'_', After::Underscore) | (b'.' | b'/', After::Word) => After::Other,
            _ => return false,
        };
    }
    after == After::Word
}

fn is_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
}

/// Only the algorithms that `distribution/reference` knows, in lower case and with exactly their
/// number of digits: no kubelet parses a reference with another digest, so it pins nothing.
/// <https://github.com/opencontainers/go-digest/blob/v1.0.0/algorithm.go>
fn is_digest(text: &str) -> bool {
    let Some((algorithm, digits)) = text.split_once(':') else {
        return false;
    };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    digits.len() == length && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHA: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn pinned(image: &str) -> Option<bool> {
        ImageReference::parse(image).map(|reference| reference.is_pinned())
    }

    #[test]
    fn a_digest_or_a_tag_other_than_latest_pins() {
        for image in ["nginx", "reg:5000/nginx", "reg:5000/nginx:latest", "nginx:latest"] {
            assert_eq!(pinned(image), Some(false), "{image}");
        }
        let with_digest = [format!("nginx@{SHA}"), format!("nginx:latest@{SHA}")];
        let hexadecimal = format!("{}:v1", "0123456789abcdef".repeat(4));
        assert_eq!(pinned(&hexadecimal), Some(true), "only alone it is an image id");
        let with_tag = ["nginx:1.27", "reg:5000/a/b:v1", "nginx:Latest", "localhost:5000"];
        for image in with_tag.iter().copied().chain(with_digest.iter().map(String::as_str)) {
            assert_eq!(pinned(image), Some(true), "{image}");
        }
    }

    #[test]
    fn only_a_digest_that_a_kubelet_parses_pins() {
        let hex = |digits: usize| "0123456789abcdef".repeat(digits / 16);
        for (algorithm, digits) in [("sha256", 64), ("sha384", 96), ("sha512", 128)] {
            let with = |algorithm: &str, hex: &str| pinned(&format!("nginx@{algorithm}:{hex}"));
            assert_eq!(with(algorithm, &hex(digits)), Some(true), "{algorithm}");
            assert_eq!(with(algorithm, &hex(digits).to_uppercase()), None, "{algorithm}");
            assert_eq!(with(algorithm, &hex(digits - 16)), None, "{algorithm} too short");
            assert_eq!(with(algorithm, &hex(digits + 16)), None, "{algorithm} too long");
            assert_eq!(with(&algorithm.to_uppercase(), &hex(digits)), None, "{algorithm}");
        }
        for (algorithm, digits) in [("sha1", 48), ("md5", 32), ("blake3", 64), ("sha256+b64", 64)] {
            let image = format!("nginx:1.27@{algorithm}:{}", hex(digits));
            assert_eq!(pinned(&image), None, "{algorithm}");
        }
    }

    #[test]
    fn registry_repository_tag_and_digest_are_separated() {
        let image = format!("ghcr.io:443/org/app__x/y-z:v1.2@{SHA}");
        assert_eq!(
            ImageReference::parse(&image),
            Some(ImageReference {
                registry: Some("ghcr.io:443"),
                repository: "org/app__x/y-z",
                tag: Some("v1.2"),
                digest: Some(SHA),
            })
        );
        for (image, registry, repository) in [
            ("nginx", None, "nginx"),
            ("library/nginx", None, "library/nginx"),
            ("a--b/c_d/e__f.g/h---0", None, "a--b/c_d/e__f.g/h---0"),
            ("localhost/nginx", Some("localhost"), "nginx"),
            ("REG/nginx", Some("REG"), "nginx"),
            ("[2001:db8::1]:5000/nginx", Some("[2001:db8::1]:5000"), "nginx"),
            ("10.0.0.1/a", Some("10.0.0.1"), "a"),
        ] {
            let reference = ImageReference::parse(image).unwrap();
            assert_eq!((reference.registry, reference.repository), (registry, repository));
        }
    }

    #[test]
    fn text_that_is_not_a_reference_is_refused() {
        let long_tag = format!("nginx:{}", "a".repeat(129));
        let long_name = "a".repeat(256);
        let id = "0123456789abcdef".repeat(4);
        for image in [
            "",
            " nginx",
            "nginx ",
            ":tag",
            "nginx:",
            "nginx@",
            "NGINX",
            "a//b",
            "/nginx",
            "nginx/",
            "nginx@sha256:abc",
            "nginx@sha256",
            "a___b",
            "a_-b",
            "a-_b",
            "a-/b",
            "a/.b",
            "a..b",
            "-a",
            "a-",
            "nginx:-x",
            "é",
            "{{ .Values.image }}",
            "$(IMAGE)",
            "https://x/y",
            "reg:x/nginx",
            "[::1/nginx",
            &long_tag,
            &long_name,
            &id,
        ] {
            assert_eq!(ImageReference::parse(image), None, "{image}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC*") {
            let _ = ImageReference::parse(&text);
        }

        #[test]
        fn reference_like_text_keeps_every_character(text in "[a-zA-Z0-9.:/@_\\[\\]-]{0,80}") {
            if let Some(reference) = ImageReference::parse(&text) {
                let mut again = String::new();
                if let Some(registry) = reference.registry {
                    again = format!("{registry}/");
                }
                again += reference.repository;
                if let Some(tag) = reference.tag {
                    again = format!("{again}:{tag}");
                }
                if let Some(digest) = reference.digest {
                    again = format!("{again}@{digest}");
                }
                prop_assert_eq!(again, text);
            }
        }
    }
}
