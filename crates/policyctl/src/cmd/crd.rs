//! `policyctl crd`

use std::time::{Duration, Instant};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use policy_core::api::{self, API_VERSION};
use serde::Serialize;
use serde_json::Value;

use crate::cluster::write::{Apply, get};
use crate::cluster::{self, Cluster, ClusterError, ErrorKind};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::output::{self, Output};

const GENERATE_EXAMPLES: &str = "\
Examples:
  policyctl crd generate | kubectl apply --server-side -f -

Output: yaml (default), json.";

const INSTALL_EXAMPLES: &str = "\
Examples:
  policyctl crd install
  policyctl crd install --force-conflicts   take over from kubectl, Helm or Argo CD

Applies the definitions with the field manager `policyctl` and waits until the API server serves
them. Definitions are updated in place and never deleted, so stored policies stay.
Output: table (default), json, yaml.";

/// The deadline until the API server serves a definition.
const ESTABLISHED: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Print the custom resource definitions
    #[command(after_help = GENERATE_EXAMPLES)]
    Generate,
    /// Install or update the custom resource definitions
    #[command(after_help = INSTALL_EXAMPLES)]
    Install {
        /// Take over fields that another field manager set
        #[arg(long)]
        force_conflicts: bool,
    },
}

pub(crate) fn run(command: &Command, global: &Global) -> anyhow::Result<Exit> {
    match command {
        Command::Generate => global.print_objects(&api::crds())?,
        Command::Install { force_conflicts } => {
            let formats = [Output::Table, Output::Json, Output::Yaml];
            let format = global.output(&formats, &[Scope::Kubeconfig, Scope::Context])?;
            let rows = cluster::run(install(global, *force_conflicts))?;
            output::value(&rows, format, || table(&rows))?;
            global.console().note(format_args!("the API server serves {API_VERSION}"));
        }
    }
    Ok(Exit::Fine)
}

/// The result for a definition.
#[derive(Serialize)]
struct Row {
    name: String,
    outcome: &'static str,
}

fn table(rows: &[Row]) -> String {
    let cells = |row: &Row| vec![format!("{:<9}", row.outcome), row.name.clone()];
    output::columns(&rows.iter().map(cells).collect::<Vec<_>>())
}

async fn install(global: &Global, force: bool) -> anyhow::Result<Vec<Row>> {
    let cluster = global.target.connect().await?;
    let resource = ApiResource::erase::<CustomResourceDefinition>(&());
    let api: Api<DynamicObject> = Api::all_with(cluster.client(), &resource);
    let mut rows = Vec::new();
    for crd in api::crds() {
        let name = crd.metadata.name.clone().unwrap_or_default();
        let mut object = serde_json::to_value(&crd)?;
        // The server sets the status.
        object.as_object_mut().map(|fields| fields.remove("status"));
        let outcome = apply(&cluster, &api, &name, &object, force).await?;
        wait_until_established(&cluster, &api, &name).await?;
        rows.push(Row { name, outcome });
    }
    wait_until_served(&cluster).await?;
    Ok(rows)
}

async fn apply(
    cluster: &Cluster,
    api: &Api<DynamicObject>,
    name: &str,
    object: &Value,
    force: bool,
) -> Result<&'static str, ClusterError> {
    let before = get(cluster, api, name, &format!("cannot read {name}")).await?;
    let operation = format!("cannot apply {name}");
    let apply = Apply { dry_run: false, force };
    let after = apply.apply(cluster, api, name, object, &operation).await?;
    let version = |object: &DynamicObject| object.metadata.resource_version.clone();
    Ok(match before {
        None => "created",
        Some(before) if version(&before) == version(&after) => "unchanged",
        Some(_) => "changed",
    })
}

async fn wait_until_established(
    cluster: &Cluster,
    api: &Api<DynamicObject>,
    name: &str,
) -> Result<(), ClusterError> {
    let operation = format!("{name} is not served");
    let start = Instant::now();
    loop {
        let found = get(cluster, api, name, &operation).await?;
        let conditions = found.map(|found| conditions(&found)).unwrap_or_default();
        let is = |wanted: &str| conditions.iter().find(|condition| condition["type"] == wanted);
        if is("Established").is_some_and(|condition| condition["status"] == "True") {
            return Ok(());
        }
        // Another definition has these names already; this does not change by waiting.
        if let Some(refused) = is("NamesAccepted").filter(|c| c["status"] == "False") {
            let reason = refused["message"].as_str().unwrap_or_default();
            return Err(ClusterError::configuration(operation, reason));
        }
        if start.elapsed() > ESTABLISHED {
            return Err(ClusterError::timeout(operation, ESTABLISHED));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn conditions(crd: &DynamicObject) -> Vec<Value> {
    crd.data["status"]["conditions"].as_array().cloned().unwrap_or_default()
}

/// Discovery, which `kubectl apply` of a policy depends on, follows a moment later.
async fn wait_until_served(cluster: &Cluster) -> Result<(), ClusterError> {
    let operation = format!("{API_VERSION} is not served");
    let start = Instant::now();
    loop {
        let client = cluster.client();
        let served = cluster.call(&operation, client.list_api_group_resources(API_VERSION)).await;
        match served {
            Ok(list) if list.resources.len() >= api::crds().len() => return Ok(()),
            Err(error) if error.kind == ErrorKind::Forbidden => return Ok(()),
            Err(error) if error.kind != ErrorKind::NotFound => return Err(error),
            _ if start.elapsed() > ESTABLISHED => {
                return Err(ClusterError::timeout(operation, ESTABLISHED));
            }
            _ => tokio::time::sleep(POLL).await,
        }
    }
}
