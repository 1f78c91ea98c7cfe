//! The Kubernetes objects that install the platform.
//!
//! Each component says in one file what it may do (`components`). All else follows from that: its
//! account, roles and bindings ([`Component::objects`]), their YAML ([`yaml`]), and the files of
//! `deploy/kustomize` ([`kustomize::base`]). Whoever installs in another way, by a chart or by
//! `policyctl`, takes the same objects, so no two ways grant different rights.
//!
//! What the API server knows of the webhook is in [`admission`].

pub mod admission;
mod components;
pub mod kustomize;
mod metadata;
mod object;
mod rbac;

pub use components::{COMPONENTS, Component, OPERATOR, WATCHER, WEBHOOK};
pub use metadata::{NAMESPACE, namespace};
pub use object::{Object, yaml};
pub use rbac::Rule;
