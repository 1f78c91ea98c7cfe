//! `policyctl observability`

use policy_manifests::monitoring::{INTERVAL, prometheus_rule, service_monitors};
use policy_manifests::{Object, dashboard};

use crate::exit::Exit;
use crate::global::Global;
use crate::output::{self, Output};

const ALL_EXAMPLES: &str = "\
Examples:
  policyctl observability generate-all | kubectl apply --server-side -f -
  policyctl observability generate-all --label release=monitoring | kubectl apply --server-side -f -

Prints all that follows, for an installation by `policyctl deploy` or kustomize. The Helm chart makes
the same objects; all but the dashboard only where the cluster has the Prometheus operator.
Output: yaml (default), json.";

const SERVICE_MONITORS_EXAMPLES: &str = "\
Examples:
  policyctl observability generate-service-monitors --interval 30s | kubectl apply --server-side -f -

Prints a ServiceMonitor for each service. It verifies the webhook by the authority of its
self-managed certificate. Many a Prometheus takes only ServiceMonitors with certain labels: `kubectl get
prometheus -A -o yaml` shows its serviceMonitorSelector.
Output: yaml (default), json.";

const RULES_EXAMPLES: &str = "\
Examples:
  policyctl observability generate-rules --label release=monitoring | kubectl apply --server-side -f -
  policyctl observability generate-rules -o json | jq '.items[0].spec' > kube-devops.rules.json

Prints the PrometheusRule with all alerts, each with a link to its runbook (docs/runbooks.md). A
Prometheus without the operator reads the part below spec as a file of rules: JSON is YAML.
Output: yaml (default), json.";

const DASHBOARD_EXAMPLES: &str = "\
Examples:
  policyctl observability generate-dashboard | kubectl apply --server-side -f -
  policyctl observability generate-dashboard --raw > dashboard.json

Prints a ConfigMap with the Grafana dashboard, and the label by which the sidecar of Grafana's chart
finds it. With --raw only the dashboard: to import it in Grafana, to provision it as a file, or for
the field `json` of the Grafana operator's GrafanaDashboard.
Output: yaml (default), json.";

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Print all objects that connect an installation to its monitoring
    #[command(name = "generate-all", after_help = ALL_EXAMPLES)]
    All {
        #[command(flatten)]
        scrape: Scrape,
        #[command(flatten)]
        selected: Selected,
    },
    /// Print what tells the Prometheus operator to scrape the services
    #[command(name = "generate-service-monitors", after_help = SERVICE_MONITORS_EXAMPLES)]
    ServiceMonitors {
        #[command(flatten)]
        scrape: Scrape,
        #[command(flatten)]
        selected: Selected,
    },
    /// Print the alerts
    #[command(name = "generate-rules", after_help = RULES_EXAMPLES)]
    Rules {
        #[command(flatten)]
        selected: Selected,
    },
    /// Print the Grafana dashboard
    #[command(name = "generate-dashboard", after_help = DASHBOARD_EXAMPLES)]
    Dashboard {
        /// Only the dashboard, as Grafana imports it
        #[arg(long)]
        raw: bool,
    },
}

#[derive(clap::Args)]
pub(crate) struct Scrape {
    /// Time between two scrapes
    #[arg(long, value_name = "DURATION", default_value = INTERVAL)]
    interval: String,
}

#[derive(clap::Args)]
pub(crate) struct Selected {
    /// A label by which Prometheus selects the objects; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
}

impl Scrape {
    fn objects(&self, selected: &Selected) -> Vec<Object> {
        let all = service_monitors(&self.interval).into_iter();
        all.map(|monitor| monitor.labelled(&selected.labels).into()).collect()
    }
}

pub(crate) fn run(command: &Command, global: &Global) -> anyhow::Result<Exit> {
    let objects = match command {
        Command::All { scrape, selected } => {
            [scrape.objects(selected), rules(selected), dashboard_object()?].concat()
        }
        Command::ServiceMonitors { scrape, selected } => scrape.objects(selected),
        Command::Rules { selected } => rules(selected),
        Command::Dashboard { raw: true } => {
            global.output(&[Output::Yaml, Output::Json], &[])?;
            output::result(&dashboard::json()?)?;
            return Ok(Exit::Fine);
        }
        Command::Dashboard { raw: false } => dashboard_object()?,
    };
    global.print_objects(&objects)?;
    Ok(Exit::Fine)
}

fn rules(selected: &Selected) -> Vec<Object> {
    vec![prometheus_rule().labelled(&selected.labels).into()]
}

fn dashboard_object() -> anyhow::Result<Vec<Object>> {
    Ok(vec![dashboard::config_map()?.into()])
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("no `=`: give KEY=VALUE")?;
    if key.is_empty() {
        return Err("no key: give KEY=VALUE".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}
