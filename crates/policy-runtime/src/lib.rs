//! The life cycle of a service: configuration, start and stop, watches, leader election, HTTP(S)
//! server, metrics.
//!
//! ```text
//! service::main ── configuration (defaults, file, environment, flags) ── logs
//!     │
//!     ├── Endpoints         /healthz /readyz /metrics, and what the service adds; HTTP or HTTPS
//!     ├── CertificateStore  the certificate for the next TLS handshake; follows its files
//!     ├── watch::run        initial list and watch of one kind; each object goes into a Sink
//!     ├── Election          one Lease; writers and exporters ask its leader gate
//!     └── stop              not ready → drain → tasks end → Lease released → requests end → exit
//! ```
//!
//! Nothing here knows pods, policies or scores.

pub mod backoff;
mod caller;
pub mod client;
pub mod config;
pub mod endpoints;
pub mod lease;
mod log_throttle;
pub mod metrics;
pub mod poll;
pub mod readiness;
mod server;
pub mod service;
mod stop;
mod tasks;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tls;
pub mod watch;
