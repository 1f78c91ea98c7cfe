//! `policyctl webhook install-config`

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use http::Uri;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use policy_core::installation::WEBHOOK_CONFIGURATION;
use policy_manifests::Object;
use policy_manifests::admission::{Admission, MUTATING_PATH, PATH, Server};
use time::OffsetDateTime;

use super::ServiceName;
use super::authority::Authority;
use crate::cluster;
use crate::cluster::write::{Apply, get};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::judgement::Exclusion;
use crate::output::{self, Output};
use policy_core::text::printable;

const EXAMPLES: &str = "\
Examples:
  policyctl webhook install-config
  policyctl webhook install-config --ca-bundle-path webhook-certs/ca.crt
  policyctl webhook install-config --ca-bundle-path ca.crt --dry-run
  policyctl webhook install-config --ca-bundle-path ca.crt -o yaml | kubectl apply -f -
  policyctl webhook install-config --ca-bundle-path ca.crt --url https://10.0.0.7:8443
  policyctl webhook install-config --mutating
  policyctl webhook install-config --workload-kind argoproj.io/Rollout

Applies the ValidatingWebhookConfiguration with the field manager `policyctl`. Without
--ca-bundle-path it has no caBundle: a webhook that issues its own certificate adds it. From then on
the API server asks the webhook about pods and workloads, except in the namespaces of the system, of
the platform and of --exclude-namespace. It waits five seconds at most, and a webhook that does not
answer denies nothing.

With --mutating it applies the MutatingWebhookConfiguration instead, which enforce mode needs: by it
the webhook fills in fields of new pods, and drops what the operator has filled in where it would
keep the owner of a workload from a change. A webhook that does not answer changes nothing.
Output: table (default), yaml, json.";

const SELF_MANAGED: &str = "the configuration has no caBundle: the webhook has to issue its own \
                            certificate, and adds it";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The certificates (PEM) of the authority that signed the webhook's; leave it out where the
    /// webhook issues its own certificate
    #[arg(long, value_name = "FILE")]
    ca_bundle_path: Option<PathBuf>,

    #[command(flatten)]
    service: ServiceName,

    /// The address of a webhook outside of the cluster; the path is /validate by default, and
    /// /mutate with --mutating
    #[arg(long, value_name = "URL", conflicts_with = "service_name", value_parser = server_url)]
    url: Option<Uri>,

    /// Apply the mutating webhook configuration, which enforce mode needs, instead of the validating
    /// one
    #[arg(long)]
    mutating: bool,

    #[command(flatten)]
    exclusion: Exclusion,

    /// Validate on the API server, but store nothing
    #[arg(long)]
    dry_run: bool,

    /// Take over fields that another field manager set
    #[arg(long)]
    force_conflicts: bool,
}

pub(super) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let format = global.output(&[Output::Table, Output::Yaml, Output::Json], &Scope::NAMESPACE)?;
    let server = args.server(global)?;
    let (authority, whose) = match args.authority(global)? {
        Some((pem, until)) => (Some(pem), until),
        None => (None, SELF_MANAGED.to_owned()),
    };
    let excluded = args.exclusion.added().to_vec();
    let kinds = global.workload_kinds();
    let admission = Admission { server, authority, excluded, kinds };
    let configuration: Object = if args.mutating {
        admission.mutating_configuration().into()
    } else {
        admission.configuration().into()
    };
    if format != Output::Table {
        output::value(&configuration, format, String::new)?;
        if admission.authority.is_none() {
            global.console().note(&whose);
        }
        return Ok(Exit::Fine);
    }
    cluster::run(install(args, global, &configuration))?;
    if !args.dry_run {
        let address = address(&admission.server, args.path());
        global.console().note(format_args!("the API server calls {address}"));
    }
    if !args.dry_run || admission.authority.is_none() {
        global.console().note(&whose);
    }
    Ok(Exit::Fine)
}

impl Args {
    /// The certificates of the file, and a sentence with their end.
    fn authority(&self, global: &Global) -> anyhow::Result<Option<(Vec<u8>, String)>> {
        let Some(path) = &self.ca_bundle_path else { return Ok(None) };
        let name = path.display().to_string();
        let name = printable(&name);
        let authority = Authority::read(path, OffsetDateTime::now_utc())
            .with_context(|| format!("the CA file {name}"))?;
        for remark in &authority.remarks {
            global.console().note(format_args!("the CA file {name}: {remark}"));
        }
        let until = super::time(authority.until)?;
        Ok(Some((authority.pem, format!("the certificates of {name} end at {until}"))))
    }

