//! Names as Kubernetes and DNS have them.

use policy_kube::names::{is_label, is_subdomain};

use super::Problems;

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
