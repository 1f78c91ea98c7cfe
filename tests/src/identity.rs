//! Users and `ServiceAccounts` with exactly the permissions that a suite grants.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::Testbed;
use crate::tokens::{LIMITED, limited};

/// For permissions to be in effect, on a busy machine.
const GRANTED: Duration = Duration::from_secs(60);

/// Where permissions apply.
#[derive(Clone, Copy)]
enum Scope<'a> {
    Cluster,
    Namespace(&'a str),
}

impl Testbed {
    /// Creates a `ServiceAccount` with permissions in the whole cluster, and returns its kubeconfig.
    ///
    /// `rules` is YAML as under `rules:` of a `ClusterRole`. The token is from a `TokenRequest` and
    /// valid for an hour. The kubeconfig's namespace is that of the account.
    pub fn service_account(&self, namespace: &str, name: &str, rules: &str) -> Result<PathBuf> {
        self.account(namespace, name, rules, Scope::Cluster)
    }

    /// Like [`Testbed::service_account`], with permissions in the account's own namespace only.
    pub fn service_account_in(&self, namespace: &str, name: &str, rules: &str) -> Result<PathBuf> {
        self.account(namespace, name, rules, Scope::Namespace(namespace))
    }

    /// Gives a user, `limited-0` and so on, permissions in one namespace, and returns its
    /// kubeconfig, whose context has that namespace.
    ///
    /// Fails after 32 users of one testbed, as the API server reads the user names at its start.
    pub fn limited_user(&self, namespace: &str, rules: &str) -> Result<PathBuf> {
        let number = self.limited.fetch_add(1, Ordering::Relaxed);
        ensure!(number < LIMITED, "all {LIMITED} limited users of the testbed are in use");
        let user = limited(number);
        let subject = json!({
            "kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io",
        });
        let scope = Scope::Namespace(namespace);
        self.apply(&list(&rights(&user, &subject, rules, scope)?))?;
        self.wait_until_granted(&user, rules, scope)?;
        self.user_kubeconfig(&user, Some(namespace))
    }

    /// The kubeconfig of an existing `ServiceAccount`, such as one of [`Testbed::install_base`]. The
    /// token is from a `TokenRequest` and valid for an hour.
    pub fn account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let create = ["create", "token", name, "--namespace", namespace, "--duration=1h"];
        let token = self.kubectl(&create)?.succeeded()?;
        let user = format!("system:serviceaccount:{namespace}:{name}");
        // Compressed like in a pod: Kubernetes 1.37 compresses streamed lists, which broke a client
        // (<https://github.com/kubernetes/kubernetes/pull/139308>).
        self.write_kubeconfig(&user, token.trim(), Some(namespace), false)
    }

    fn account(
        &self,
        namespace: &str,
        name: &str,
        rules: &str,
        scope: Scope<'_>,
    ) -> Result<PathBuf> {
        let account = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "namespace": namespace, "name": name },
        });
        let subject = json!({ "kind": "ServiceAccount", "name": name, "namespace": namespace });
        // A ClusterRole has no namespace, so its name has that of the account.
        let role = format!("{namespace}:{name}");
        let mut objects = vec![account];
        objects.extend(rights(&role, &subject, rules, scope)?);
        self.apply(&list(&objects))?;
        let user = format!("system:serviceaccount:{namespace}:{name}");
        self.wait_until_granted(&user, rules, scope)?;
        self.account_kubeconfig(namespace, name)
    }

    /// The API server's authorizer hears of roles and bindings a moment later.
    fn wait_until_granted(&self, user: &str, rules: &str, scope: Scope<'_>) -> Result<()> {
        let rules: Vec<Value> = serde_saphyr::from_str(rules)?;
        let Some(rule) = rules.last() else { return Ok(()) };
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": question(user, rule, scope),
        });
        let create = ["create", "-o", "jsonpath={.status.allowed}", "-f", "-"];
        self.wait_for(&format!("the rights of {user}"), GRANTED, || {
            Ok(self.kubectl_stdin(&create, &review.to_string())?.succeeded()? == "true")
        })
    }
}

/// Asks for the first thing that a rule allows.
fn question(user: &str, rule: &Value, scope: Scope<'_>) -> Value {
    let first = |field: &str| rule[field][0].as_str().unwrap_or_default();
    if let Some(path) = rule["nonResourceURLs"][0].as_str() {
        return json!({ "user": user, "nonResourceAttributes": { "path": path, "verb": first("verbs") } });
    }
    let whole = first("resources");
    let (resource, subresource) = whole.split_once('/').unwrap_or((whole, ""));
    let namespace = match scope {
        Scope::Cluster => "",
        Scope::Namespace(namespace) => namespace,
    };
    json!({ "user": user, "resourceAttributes": {
        "verb": first("verbs"), "group": first("apiGroups"), "resource": resource,
        "subresource": subresource, "name": first("resourceNames"), "namespace": namespace,
    } })
}

/// A role and its binding.
fn rights(name: &str, subject: &Value, rules: &str, scope: Scope<'_>) -> Result<[Value; 2]> {
    let rules: Value = serde_saphyr::from_str(rules).context("the rules are not a YAML list")?;
    ensure!(rules.is_array(), "the rules are not a YAML list");
    let (role, metadata) = match scope {
        Scope::Cluster => ("ClusterRole", json!({ "name": name })),
        Scope::Namespace(namespace) => ("Role", json!({ "name": name, "namespace": namespace })),
    };
    let group = "rbac.authorization.k8s.io";
    let version = format!("{group}/v1");
    Ok([
        json!({ "apiVersion": version, "kind": role, "metadata": metadata, "rules": rules }),
        json!({
            "apiVersion": version,
            "kind": format!("{role}Binding"),
            "metadata": metadata,
            "roleRef": { "apiGroup": group, "kind": role, "name": name },
            "subjects": [subject],
        }),
    ])
}

fn list(objects: &[Value]) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "- apiGroups: ['']\n  resources: [pods]\n  verbs: [get, list]\n";

    #[test]
    fn rights_keep_to_their_scope() {
        let subject = json!({ "kind": "User", "name": "a" });
        let [role, binding] = rights("a", &subject, RULES, Scope::Namespace("n")).unwrap();
        assert_eq!(role["kind"], "Role");
        assert_eq!(role["metadata"]["namespace"], "n");
        assert_eq!(role["rules"][0]["verbs"], json!(["get", "list"]));
        assert_eq!(binding["kind"], "RoleBinding");
        let [role, binding] = rights("a", &subject, RULES, Scope::Cluster).unwrap();
        assert_eq!(
            (&role["kind"], &binding["kind"]),
            (&json!("ClusterRole"), &json!("ClusterRoleBinding"))
        );
        assert_eq!(binding["roleRef"]["kind"], "ClusterRole");
        rights("a", &subject, "pods", Scope::Cluster).unwrap_err();
    }
}
