//! How a service lives: start, stop, configure, watch, lead, serve, measure.
//!
//! ```text
//! service::main ── configuration (defaults, file, environment, flags) ── logs
//!     │
//!     ├── Endpoints      /healthz /readyz /metrics, and what the service adds; HTTP or HTTPS
//!     ├── CertificateStore  what the next TLS handshake gets; follows its files
//!     ├── watch::run     list and watch of one kind: objects go into a Sink one by one
//!     ├── Election       one Lease; writers and publishers ask its Gate
//!     └── stop           not ready → drained → work ends → Lease released → requests end → exit
//! ```
//!
//! Nothing here knows what the services are about.

pub mod backoff;
mod caller;
pub mod client;
pub mod config;
pub mod endpoints;
pub mod lease;
pub mod metrics;
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
