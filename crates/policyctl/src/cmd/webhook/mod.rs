//! `policyctl webhook`

mod authority;
mod cert_generate;
mod install_config;
mod key_files;

pub(super) use authority::Authority;

use anyhow::Context as _;
use policy_manifests::NAMESPACE;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::exit::Exit;
use crate::global::Global;
use crate::names;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make a certificate for the webhook, and the authority that signs it
    CertGenerate(cert_generate::Args),
    /// Install the webhook configuration, so that the API server asks the webhook, or print it
    InstallConfig(install_config::Args),
}

/// The Service that the API server calls.
#[derive(clap::Args)]
struct ServiceName {
    /// The Service of the webhook, in the namespace of -n, else in `kube-devops`
    #[arg(long, value_name = "NAME", default_value = DEFAULT_SERVICE, value_parser = names::label)]
    service_name: String,
}

const DEFAULT_SERVICE: &str = "policy-webhook";

pub(crate) fn run(command: &Command, global: &Global) -> anyhow::Result<Exit> {
    match command {
        Command::CertGenerate(args) => cert_generate::run(args, global),
        Command::InstallConfig(args) => install_config::run(args, global),
    }
}

/// The namespace of the webhook.
fn namespace(global: &Global) -> &str {
    global.target.namespace.as_deref().unwrap_or(NAMESPACE)
}

/// A time for people.
pub(super) fn time(moment: OffsetDateTime) -> anyhow::Result<String> {
    moment.format(&Rfc3339).context("cannot write a time")
}
