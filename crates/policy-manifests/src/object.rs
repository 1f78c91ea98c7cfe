//! The objects that install the platform, and their YAML.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde::Serialize;
use serde_saphyr::ser::Error;

use crate::monitoring::{Monitoring, PrometheusRuleSpec, ServiceMonitorSpec};

/// An object of the installation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "each variant is the kind of its name")]
pub enum Object {
    Namespace(Namespace),
    ServiceAccount(ServiceAccount),
    ClusterRole(ClusterRole),
    ClusterRoleBinding(ClusterRoleBinding),
    Role(Role),
    RoleBinding(RoleBinding),
    ConfigMap(ConfigMap),
    Secret(Secret),
    Service(Service),
    Deployment(Box<Deployment>),
    PodDisruptionBudget(PodDisruptionBudget),
    PrometheusRule(Box<Monitoring<PrometheusRuleSpec>>),
    ServiceMonitor(Box<Monitoring<ServiceMonitorSpec>>),
    MutatingWebhookConfiguration(MutatingWebhookConfiguration),
    ValidatingWebhookConfiguration(ValidatingWebhookConfiguration),
    ValidatingAdmissionPolicy(ValidatingAdmissionPolicy),
    ValidatingAdmissionPolicyBinding(ValidatingAdmissionPolicyBinding),
}

/// Implements `From` for each kind.
macro_rules! kinds {
    ($($kind:ident),+ $(,)?) => {
        $(impl From<$kind> for Object {
            fn from(object: $kind) -> Self {
                Self::$kind(object)
            }
        })+
    };
}

kinds!(
    Namespace,
    ServiceAccount,
    ClusterRole,
    ClusterRoleBinding,
    Role,
    RoleBinding,
    ConfigMap,
    Secret,
    Service,
    PodDisruptionBudget,
    MutatingWebhookConfiguration,
    ValidatingWebhookConfiguration,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
);

impl From<Deployment> for Object {
    fn from(deployment: Deployment) -> Self {
        Self::Deployment(deployment.into())
    }
}

impl From<Monitoring<PrometheusRuleSpec>> for Object {
    fn from(rule: Monitoring<PrometheusRuleSpec>) -> Self {
        Self::PrometheusRule(rule.into())
    }
}

impl From<Monitoring<ServiceMonitorSpec>> for Object {
    fn from(monitor: Monitoring<ServiceMonitorSpec>) -> Self {
        Self::ServiceMonitor(monitor.into())
    }
}

/// The objects as a YAML stream, one document each, in their order.
///
/// # Errors
/// Errors of the YAML serializer, which no known object causes.
pub fn yaml(objects: &[Object]) -> Result<String, Error> {
    let documents: Result<Vec<String>, Error> =
        objects.iter().map(serde_saphyr::to_string).collect();
    Ok(documents?.join("---\n"))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;
    use crate::admission::{Admission, Server};
    use crate::monitoring::{INTERVAL, prometheus_rule, service_monitors};
    use crate::{
        COMPONENTS, Component, Settings, namespace, open_reports, remediation, user_roles,
    };

    fn all() -> Vec<Object> {
        let admission = Admission {
            server: Server::installed(),
            authority: Some(b"PEM".to_vec()),
            excluded: Vec::new(),
            kinds: Vec::new(),
        };
        let settings = Settings::default();
        let of = |component: &Component| [component.rights(), component.run(&settings)].concat();
        let mut objects: Vec<Object> = COMPONENTS.iter().flat_map(of).collect();
        objects.extend([namespace(), admission.configuration().into()]);
        objects.extend(user_roles());
        objects.extend(remediation());
        objects.extend(open_reports());
        objects.push(prometheus_rule().into());
        objects.extend(service_monitors(INTERVAL).into_iter().map(Object::from));
        objects.push(admission.mutating_configuration().into());
        objects
    }

    #[test]
    fn the_stream_holds_every_object_and_its_kind_first() {
        let objects = all();
        let text = yaml(&objects).unwrap();
        let documents: Vec<&str> = text.split("---\n").collect();
        assert_eq!(documents.len(), objects.len());
        for (document, object) in documents.iter().zip(&objects) {
            assert!(document.starts_with("apiVersion: "), "{document}");
            assert!(document.ends_with('\n'), "{document}");
            let value: serde_json::Value = serde_saphyr::from_str(document).unwrap();
            assert_eq!(value, serde_json::to_value(object).unwrap());
        }
    }

    #[test]
    fn names_and_labels_are_within_the_limits_of_kubernetes() {
        // A label of DNS: stricter than what roles need, and fit for everything.
        let is_label = |text: &str| {
            let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            text.len() <= 63
                && text.bytes().all(inner)
                && !text.is_empty()
                && !text.starts_with('-')
                && !text.ends_with('-')
        };
        for object in all() {
            let value = serde_json::to_value(&object).unwrap();
            let metadata: ObjectMeta = serde_json::from_value(value["metadata"].clone()).unwrap();
            assert!(is_label(metadata.name.as_deref().unwrap()), "{metadata:?}");
            assert!(metadata.namespace.as_deref().is_none_or(is_label), "{metadata:?}");
            let labels = metadata.labels.as_ref().unwrap();
            let is_ours =
                |key: &&String| !key.starts_with("rbac.authorization.k8s.io/aggregate-to-");
            let keys: Vec<&str> = labels.keys().filter(is_ours).map(String::as_str).collect();
            assert_eq!(keys, ["app.kubernetes.io/name", "app.kubernetes.io/part-of"]);
            assert!(labels.values().all(|value| is_label(value)), "{labels:?}");
            assert_eq!(labels["app.kubernetes.io/part-of"], "kube-devops");
        }
    }

    #[test]
    fn no_two_objects_are_the_same_one() {
        let mut seen = std::collections::BTreeSet::new();
        for object in all() {
            let value = serde_json::to_value(&object).unwrap();
            let key = (value["kind"].to_string(), value["metadata"]["namespace"].to_string());
            assert!(seen.insert((key, value["metadata"]["name"].to_string())), "{object:?}");
        }
    }
}
