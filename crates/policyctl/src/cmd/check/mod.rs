//! `policyctl check`

mod permissions;
mod webhook;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use policy_core::api;
use serde::Serialize;

use self::permissions::Permission;
use self::webhook::Webhook;
use crate::cluster::{self, Cluster, ClusterError, ErrorKind};
use crate::cmd::analyze::live;
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::limits::{self, NotJudged};
use crate::output::{self, Output};
use crate::policies::{ListedPolicies, PolicyApi};

const EXAMPLES: &str = "\
Examples:
  policyctl check               the cluster of the current context, permissions in all namespaces
  policyctl check -n shop       permissions in one namespace
  policyctl check -o json

To test whether the API server reaches the webhook, it asks for the dry run of a pod that a policy
denies or warns of; nothing is stored. Exits with 3 where the cluster cannot be reached, has no such
namespace, or does not let you list pods, which analyze needs. Other gaps are only shown.
Output: table (default), json, yaml.";

/// The oldest minor version of Kubernetes 1 that is supported.
const OLDEST_MINOR: u32 = 34;

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    context: String,
    server: String,
    /// `null` where the server hides it.
    version: Option<String>,
    /// `null` where the version is unknown.
    is_supported: Option<bool>,
    definitions: Vec<Definition>,
    webhook: Webhook,
    /// Those that are beyond a limit; `null` where you may not list all policies.
    policies_not_judged: Option<Vec<NotJudged>>,
    /// The namespace of the permissions; `null` for all.
    namespace: Option<String>,
    permissions: Vec<Permission>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Definition {
    name: String,
    /// The versions that the API server serves; empty where it is not installed.
    versions: Vec<String>,
    /// Whether it is that of this program; `null` where you may not read it.
    is_current: Option<bool>,
    /// Whether the API server is deleting it, with all of its objects.
    is_terminating: bool,
}

impl Definition {
    fn state(&self) -> String {
        let Self { name, versions, is_current, is_terminating } = self;
        let served = versions.join(", ");
        match (versions.as_slice(), is_current) {
            _ if *is_terminating => format!(
                "being deleted, until no object of the kind has a finalizer: see `kubectl get {name} -A -o \
                 yaml`; `policyctl uninstall --finalizers-only` removes that of the operator"
            ),
            ([], _) => "not installed; see `policyctl crd install`".to_owned(),
            (_, Some(true)) => format!("{served}, up to date"),
            (_, Some(false)) => {
                format!("{served}, not that of this program; see `policyctl crd install`")
            }
            (_, None) => served,
        }
    }
}

pub(crate) fn run(_: &Args, global: &Global) -> anyhow::Result<Exit> {
    let format = global.output(&[Output::Table, Output::Json, Output::Yaml], &Scope::CLUSTER)?;
    let report = cluster::run(async {
        let cluster = live::connect(global).await?;
        let namespace = global.target.namespace.as_deref();
        if let Some(namespace) = namespace {
            cluster.expect_namespace(namespace).await?;
        }
        check(&cluster, namespace).await
    })?;
    output::value(&report, format, || table(&report))?;
    let may_analyze = report.permissions.first().is_some_and(|first| first.is_allowed);
    Ok(if may_analyze { Exit::Fine } else { Exit::Cluster })
}

async fn check(cluster: &Cluster, namespace: Option<&str>) -> anyhow::Result<Report> {
    let mut definitions = Vec::new();
    for crd in api::crds() {
        definitions.push(definition(cluster, &crd).await?);
    }
    let policies = match PolicyApi::find(cluster).await? {
        Some(api) => api.list(namespace).await,
        None => ListedPolicies::default(),
    };
    Ok(Report {
        context: cluster.context.clone(),
        server: cluster.server.clone(),
        version: cluster.version.clone(),
        is_supported: cluster.version.as_deref().and_then(is_supported),
        definitions,
        webhook: Webhook::check(cluster, &policies).await?,
        policies_not_judged: policies.not_judged(),
        namespace: namespace.map(str::to_owned),
        permissions: permissions::ask(cluster, namespace).await?,
    })
}

/// `None` where the version is not a version of Kubernetes.
fn is_supported(version: &str) -> Option<bool> {
    let mut parts = version.strip_prefix('v')?.split('.');
    let mut number = || parts.next()?.parse::<u32>().ok();
    let (major, minor) = (number()?, number()?);
    Some(major > 1 || minor >= OLDEST_MINOR)
}

