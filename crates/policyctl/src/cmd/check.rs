//! `policyctl check`

use std::time::Instant;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::PostParams;
use policy_core::api::{self, GROUP};
use serde::Serialize;

use crate::cli::Global;
use crate::cluster::{self, Cluster, ClusterError, ErrorKind};
use crate::exit::Exit;
use crate::output::{self, Output};

const EXAMPLES: &str = "\
Examples:
  policyctl check               the cluster of the current context, rights in all namespaces
  policyctl check -n shop       rights in one namespace
  policyctl check -o json

Exits with 3 where the cluster cannot be reached or does not let pods be listed, which is all that
analyze needs; what other commands need is only told.
Output: table (default), json, yaml.";

/// The oldest minor version of Kubernetes 1 that is supported.
const OLDEST_MINOR: u32 = 33;
const CRDS: &str = "customresourcedefinitions";
const CRD_GROUP: &str = "apiextensions.k8s.io";
const WEBHOOKS: &str = "validatingwebhookconfigurations";
const WEBHOOK_GROUP: &str = "admissionregistration.k8s.io";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

/// Everything that a command of policyctl asks a cluster for; docs/policyctl.md names the same.
const NEEDS: [Need; 13] = [
    Need::new("analyze, explain, preview, list pods", "list", "", "pods", true),
    Need::new("-A, where pods are refused somewhere", "list", "", "namespaces", false),
    Need::new("-n, when there are no pods", "get", "", "namespaces", false),
    Need::new("admit, export, diff, preview", "list", GROUP, "devopspolicies", true),
    Need::new("explain, import", "get", GROUP, "devopspolicies", true),
    Need::new("import", "create", GROUP, "devopspolicies", true),
    Need::new("import", "patch", GROUP, "devopspolicies", true),
    Need::new("check, crd install", "get", CRD_GROUP, CRDS, false),
    Need::new("crd install", "create", CRD_GROUP, CRDS, false),
    Need::new("crd install", "patch", CRD_GROUP, CRDS, false),
    Need::new("webhook install-config", "get", WEBHOOK_GROUP, WEBHOOKS, false),
    Need::new("webhook install-config", "create", WEBHOOK_GROUP, WEBHOOKS, false),
    Need::new("webhook install-config", "patch", WEBHOOK_GROUP, WEBHOOKS, false),
];

/// A right that commands need.
struct Need {
    commands: &'static str,
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    is_namespaced: bool,
}

impl Need {
    const fn new(
        commands: &'static str,
        verb: &'static str,
        group: &'static str,
        resource: &'static str,
        is_namespaced: bool,
    ) -> Self {
        Self { commands, verb, group, resource, is_namespaced }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    context: String,
    server: String,
    /// `null` where the server does not tell.
    version: Option<String>,
    /// `null` where the version is not known.
    is_supported: Option<bool>,
    definitions: Vec<Definition>,
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
    /// Whether it is the one that this policyctl would install; `null` where it may not be read.
    is_current: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Permission {
    commands: &'static str,
    verb: &'static str,
    resource: String,
    is_allowed: bool,
}

pub(crate) fn run(_: &Args, global: &Global) -> anyhow::Result<Exit> {
    let form = global.output(&[Output::Table, Output::Json, Output::Yaml])?;
    let report = cluster::run(async {
        let start = Instant::now();
        let cluster = global.target.connect().await?;
        global.console().detail(format_args!("{cluster} answered in {:.1?}", start.elapsed()));
        Ok(check(&cluster, global.target.namespace.as_deref()).await?)
    })?;
    match form {
        Output::Json => output::result(&(serde_json::to_string_pretty(&report)? + "\n"))?,
        Output::Yaml => output::result(&output::yaml(&report)?)?,
        _ => output::result(&table(&report))?,
    }
    let may_analyze = report.permissions.first().is_some_and(|first| first.is_allowed);
    Ok(if may_analyze { Exit::Fine } else { Exit::Cluster })
}

async fn check(cluster: &Cluster, namespace: Option<&str>) -> Result<Report, ClusterError> {
    let mut definitions = Vec::new();
    for crd in api::crds() {
        definitions.push(definition(cluster, &crd).await?);
    }
    let mut permissions = Vec::new();
    for need in &NEEDS {
        permissions.push(permission(cluster, need, namespace).await?);
    }
    Ok(Report {
        context: cluster.context.clone(),
        server: cluster.server.clone(),
        version: cluster.version.clone(),
        is_supported: cluster.version.as_deref().and_then(is_supported),
        definitions,
        namespace: namespace.map(str::to_owned),
        permissions,
    })
}

/// `None` where the version is not one of Kubernetes.
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
            Ok(Definition { name, versions, is_current })
        }
        Err(error) if error.kind == ErrorKind::NotFound => {
            Ok(Definition { name, versions: Vec::new(), is_current: None })
        }
        // Who may not read definitions may still ask what is served.
        Err(error) if error.kind == ErrorKind::Forbidden => {
            let versions = served_versions(cluster, &ours.spec.names.plural).await?;
            Ok(Definition { name, versions, is_current: None })
        }
        Err(error) => Err(error),
    }
}

