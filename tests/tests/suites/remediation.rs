//! Enforce mode on a real control plane.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

mod adopted;
mod bodies;
mod breaker;
mod cli;
mod crowd;
mod enforced;
mod facts;
mod guard;
mod limits;
mod lockout;
mod metrics;
mod outcome;
mod owners;
mod quiet;
mod rights;
mod rivals;
mod sampler;
mod shapes;
mod stopped;
mod surroundings;
mod taken_back;
mod undone;
mod usage;
mod vanishing;
mod vetoes;
mod windows;
pub(crate) mod workloads;

/// A policy that fills in everything.
const POLICY: &str = "{enforcementMode: enforce, \
    requireLivenessProbe: true, requireReadinessProbe: true, requireResources: true, \
    defaultProbe: {tcpPort: 8080, initialDelaySeconds: 1, periodSeconds: 1}, \
    defaultResources: {cpuRequest: 100m, memoryRequest: 64Mi, memoryLimit: 256Mi}}";
