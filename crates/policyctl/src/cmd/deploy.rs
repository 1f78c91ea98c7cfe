//! `policyctl deploy`

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use policy_core::api;
use policy_manifests::admission::{Admission, Server};
use policy_manifests::{
    COMPONENTS, Component, Object, Settings, namespace, open_reports, remediation, user_roles,
};
use serde::Serialize;

use crate::exit::Exit;
use crate::global::Global;

const ALL_EXAMPLES: &str = "\
Examples:
  policyctl deploy generate-all | kubectl apply --server-side -f -
  policyctl deploy generate-all --image-repository registry.example.com/platform --image-tag 0.1.0
  policyctl deploy generate-all --enforcement | kubectl diff --server-side -f -

Prints everything that an installation consists of: the custom resource definitions, the namespace
kube-devops, the services with their rights, and the webhook configuration. The webhook issues its
own certificate. The Helm chart renders the same objects by default.
Output: yaml (default), json.";

const RBAC_EXAMPLES: &str = "\
Examples:
  policyctl deploy generate-rbac | less
  policyctl deploy generate-rbac --enforcement | kubectl apply --server-side -f -

Prints the ServiceAccounts, their roles and bindings, the admission policies that limit them, and
the roles of namespace users. With --enforcement also the rights of enforce mode, with
--open-reports the right to write Reports of openreports.io.
Output: yaml (default), json.";

const DEPLOYMENTS_EXAMPLES: &str = "\
Examples:
  policyctl deploy generate-deployments --replicas 1

Prints the Deployments, the Services, the Secret of the webhook's certificate, which is empty, and
the disruption budgets, which a component of one replica does not have.
Output: yaml (default), json.";

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Print all objects of an installation
    #[command(name = "generate-all", after_help = ALL_EXAMPLES)]
    All {
        #[command(flatten)]
        run: Run,
        #[command(flatten)]
        enforcement: Enforcement,
        #[command(flatten)]
        reports: Reports,
    },
    /// Print the rights of the services and of namespace users
    #[command(name = "generate-rbac", after_help = RBAC_EXAMPLES)]
    Rbac {
        #[command(flatten)]
        enforcement: Enforcement,
        #[command(flatten)]
        reports: Reports,
    },
    /// Print the Deployments and what they need
    #[command(name = "generate-deployments", after_help = DEPLOYMENTS_EXAMPLES)]
    Deployments {
        #[command(flatten)]
        run: Run,
        #[command(flatten)]
        reports: Reports,
    },
}

#[derive(clap::Args)]
pub(crate) struct Run {
    /// Where the images are: REPOSITORY/policy-watcher and so on
    #[arg(long, value_name = "REPOSITORY", default_value_t = Settings::default().image_repository)]
    image_repository: String,

    /// The tag of the images
    #[arg(long, value_name = "TAG", default_value_t = Settings::default().image_tag)]
    image_tag: String,

    /// Pods of each service
    #[arg(
        long, value_name = "NUMBER", default_value_t = Settings::default().replicas,
        value_parser = clap::value_parser!(u16).range(1..=100)
    )]
    replicas: u16,
}

impl Run {
    fn settings(&self, Reports { open_reports }: Reports) -> Settings {
        Settings {
            image_repository: self.image_repository.clone(),
            image_tag: self.image_tag.clone(),
            replicas: self.replicas,
            open_reports,
        }
    }
}

#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Enforcement {
    /// With what enforce mode needs: the rights to patch workloads, and the mutating webhook
    /// configuration
    #[arg(long)]
    enforcement: bool,
}

#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Reports {
    /// With Reports of openreports.io: the operator's right to write them, and its setting
    #[arg(long)]
    open_reports: bool,
}

/// An object of an installation.
#[derive(Serialize)]
#[serde(untagged)]
enum Installed {
    Definition(Box<CustomResourceDefinition>),
    Object(Box<Object>),
}

pub(crate) fn run(command: &Command, global: &Global) -> anyhow::Result<Exit> {
    match command {
        Command::All { run, enforcement, reports } => {
            let objects = all(&run.settings(*reports), *enforcement);
            let definitions = api::crds().into_iter().map(|crd| Installed::Definition(crd.into()));
            let objects = objects.into_iter().map(|object| Installed::Object(object.into()));
            global.print_objects(&definitions.chain(objects).collect::<Vec<_>>())?;
        }
        Command::Rbac { enforcement, reports } => {
            global.print_objects(&rights(*enforcement, reports.open_reports))?;
        }
        Command::Deployments { run, reports } => {
            global.print_objects(&running(&run.settings(*reports)))?;
        }
    }
    Ok(Exit::Fine)
}

/// What an installation can consist of, beside the custom resource definitions, in the order of
/// installation.
pub(crate) fn everything() -> Vec<Object> {
    let settings = Settings { open_reports: true, ..Settings::default() };
    all(&settings, Enforcement { enforcement: true })
}

fn all(settings: &Settings, enforcement: Enforcement) -> Vec<Object> {
    let mut objects = vec![namespace()];
    objects.extend(rights(enforcement, settings.open_reports));
    objects.extend(running(settings));
    objects.extend(configurations(enforcement));
    objects
}

fn rights(Enforcement { enforcement }: Enforcement, has_reports: bool) -> Vec<Object> {
    let mut rights: Vec<Object> = COMPONENTS.iter().flat_map(Component::rights).collect();
    rights.extend(user_roles());
    if enforcement {
        rights.extend(remediation());
    }
    if has_reports {
        rights.extend(open_reports());
    }
    rights
}

fn running(settings: &Settings) -> Vec<Object> {
    COMPONENTS.iter().flat_map(|component| component.run(settings)).collect()
}

/// The webhook adds `caBundle`.
fn configurations(Enforcement { enforcement }: Enforcement) -> Vec<Object> {
    let server = Server::installed();
    let admission = Admission { server, authority: None, excluded: Vec::new(), kinds: Vec::new() };
    let mut configurations = vec![admission.configuration().into()];
    if enforcement {
        configurations.push(admission.mutating_configuration().into());
    }
    configurations
}