async fn served_versions(cluster: &Cluster, plural: &str) -> Result<Vec<String>, ClusterError> {
    let client = cluster.client();
    let served = client.list_api_group_resources(api::API_VERSION);
    match cluster.call("cannot discover what is served", served).await {
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

async fn permission(
    cluster: &Cluster,
    need: &Need,
    namespace: Option<&str>,
) -> Result<Permission, ClusterError> {
    let Need { commands, verb, group, resource, is_namespaced } = *need;
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: text(verb),
                group: text(group),
                resource: text(resource),
                namespace: namespace.filter(|_| is_namespaced).map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client());
    let operation = format!("cannot ask whether {verb} {resource} is allowed");
    let answer = cluster.call(&operation, api.create(&PostParams::default(), &review)).await?;
    let resource = match group {
        "" => resource.to_owned(),
        group => format!("{resource}.{group}"),
    };
    let is_allowed = answer.status.is_some_and(|status| status.allowed);
    Ok(Permission { commands, verb, resource, is_allowed })
}

fn table(report: &Report) -> String {
    let version = report.version.as_deref().unwrap_or("not told");
    let support = match report.is_supported {
        Some(true) => format!("supported (1.{OLDEST_MINOR} and newer)"),
        Some(false) => format!("NOT SUPPORTED: 1.{OLDEST_MINOR} or newer is needed"),
        None => "not known to be supported".to_owned(),
    };
    let mut rows = vec![
        vec!["Context".to_owned(), report.context.clone()],
        vec!["Server".to_owned(), report.server.clone()],
        vec!["Version".to_owned(), format!("{version}, {support}")],
    ];
    for definition in &report.definitions {
        let state = match (definition.versions.as_slice(), definition.is_current) {
            ([], _) => "not installed; see `policyctl crd install`".to_owned(),
            (versions, Some(true)) => format!("{}, up to date", versions.join(", ")),
            (versions, Some(false)) => {
                let versions = versions.join(", ");
                format!(
                    "{versions}, but another one than this policyctl's; see `policyctl crd install`"
                )
            }
            (versions, None) => versions.join(", "),
        };
        rows.push(vec!["Definition".to_owned(), format!("{}: {state}", definition.name)]);
    }
    let place = match &report.namespace {
        Some(namespace) => format!("namespace {namespace}"),
        None => "all namespaces".to_owned(),
    };
    let mut permissions = vec![["ALLOWED", "VERB", "RESOURCE", "FOR"].map(str::to_owned).to_vec()];
    permissions.extend(report.permissions.iter().map(|permission| {
        let Permission { commands, verb, resource, is_allowed } = permission;
        let is_allowed = if *is_allowed { "yes" } else { "no" };
        [is_allowed, verb, resource, commands].map(str::to_owned).to_vec()
    }));
    let (facts, permissions) = (output::columns(&rows), output::columns(&permissions));
    format!("{facts}\nPermissions in {place}\n\n{permissions}")
}

#[cfg(test)]
mod tests {
    use super::is_supported;

    #[test]
    fn versions_from_1_33_are_supported() {
        for (version, expected) in [
            ("v1.33.0", Some(true)),
            ("v1.36.3+k3s1", Some(true)),
            ("v1.32.9-eks-1a2b", Some(false)),
            ("v2.0.0", Some(true)),
            ("unknown", None),
        ] {
            assert_eq!(is_supported(version), expected, "{version}");
        }
    }
}
