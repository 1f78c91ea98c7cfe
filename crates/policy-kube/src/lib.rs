//! Talking to a Kubernetes API server, for the services and for the command line.
//!
//! ```text
//! client       builds a client with deadlines and without surprises   client::build
//! token        bearer tokens from files, as client-go reads them
//! error        one translation of a failed call into a sentence       ClusterError, reason
//! body         a response as a stream: watches and long lists         body::open
//! pages        lists in pages, decoded straight into the wanted type  pages::read
//! certificate  the certificate of a webhook that API servers call     certificate::issue
//! files        files read up to a limit                               files::read
//! kubeconfig   kubeconfig files                                       kubeconfig::read
//! names        names that Kubernetes accepts (RFC 1123)               names::is_label
//! ```
//!
//! It knows no policies and no output formats.

pub mod body;
pub mod certificate;
pub mod client;
pub mod error;
pub mod files;
pub mod kubeconfig;
pub mod names;
pub mod pages;
mod token;

pub use error::{ClusterError, ErrorKind, reason, with_deadline};
