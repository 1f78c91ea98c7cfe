//! Names as clap reads them from the command line.

use policy_kube::names;

/// A name as Kubernetes accepts it for a namespace (RFC 1123 label).
pub(crate) fn label(text: &str) -> Result<String, &'static str> {
    if names::is_label(text) {
        Ok(text.to_owned())
    } else {
        Err("a name has at most 63 lower-case letters, digits and dashes, no dash at its ends")
    }
}

/// A name as Kubernetes accepts it for a custom resource (RFC 1123 subdomain).
pub(crate) fn subdomain(text: &str) -> Result<String, &'static str> {
    if names::is_subdomain(text) {
        Ok(text.to_owned())
    } else {
        Err("a name has at most 253 lower-case letters, digits, dashes and dots, \
             a letter or digit at the ends of each part")
    }
}
