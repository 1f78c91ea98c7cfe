//! The Kubernetes objects that install the platform.
//!
//! Each component says in one file what it may do (`components`). All else follows from that: its
//! account, roles and bindings ([`Component::objects`]), their YAML ([`yaml`]), and the files of
//! `deploy/kustomize` ([`kustomize::base`]). Whoever installs in another way, by a chart or by
//! `policyctl`, takes the same objects, so no two ways grant different rights.
//!
//! What API server and webhook know of each other is in [`admission`], and what they trust each
//! other by in [`certificate`].

pub mod admission;
pub mod certificate;
mod components;
pub mod kustomize;
mod metadata;
mod object;
mod rbac;

pub use components::{COMPONENTS, Component, OPERATOR, WATCHER, WEBHOOK};
pub use metadata::{NAMESPACE, namespace};
pub use object::{Object, yaml};
pub use rbac::Rule;
