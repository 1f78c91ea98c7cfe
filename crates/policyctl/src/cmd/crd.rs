//! `policyctl crd`

use std::time::{Duration, Instant};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use policy_core::api::{self, API_VERSION};
use serde_json::Value;

use crate::cli::Global;
use crate::cluster::write::{Apply, get};
use crate::cluster::{self, Cluster, ClusterError, ErrorKind};
use crate::exit::Exit;
use crate::output;

const GENERATE_EXAMPLES: &str = "\
Examples:
  policyctl crd generate | kubectl apply --server-side -f -";

const INSTALL_EXAMPLES: &str = "\
Examples:
  policyctl crd install
  policyctl crd install --force-conflicts   take over from kubectl, Helm or Argo CD

Applies the definitions under the field manager `policyctl` and waits until the API server serves
them. Definitions are changed in place, never deleted, so stored policies stay.";

/// How long the API server may take to serve a definition.
const ESTABLISHED: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Print the custom resource definitions as YAML
    #[command(after_help = GENERATE_EXAMPLES)]
    Generate,
    /// Install the custom resource definitions, or bring them up to date
    #[command(after_help = INSTALL_EXAMPLES)]
    Install {
        /// Take over fields that somebody else set
        #[arg(long)]
        force_conflicts: bool,
    },
}

pub(crate) fn run(command: &Command, global: &Global) -> anyhow::Result<Exit> {
    match command {
        Command::Generate => {
            let documents: Result<Vec<String>, _> = api::crds().iter().map(output::yaml).collect();
            output::result(&documents?.join("---\n"))?;
        }
        Command::Install { force_conflicts } => cluster::run(install(global, *force_conflicts))?,
    }
    Ok(Exit::Fine)
}

async fn install(global: &Global, force: bool) -> anyhow::Result<()> {
    let cluster = global.target.connect().await?;
    let resource = ApiResource::erase::<CustomResourceDefinition>(&());
    let api: Api<DynamicObject> = Api::all_with(cluster.client(), &resource);
    for crd in api::crds() {
        let name = crd.metadata.name.clone().unwrap_or_default();
        let mut object = serde_json::to_value(&crd)?;
        // The status is the server's.
        object.as_object_mut().map(|fields| fields.remove("status"));
        let done = apply(&cluster, &api, &name, &object, force).await?;
        output::result(&format!("{done:<9}  {name}\n"))?;
        wait_until_established(&cluster, &api, &name).await?;
    }
    wait_until_served(&cluster).await?;
    global.console().note(format_args!("the API server serves {API_VERSION}"));
    Ok(())
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
        // Names that another definition has already are refused for good.
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

/// Discovery follows a moment later, and `kubectl apply` of a policy depends on it.
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
