//! How a component runs: its Deployment, its Service and its disruption budget.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, HTTPGetAction, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecurityContext, Service,
    ServicePort, ServiceSpec, TopologySpreadConstraint,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::components::OPEN_REPORTS;
use crate::metadata::{in_namespace, labels};
use crate::{Component, OPERATOR, Object};

/// The user and group of every container. The images have no file that needs another one.
const USER: i64 = 1000;
/// Kubernetes' default. Each service ends within 25 seconds (`shutdown.graceSeconds`).
const GRACE_SECONDS: i64 = 30;
/// Requests and limits: memory and CPU.
const REQUESTS: [(&str, &str); 2] = [("cpu", "100m"), ("memory", "64Mi")];
const LIMITS: [(&str, &str); 2] = [("cpu", "250m"), ("memory", "128Mi")];

/// What differs between installations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The images are `<repository>/policy-watcher` and so on.
    pub image_repository: String,
    /// The tag of all images.
    pub image_tag: String,
    /// Pods of each component.
    pub replicas: u16,
    /// Whether the operator writes Reports of openreports.io.
    pub open_reports: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image_repository: "ghcr.io/kube-devops".to_owned(),
            image_tag: env!("CARGO_PKG_VERSION").to_owned(),
            replicas: 2,
            open_reports: false,
        }
    }
}

/// The port that a component serves everything on: probes, metrics, and what it exists for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// The number.
    pub number: u16,
    /// Whether it speaks TLS.
    pub is_tls: bool,
}

impl Port {
    /// As in a container and a Service.
    pub(crate) const fn name(self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    const fn scheme(self) -> &'static str {
        if self.is_tls { "HTTPS" } else { "HTTP" }
    }

    /// As the port of a Service, to the port of that name.
    pub(crate) fn of_service(self, number: u16) -> ServicePort {
        ServicePort {
            name: Some(self.name().to_owned()),
            port: number.into(),
            target_port: Some(IntOrString::String(self.name().to_owned())),
            protocol: Some("TCP".to_owned()),
            ..ServicePort::default()
        }
    }
}

impl Component {
    /// Its Service, its Deployment and what that needs, and its disruption budget where a pod can be
    /// spared: at one replica it would block every drain of the node.
    #[must_use]
    pub fn run(&self, settings: &Settings) -> Vec<Object> {
        let mut objects: Vec<Object> = (self.others)();
        objects.extend([self.service().into(), self.deployment(settings).into()]);
        if settings.replicas > 1 {
            objects.push(self.disruption_budget().into());
        }
        objects
    }

    fn deployment(&self, settings: &Settings) -> Deployment {
        let rolling = RollingUpdateDeployment {
            // A new pod is ready before an old one ends.
            max_surge: Some(IntOrString::Int(1)),
            max_unavailable: Some(IntOrString::Int(0)),
        };
        Deployment {
            metadata: in_namespace(self.name),
            spec: Some(DeploymentSpec {
                replicas: Some(settings.replicas.into()),
                selector: selector(self.name),
                strategy: Some(DeploymentStrategy {
                    type_: Some("RollingUpdate".to_owned()),
                    rolling_update: Some(rolling),
                }),
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(labels(self.name)),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(self.pod(settings)),
                },
                ..DeploymentSpec::default()
            }),
            status: None,
        }
    }

    fn pod(&self, settings: &Settings) -> PodSpec {
        PodSpec {
            service_account_name: Some(self.name.to_owned()),
            // Environment variables for each Service of the namespace, of which none is read.
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    localhost_profile: None,
                }),
                ..PodSecurityContext::default()
            }),
            topology_spread_constraints: Some(vec![self.spread()]),
            containers: vec![self.container(settings)],
            ..PodSpec::default()
        }
    }

    /// Over the nodes, as far as there are several. Only pods of the same template count, so that the
    /// old pods of a rollout do not distort the placement of the new ones. Not over zones too: the
    /// scheduler leaves out nodes that lack one of the labels, so where nodes have no zone it would
    /// spread over nothing
    /// (<https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/#implicit-conventions>).
    fn spread(&self) -> TopologySpreadConstraint {
        TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(selector(self.name)),
            match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
            ..TopologySpreadConstraint::default()
        }
    }

    fn container(&self, settings: &Settings) -> Container {
        let Settings { image_repository, image_tag, .. } = settings;
        Container {
            name: self.name.to_owned(),
            image: Some(format!("{image_repository}/{}:{image_tag}", self.name)),
            image_pull_policy: Some("IfNotPresent".to_owned()),
            env: self.environment(settings),
            ports: Some(vec![ContainerPort {
                name: Some(self.port.name().to_owned()),
                container_port: self.port.number.into(),
                protocol: Some("TCP".to_owned()),
                ..ContainerPort::default()
            }]),
            liveness_probe: Some(self.probe("/healthz", 10, 6)),
            readiness_probe: Some(self.probe("/readyz", 2, 3)),
            resources: Some(ResourceRequirements {
                requests: Some(quantities(REQUESTS)),
                limits: Some(quantities(LIMITS)),
                ..ResourceRequirements::default()
            }),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
                read_only_root_filesystem: Some(true),
                ..SecurityContext::default()
            }),
            ..Container::default()
        }
    }

    fn environment(&self, settings: &Settings) -> Option<Vec<EnvVar>> {
        let (name, value) = OPEN_REPORTS;
        let variable =
            EnvVar { name: name.to_owned(), value: Some(value.to_owned()), ..EnvVar::default() };
        (settings.open_reports && self.name == OPERATOR.name).then(|| vec![variable])
    }

    fn probe(&self, path: &str, period: i32, failures: i32) -> Probe {
        Probe {
            http_get: Some(HTTPGetAction {
                path: Some(path.to_owned()),
                port: IntOrString::String(self.port.name().to_owned()),
                scheme: Some(self.port.scheme().to_owned()),
                ..HTTPGetAction::default()
            }),
            period_seconds: Some(period),
            timeout_seconds: Some(2),
            failure_threshold: Some(failures),
            ..Probe::default()
        }
    }

    /// For metrics; that of the webhook also for the API server.
    fn service(&self) -> Service {
        Service {
            metadata: in_namespace(self.name),
            spec: Some(ServiceSpec {
                selector: Some(labels(self.name)),
                ports: Some(vec![self.port.of_service(self.service_port)]),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        }
    }

    fn disruption_budget(&self) -> PodDisruptionBudget {
        PodDisruptionBudget {
            metadata: in_namespace(self.name),
            spec: Some(PodDisruptionBudgetSpec {
                min_available: Some(IntOrString::Int(1)),
                selector: Some(selector(self.name)),
                // A pod that is not ready helps nobody, and would block the drain of its node.
                unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
                ..PodDisruptionBudgetSpec::default()
            }),
            status: None,
        }
    }
}

pub(crate) fn selector(component: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(labels(component)), match_expressions: None }
}

fn quantities(amounts: [(&str, &str); 2]) -> BTreeMap<String, Quantity> {
    amounts.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into()
}
