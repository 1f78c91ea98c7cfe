//! Names of Kubernetes objects (RFC 1123 labels and subdomains).

use policy_kube::names::{is_label, is_subdomain};

use super::Problems;

impl Problems {
    /// Adds a problem with a name that no namespace or Service can have.
    pub fn check_label(&mut self, key: &'static str, name: &str) {
        self.check_name(key, name, is_label);
    }

    /// Adds a problem with a name that no object of most other kinds can have.
    pub fn check_subdomain(&mut self, key: &'static str, name: &str) {
        self.check_name(key, name, is_subdomain);
    }

    fn check_name(&mut self, key: &'static str, name: &str, is_name: fn(&str) -> bool) {
        if name.is_empty() {
            self.add(&[key], "must not be empty");
        } else if !is_name(name) {
            let what = "is no name in Kubernetes (lower case letters, digits and `-`)";
            self.add(&[key], format!("`{name}` {what}"));
        }
    }
}
