//! Names of objects within the limits of the Kubernetes API.

use policy_core::text::prefix;
use policy_kube::names::LONGEST_SUBDOMAIN;

/// The name of an object: the start, cut so that the end fits, followed by the end.
pub(crate) fn object_name(start: &str, end: &str) -> String {
    let start = prefix(start, usize::MAX, LONGEST_SUBDOMAIN.saturating_sub(end.len()));
    // A label of a DNS subdomain ends with a letter or a digit.
    format!("{}{end}", start.trim_end_matches(['.', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_to_a_valid_one() {
        assert_eq!(object_name("strict", "-1"), "strict-1");
        let long = format!("{}.{}", "a".repeat(229), "b".repeat(23));
        assert_eq!(object_name(&long, "-end"), format!("{}-end", &long[..249]));
        let end = format!(".{}", "e".repeat(22));
        assert_eq!(object_name(&long, &end), format!("{}{end}", "a".repeat(229)));
    }
}
