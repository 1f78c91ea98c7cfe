//! The remediation planner: what enforce mode does with a workload, and the bodies of the requests
//! that do it. Pure.
//!
//! ```text
//! Deployment … as JSON ─ Target::read ─┐
//! enforce policies ─ NamespaceRules ───┼─ plan ─┬─ Patch ──────────── apply_body, release
//! LimitRange, autoscalers, use ────────┤        ├─ InjectAtAdmission ─ inject
//! what the status remembers ───────────┘        └─ Propose, NotPatchable: a reason
//! ```

mod amount;
mod facts;
mod fields;
mod fill;
mod give_way;
mod inject;
mod lock;
mod manifest;
mod memory;
mod owned;
mod owner;
mod patch;
mod planner;
mod pod_total;
mod reason;
mod release;
mod rules;
mod surroundings;
mod target;
mod template;
#[cfg(test)]
mod tests;
mod vetoes;
mod windows;

pub use facts::{Autoscaler, LimitRange, MemoryPeaks, NamespaceFacts, OptIn, WorkloadPeaks};
pub use fields::{Amounts, ContainerFields, Fields, TcpProbe};
pub use fill::Withheld;
pub use give_way::give_way;
pub use inject::inject;
pub(crate) use lock::unlocked;
pub use manifest::{ManifestPlan, Unfilled, plan_manifest};
pub use memory::memory;
pub use owner::Owner;
pub use patch::apply_body;
pub use planner::{Plan, PlanInput, Planned, plan};
pub use reason::Reason;
pub use release::{Release, is_disowned, present, release, removable, removal};
pub use rules::{NamespaceRules, RemediationRules};
pub use surroundings::{Gathering, Source, Surroundings};
pub use target::{Rollout, Target};
pub use windows::Windows;
pub(crate) use windows::problems as window_problems;
