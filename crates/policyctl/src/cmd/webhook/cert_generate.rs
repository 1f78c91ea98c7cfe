//! `policyctl webhook cert-generate`

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgAction;
use policy_kube::certificate::{self, CertificateNames};
use policy_manifests::NAMESPACE;
use time::OffsetDateTime;

use super::{DEFAULT_SERVICE, ServiceName, key_files};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::names;
use crate::output::{self, Output};
use policy_core::text::printable;

const EXAMPLES: &str = "\
Examples:
  policyctl webhook cert-generate
  policyctl webhook cert-generate --output-dir certs --days 90
  policyctl webhook cert-generate --ip-san 10.0.0.7 --dns-san hook.example.com   outside the cluster

Makes ca.crt, ca.key, tls.crt and tls.key, readable only by you. The certificate has all names of
the Service, and those of --dns-san and --ip-san. Every run makes a new authority, so the Secret and
the webhook configuration have to be replaced both.
Output: table.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    service: ServiceName,

    /// The folder for the files; made where it is missing
    #[arg(long, value_name = "DIR", default_value = "webhook-certs")]
    output_dir: PathBuf,

    /// Add an IP address to the certificate; can be repeated
    #[arg(long, value_name = "IP", action = ArgAction::Append)]
    ip_san: Vec<IpAddr>,

    /// Add a DNS name to the certificate; can be repeated
    #[arg(long, value_name = "NAME", action = ArgAction::Append, value_parser = names::subdomain)]
    dns_san: Vec<String>,

    /// How many days the certificates are valid
    #[arg(long, value_name = "N", default_value_t = 365)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,

    /// Replace existing files
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    global.output(&[Output::Table], &[Scope::Namespace])?;
    let namespace = super::namespace(global);
    let names = args.names(namespace);
    let lifetime = Duration::from_secs(u64::from(args.days) * 24 * 60 * 60);
    let issued = certificate::issue(&names, OffsetDateTime::now_utc(), lifetime)?;
    let files = [
        ("ca.crt", issued.authority.certificate.as_str()),
        ("ca.key", &issued.authority.key),
        ("tls.crt", &issued.server.certificate),
        ("tls.key", &issued.server.key),
    ];
    let done = key_files::write(&args.output_dir, &files, args.force)?;
    let mut text = String::new();
    for (done, path) in done {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{done:<8}  {}", printable(&path.display().to_string()));
    }
    let all = names.dns.iter().cloned().chain(names.ips.iter().map(IpAddr::to_string));
    let all = all.collect::<Vec<_>>().join(", ");
    let _ = writeln!(text, "\nNames  {all}\nUntil  {}", super::time(issued.not_after)?);
    output::result(&text)?;
    let steps = next_steps(&args.output_dir, &args.service.service_name, namespace);
    steps.lines().for_each(|line| global.console().note(line));
    Ok(Exit::Fine)
}

impl Args {
    /// The names of the Service and of the options, each once.
    fn names(&self, namespace: &str) -> CertificateNames {
        let mut names = CertificateNames::of_service(&self.service.service_name, namespace);
        for name in &self.dns_san {
            if !names.dns.contains(name) {
                names.dns.push(name.clone());
            }
        }
        for ip in &self.ip_san {
            if !names.ips.contains(ip) {
                names.ips.push(*ip);
            }
        }
        names
    }
}

fn next_steps(folder: &Path, service: &str, namespace: &str) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let (ca, certificate, key) = (path("ca.crt"), path("tls.crt"), path("tls.key"));
    let unless = |default: &str, option: &str, value: &str| match value {
        value if value == default => String::new(),
        value => format!(" {option} {value}"),
    };
    let of_service = unless(DEFAULT_SERVICE, "--service-name", service);
    let in_namespace = unless(NAMESPACE, "--namespace", namespace);
    format!(
        "
Next:
  kubectl create secret tls {service}-tls --namespace {namespace} --cert {certificate} --key {key}
  policyctl webhook install-config --ca-bundle-path {ca}{of_service}{in_namespace}
ca.key is no longer needed: delete it, or keep it safe."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_steps_name_what_is_not_the_default() {
        let folder = Path::new("certs");
        let text = next_steps(folder, "policy-webhook", "kube-devops");
        assert!(
            text.contains("\n  policyctl webhook install-config --ca-bundle-path certs/ca.crt\n"),
            "{text}"
        );
        let text = next_steps(folder, "hook", "team");
        for part in [
            "secret tls hook-tls --namespace team --cert certs/tls.crt --key certs/tls.key\n",
            "--ca-bundle-path certs/ca.crt --service-name hook --namespace team\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
