//! The Kubernetes objects that install the platform.
//!
//! Each component states its port and its rights in one file (`components`). Its service account,
//! roles and bindings ([`Component::rights`]), its Deployment ([`Component::run`]), their YAML
//! ([`yaml`]) and the files of `deploy/kustomize` ([`kustomize::base`]) are derived from that. Every
//! way to install (kustomize, chart, `policyctl`) uses these objects, so no two ways grant different
//! rights.
//!
//! [`admission`] has the webhook configurations, [`user_roles`] what namespace users may do with
//! policies, [`remediation`] what enforce mode needs beside, [`open_reports`] what Reports need, and
//! [`monitoring`] what makes Prometheus scrape the services and evaluate the [`alerts`].

mod account_limit;
pub mod admission;
pub mod alerts;
mod components;
pub mod dashboard;
mod injection_policy;
pub mod kustomize;
mod metadata;
pub mod monitoring;
mod object;
pub mod promql;
mod rbac;
mod run;
mod users;
mod validating_policy;

pub use components::{
    COMPONENTS, Component, OPERATOR, WATCHER, WEBHOOK, open_reports, remediation,
};
pub use injection_policy::{InjectionPolicy, NotExpressible, injection_policy};
pub use metadata::{PART_OF, PLATFORM, namespace};
pub use object::{Object, yaml};
pub use policy_core::installation::NAMESPACE;
pub use rbac::Rule;
pub use run::{Port, Settings};
pub use users::user_roles;
pub use validating_policy::{
    NoValidatingPolicy, PolicyPlace, ValidatingPolicy, as_exported, validating_policy,
};
