//! Access to a Kubernetes API server, for the services and for policyctl.
//!
//! ```text
//! client       builds a client with deadlines and bounded retries      client::build
//! token        bearer tokens from files, as client-go reads them
//! error        describes a failed call in one sentence                ClusterError, reason
//! body         streams a response: watches and long lists             body::open
//! pages        lists in pages, decoded straight into the wanted type  pages::read
//! objects      objects of any kind at a path of the API                objects::get, objects::each
//! certificate  the certificate of a webhook that API servers call     certificate::issue
//! files        files read up to a limit                               files::read
//! kubeconfig   kubeconfig files                                       kubeconfig::read
//! names        names that Kubernetes accepts (RFC 1123)               names::is_label
//! ```
//!
//! It knows neither policies nor output formats.

pub mod body;
pub mod certificate;
pub mod client;
pub mod error;
pub mod files;
pub mod kubeconfig;
pub mod names;
pub mod objects;
pub mod pages;
mod token;

pub use error::{ClusterError, ErrorKind, reason, with_deadline};
