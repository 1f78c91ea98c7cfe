//! A cluster policy in compiled form: its rules, and the namespaces to which they apply.

use std::collections::BTreeMap;

use crate::api::{
    ClusterDevOpsPolicySpec, MAX_EXCLUDED, MAX_PRIORITY, MAX_SELECTOR_ENTRIES, SelectorRequirement,
};
use crate::namespaces::ExcludedNamespaces;

use super::selector::{Selector, compile, is_dns_label};
use super::{CompiledPolicy, InvalidField, Problems, validate};

/// A cluster policy in the form that evaluation needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledClusterPolicy {
    /// Its rules, which are those of any policy.
    pub rules: CompiledPolicy,
    /// The namespaces to which they apply.
    pub scope: ClusterScope,
}

/// The namespaces to which a cluster policy applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterScope {
    selector: Selector,
    excluded: ExcludedNamespaces,
}

impl CompiledClusterPolicy {
    /// Compiles a cluster policy.
    ///
    /// # Errors
    /// All values that no policy may have.
    pub fn compile(spec: &ClusterDevOpsPolicySpec) -> Result<Self, Vec<InvalidField>> {
        let mut problems = Problems(validate(&spec.rules));
        let scope = ClusterScope::compile(spec, &mut problems);
        if !problems.0.is_empty() {
            return Err(problems.0);
        }
        Ok(Self { rules: CompiledPolicy::of_valid(&spec.rules), scope })
    }
}

impl ClusterScope {
    fn compile(spec: &ClusterDevOpsPolicySpec, problems: &mut Problems) -> Self {
        let selector = spec.namespace_selector.as_ref();
        let selector = selector.map(|selector| {
            compile(("namespaceSelector", selector, MAX_SELECTOR_ENTRIES), problems)
        });
        problems.excluded(&spec.excluded_namespaces);
        problems.range("priority", Some(spec.priority), -MAX_PRIORITY, MAX_PRIORITY);
        let excluded = spec.excluded_namespaces.iter().take(MAX_EXCLUDED).cloned();
        Self {
            selector: selector.unwrap_or_default(),
            excluded: ExcludedNamespaces::with(excluded),
        }
    }

    /// Whether the policy applies to a namespace with these labels; never to a system namespace, nor
    /// to one that configuration excludes.
    #[must_use]
    pub fn selects(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
        configured: &ExcludedNamespaces,
    ) -> bool {
        !configured.contains(namespace)
            && !self.excludes(namespace)
            && self.selector.matches(labels)
    }

    /// Whether the policy does not apply to a namespace, whatever its labels are.
    #[must_use]
    pub fn excludes(&self, namespace: &str) -> bool {
        self.excluded.contains(namespace)
    }

    /// What the labels of a namespace must be.
    #[must_use]
    pub fn requirements(&self) -> &[SelectorRequirement] {
        self.selector.requirements()
    }

    /// The namespaces that the policy excludes by name.
    pub fn excluded(&self) -> impl Iterator<Item = &str> {
        self.excluded.added()
    }
}

impl Problems {
    fn excluded(&mut self, names: &[String]) {
        if names.len() > MAX_EXCLUDED {
            let problem = format!("must have at most {MAX_EXCLUDED} names, not {}", names.len());
            self.add("excludedNamespaces", problem);
        }
        for (index, name) in names.iter().take(MAX_EXCLUDED).enumerate() {
            if !is_dns_label(name) {
                let path = format!("excludedNamespaces[{index}]");
                self.add(&path, format!("must be the name of a namespace, not `{name}`"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(json: &str) -> Result<CompiledClusterPolicy, Vec<String>> {
        let spec = serde_json::from_str(json).map_err(|error| vec![error.to_string()])?;
        CompiledClusterPolicy::compile(&spec)
            .map_err(|invalid| invalid.iter().map(ToString::to_string).collect())
    }

    fn selects(json: &str, namespace: &str, tier: &str) -> bool {
        let labels = [("tier".to_owned(), tier.to_owned())].into();
        let configured = ExcludedNamespaces::with(["sandbox".to_owned()]);
        compiled(json).unwrap().scope.selects(namespace, &labels, &configured)
    }

    #[test]
    fn the_rules_are_those_of_any_policy() {
        let rules = r#""forbidLatestTag": true, "maxRestartCount": 3"#;
        let spec = serde_json::from_str(&format!("{{{rules}}}")).unwrap();
        let cluster = compiled(&format!(r#"{{{rules}, "priority": 7}}"#)).unwrap();
        assert_eq!(cluster.rules, CompiledPolicy::compile(&spec).unwrap());
    }

    #[test]
    fn a_policy_without_selector_applies_to_all_but_excluded_namespaces() {
        for spec in ["{}", r#"{"namespaceSelector": {}}"#] {
            assert!(selects(spec, "shop", "web"));
            for excluded in ["kube-system", "gatekeeper-system", "sandbox"] {
                assert!(!selects(spec, excluded, "web"), "{excluded}");
            }
        }
        let spec = r#"{"excludedNamespaces": ["shop"]}"#;
        assert!(!selects(spec, "shop", "web") && selects(spec, "shop-2", "web"));
    }

    #[test]
    fn exclusions_count_for_selected_namespaces_too() {
        let spec = r#"{"namespaceSelector": {"matchLabels": {"tier": "web"}}, "excludedNamespaces": ["old"]}"#;
        assert!(selects(spec, "shop", "web") && !selects(spec, "shop", "batch"));
        for excluded in ["old", "sandbox", "cert-manager"] {
            assert!(!selects(spec, excluded, "web"), "{excluded}");
        }
    }

    #[test]
    fn all_invalid_fields_are_reported_at_once() {
        let problems = compiled(
            r#"{"maxRestartCount": -1, "priority": 1001, "excludedNamespaces": ["shop", "dev-*", ""],
                "namespaceSelector": {"matchExpressions": [{"key": "tier", "operator": "NotIn"}]}}"#,
        );
        let expected = [
            "spec.maxRestartCount: must be 0 or more, not -1",
            "spec.namespaceSelector.matchExpressions[0]: NotIn needs values",
            "spec.excludedNamespaces[1]: must be the name of a namespace, not `dev-*`",
            "spec.excludedNamespaces[2]: must be the name of a namespace, not ``",
            "spec.priority: must be -1000 to 1000, not 1001",
        ];
        assert_eq!(problems.unwrap_err(), expected);
    }
}
