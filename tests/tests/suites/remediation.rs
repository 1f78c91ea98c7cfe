//! Enforce mode on a real control plane.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

mod facts;
mod owners;
mod workloads;