    fn path(&self) -> &'static str {
        if self.mutating { MUTATING_PATH } else { PATH }
    }

    fn resource(&self) -> ApiResource {
        if self.mutating {
            ApiResource::erase::<MutatingWebhookConfiguration>(&())
        } else {
            ApiResource::erase::<ValidatingWebhookConfiguration>(&())
        }
    }

    fn server(&self, global: &Global) -> anyhow::Result<Server> {
        match &self.url {
            Some(_) if global.target.namespace.is_some() => {
                bail!("--namespace has no effect with --url: the webhook is outside of the cluster")
            }
            Some(url) => Ok(Server::Url(with_path(url, self.path()))),
            None => Ok(Server::Service {
                name: self.service.service_name.clone(),
                namespace: super::namespace(global).to_owned(),
            }),
        }
    }
}

/// The address that the API server calls.
fn address(server: &Server, path: &str) -> String {
    match server {
        Server::Service { name, namespace } => format!("https://{name}.{namespace}.svc{path}"),
        Server::Url(url) => url.clone(),
    }
}

async fn install(args: &Args, global: &Global, configuration: &Object) -> anyhow::Result<()> {
    let cluster = global.target.connect().await?;
    let api: Api<DynamicObject> = Api::all_with(cluster.client(), &args.resource());
    let name = WEBHOOK_CONFIGURATION;
    let object = serde_json::to_value(configuration)?;
    let before = get(&cluster, &api, name, &format!("cannot read {name}")).await?;
    let apply = Apply { dry_run: args.dry_run, force: args.force_conflicts };
    let operation = format!("cannot apply {name}");
    let after = apply.apply(&cluster, &api, name, &object, &operation).await?;
    let done = match (before, args.dry_run) {
        (Some(before), _) if is_same(&before, &after) => "unchanged",
        (None, false) => "created",
        (Some(_), false) => "changed",
        (None, true) => "would be created",
        (Some(_), true) => "would be changed",
    };
    output::result(&format!("{done:<9}  {name}\n"))
}

/// Whether two states of an object are equal; a dry run has no resource version to compare.
fn is_same(before: &DynamicObject, after: &DynamicObject) -> bool {
    let said = |object: &DynamicObject| {
        let metadata = object.metadata.clone();
        (metadata.labels, metadata.annotations, object.data.clone())
    };
    said(before) == said(after)
}

/// An address as the API server accepts it for a webhook.
fn server_url(text: &str) -> Result<Uri, &'static str> {
    let uri: Uri = text.parse().map_err(|_| "this is no URL")?;
    if uri.scheme_str() != Some("https") {
        return Err("it has to begin with https://; the API server calls nothing else");
    }
    let authority = uri.authority().ok_or("it has no host")?;
    if authority.as_str().contains('@') || uri.query().is_some() || text.contains('#') {
        return Err("the API server accepts no user, query or fragment in it");
    }
    if authority.as_str() != authority.host() && authority.port_u16().is_none() {
        return Err("its port is not valid");
    }
    Ok(uri)
}

/// The address, with that path where it has none.
fn with_path(url: &Uri, default: &str) -> String {
    let path = if url.path() == "/" { default } else { url.path() };
    let authority = url.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    format!("https://{authority}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_the_api_server_accepts() {
        for (text, expected) in [
            ("https://10.0.0.7:8443", Ok("https://10.0.0.7:8443/validate")),
            ("https://hook.example.com/", Ok("https://hook.example.com/validate")),
            ("https://[fd00::7]:8443/hook", Ok("https://[fd00::7]:8443/hook")),
            ("http://10.0.0.7:8443", Err("begin with https://")),
            ("10.0.0.7:8443", Err("begin with https://")),
            ("/validate", Err("begin with https://")),
            ("https://", Err("no URL")),
            ("https://a b", Err("no URL")),
            ("https://me@hook", Err("no user, query or fragment")),
            ("https://hook/validate?a=b", Err("no user, query or fragment")),
            ("https://hook/validate#a", Err("no user, query or fragment")),
            ("https://hook:99999", Err("port")),
            ("https://hook:", Err("port")),
        ] {
            let found = server_url(text).map(|url| with_path(&url, PATH));
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(found), Err(part)) => assert!(found.contains(part), "{text}: {found}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
        let url = server_url("https://10.0.0.7:8443").unwrap();
        assert_eq!(with_path(&url, MUTATING_PATH), "https://10.0.0.7:8443/mutate");
    }
}
