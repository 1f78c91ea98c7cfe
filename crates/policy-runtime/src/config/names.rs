//! Names as Kubernetes and DNS have them.

use super::Problems;

/// The longest name of a Kubernetes object, and of a namespace.
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

impl Problems {
    /// Adds a problem with a name that no namespace or Service can have.
    pub fn check_label(&mut self, key: &str, name: &str) {
        self.check_name(key, name, is_label);
    }

    /// Adds a problem with a name that most other objects cannot have either.
    pub fn check_subdomain(&mut self, key: &str, name: &str) {
        self.check_name(key, name, is_subdomain);
    }

    fn check_name(&mut self, key: &str, name: &str, is_name: fn(&str) -> bool) {
        if name.is_empty() {
            self.add(&[key], "must not be empty");
        } else if !is_name(name) {
            let what = "is no name in Kubernetes (lower case letters, digits and `-`)";
            self.add(&[key], format!("`{name}` {what}"));
        }
    }
}

/// Whether something is a name of DNS in lower case, as most objects have one: labels with dots
/// between them.
#[must_use]
pub fn is_subdomain(name: &str) -> bool {
    name.len() <= LONGEST_NAME && name.split('.').all(is_label)
}

fn is_label(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=LONGEST_LABEL).contains(&name.len())
        && name.bytes().all(is_inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}
