//! Prometheus' own programs on what the platform gives them.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

mod panels;
mod provoked;
mod rules;
mod scraped;
