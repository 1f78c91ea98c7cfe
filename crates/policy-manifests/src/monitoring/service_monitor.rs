//! One `ServiceMonitor` for each component.

use k8s_openapi::api::core::v1::SecretKeySelector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use policy_core::installation::{NAMESPACE, WEBHOOK_SECRET};
use serde::Serialize;

use super::Monitoring;
use crate::metadata::in_namespace;
use crate::run::selector;
use crate::{COMPONENTS, Component};

/// The time between two scrapes, unless somebody wants another.
pub const INTERVAL: &str = "15s";

/// What the Prometheus operator makes a scrape configuration of.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceMonitorSpec {
    selector: LabelSelector,
    endpoints: [Endpoint; 1],
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    port: &'static str,
    scheme: &'static str,
    interval: String,
    /// Else Prometheus would overwrite the label `namespace` of our series by the namespace of the
    /// target, and keep ours as `exported_namespace`
    /// (<https://prometheus.io/docs/prometheus/latest/configuration/configuration/#scrape_config>).
    honor_labels: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_config: Option<TlsConfig>,
}

/// The authority of the certificate, and a name in it: targets are addresses of pods, for which it
/// is not valid.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct TlsConfig {
    ca: Authority,
    server_name: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Authority {
    secret: SecretKeySelector,
}

/// The `ServiceMonitor`s of all components, each in the namespace of its Service. The operator of
/// Prometheus reads the authority from the Secret of the self-managed certificate, and follows its
/// changes.
#[must_use]
pub fn service_monitors(interval: &str) -> Vec<Monitoring<ServiceMonitorSpec>> {
    COMPONENTS.iter().map(|component| service_monitor(component, interval)).collect()
}

fn service_monitor(component: &Component, interval: &str) -> Monitoring<ServiceMonitorSpec> {
    let port = component.port;
    let tls_config = port.is_tls.then(|| TlsConfig {
        ca: Authority {
            secret: SecretKeySelector {
                name: WEBHOOK_SECRET.to_owned(),
                key: "ca.crt".to_owned(),
                ..SecretKeySelector::default()
            },
        },
        server_name: format!("{}.{NAMESPACE}.svc", component.name),
    });
    let endpoint = Endpoint {
        port: port.name(),
        scheme: port.name(),
        interval: interval.to_owned(),
        honor_labels: true,
        tls_config,
    };
    let spec = ServiceMonitorSpec { selector: selector(component.name), endpoints: [endpoint] };
    Monitoring::new("ServiceMonitor", in_namespace(component.name), spec)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Object, Settings};

    #[test]
    fn each_selects_the_service_and_the_port_of_its_component() {
        for (component, monitor) in COMPONENTS.iter().zip(service_monitors("7s")) {
            let monitor = serde_json::to_value(monitor).unwrap();
            let objects = component.run(&Settings::default());
            let service = objects.iter().find(|object| matches!(object, Object::Service(_)));
            let service = serde_json::to_value(service).unwrap();
            assert_eq!(monitor["metadata"], service["metadata"]);
            let selected = &monitor["spec"]["selector"]["matchLabels"];
            assert_eq!(*selected, service["metadata"]["labels"]);
            let endpoint = &monitor["spec"]["endpoints"][0];
            assert_eq!(endpoint["port"], service["spec"]["ports"][0]["name"]);
            assert_eq!(
                (&endpoint["interval"], &endpoint["honorLabels"]),
                (&json!("7s"), &json!(true))
            );
        }
    }

    #[test]
    fn the_webhook_is_verified_by_its_own_authority() {
        let all = service_monitors(INTERVAL);
        let tls = |monitor| {
            serde_json::to_value(monitor).unwrap()["spec"]["endpoints"][0]["tlsConfig"].clone()
        };
        let [watcher, operator, webhook] = [0, 1, 2].map(|index| tls(&all[index]));
        assert_eq!((watcher, operator), (json!(null), json!(null)));
        let expected = json!({
            "ca": { "secret": { "name": "policy-webhook-self-managed", "key": "ca.crt" } },
            "serverName": "policy-webhook.kube-devops.svc",
        });
        assert_eq!(webhook, expected);
    }
}