async fn definition(
    cluster: &Cluster,
    ours: &CustomResourceDefinition,
) -> Result<Definition, ClusterError> {
    let name = ours.metadata.name.clone().unwrap_or_default();
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client());
    match cluster.call(&format!("cannot read {name}"), api.get(&name)).await {
        Ok(installed) => {
            let served = installed.spec.versions.iter().filter(|version| version.served);
            let versions = served.map(|version| version.name.clone()).collect();
            let is_current = Some(installed.spec.versions == ours.spec.versions);
            let is_terminating = installed.metadata.deletion_timestamp.is_some();
            Ok(Definition { name, versions, is_current, is_terminating })
        }
        Err(error) if error.kind == ErrorKind::NotFound => {
            let versions = Vec::new();
            Ok(Definition { name, versions, is_current: None, is_terminating: false })
        }
        // Discovery is open to users who may not read definitions.
        Err(error) if error.kind == ErrorKind::Forbidden => {
            let versions = served_versions(cluster, &ours.spec.names.plural).await?;
            Ok(Definition { name, versions, is_current: None, is_terminating: false })
        }
        Err(error) => Err(error),
    }
}

async fn served_versions(cluster: &Cluster, plural: &str) -> Result<Vec<String>, ClusterError> {
    let client = cluster.client();
    let served = client.list_api_group_resources(api::API_VERSION);
    match cluster.call("cannot discover the served kinds", served).await {
        Ok(list) if list.resources.iter().any(|resource| resource.name == plural) => {
            Ok(vec![api::VERSION.to_owned()])
        }
        Ok(_) => Ok(Vec::new()),
        Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Forbidden) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

fn table(report: &Report) -> String {
    let version = report.version.as_deref().unwrap_or("unknown");
    let support = match report.is_supported {
        Some(true) => format!("supported (1.{OLDEST_MINOR} and newer)"),
        Some(false) => format!("WARNING: not supported, older than 1.{OLDEST_MINOR}"),
        None => format!("WARNING: not known to be 1.{OLDEST_MINOR} or newer"),
    };
    let mut rows = vec![
        vec!["Context".to_owned(), report.context.clone()],
        vec!["Server".to_owned(), report.server.clone()],
        vec!["Version".to_owned(), format!("{version}, {support}")],
    ];
    for definition in &report.definitions {
        let state = format!("{}: {}", definition.name, definition.state());
        rows.push(vec!["Definition".to_owned(), state]);
    }
    let webhook = format!("{}: {}", report.webhook.name, report.webhook.message);
    rows.push(vec!["Webhook".to_owned(), webhook]);
    for line in limits::lines(report.policies_not_judged.as_deref().unwrap_or_default()) {
        rows.push(vec!["Policies".to_owned(), line]);
    }
    let place = match &report.namespace {
        Some(namespace) => format!("namespace {namespace}"),
        None => "all namespaces".to_owned(),
    };
    let mut permissions = vec![["ALLOWED", "VERB", "RESOURCE", "FOR"].map(str::to_owned).to_vec()];
    permissions.extend(report.permissions.iter().map(|permission| {
        let Permission { commands, verb, resource, is_allowed } = permission;
        let is_allowed = if *is_allowed { "yes" } else { "no" };
        // Without the API group, which would make the table too wide.
        let resource = resource.split('.').next().unwrap_or_default();
        [is_allowed, verb, resource, commands].map(str::to_owned).to_vec()
    }));
    let (facts, permissions) = (output::columns(&rows), output::columns(&permissions));
    format!("{facts}\nPermissions in {place}\n\n{permissions}")
}

#[cfg(test)]
mod tests {
    use super::{Definition, is_supported};

    #[test]
    fn a_definition_is_up_to_date_unless_it_differs_or_is_being_deleted() {
        let state = |versions: &[&str], is_current, is_terminating| {
            let versions = versions.iter().map(|&version| version.to_owned()).collect();
            Definition { name: "a.example.com".to_owned(), versions, is_current, is_terminating }
                .state()
        };
        assert_eq!(state(&["v1"], Some(true), false), "v1, up to date");
        assert_eq!(state(&["v1", "v2"], None, false), "v1, v2");
        assert!(
            state(&["v1"], Some(false), false).starts_with("v1, not that of this program; see")
        );
        assert_eq!(state(&[], None, false), "not installed; see `policyctl crd install`");
        assert_eq!(
            state(&["v1"], Some(true), true),
            "being deleted, until no object of the kind has a finalizer: see `kubectl get \
             a.example.com -A -o yaml`; `policyctl uninstall --finalizers-only` removes that of the operator"
        );
    }

    #[test]
    fn versions_from_1_34_are_supported() {
        for (version, expected) in [
            ("v1.34.0", Some(true)),
            ("v1.36.3+k3s1", Some(true)),
            ("v1.33.9-eks-1a2b", Some(false)),
            ("v2.0.0", Some(true)),
            ("unknown", None),
        ] {
            assert_eq!(is_supported(version), expected, "{version}");
        }
    }
}
