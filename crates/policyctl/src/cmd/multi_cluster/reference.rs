//! How clusters differ from one of them: policies, webhook configurations, versions, and images of
//! the services.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Resource};
use policy_core::api;
use policy_core::installation::{NAMESPACE, WEBHOOK_CONFIGURATION};
use policy_core::report::{ClusterComparison, Difference, DifferenceKind, DifferenceState};
use policy_manifests::{PART_OF, PLATFORM};
use serde_json::Value;
use similar::TextDiff;

use crate::cluster::pages::{self, Page};
use crate::cluster::write::get;
use crate::cluster::{Cluster, ClusterError};
use crate::output;
use crate::policies::PolicyApi;

/// What is compared of a cluster, and what could not be read of it.
#[derive(Default)]
pub(super) struct Facts {
    facts: BTreeMap<(DifferenceKind, String), Fact>,
    gaps: Vec<(DifferenceKind, String)>,
}

/// What is compared, as text.
#[derive(PartialEq, Eq)]
enum Fact {
    /// A short text, such as a version.
    Word(String),
    /// Lines of YAML.
    Lines(String),
    /// A text too long to show its differences.
    Long(String),
}

impl Facts {
    pub(super) async fn read(cluster: &Cluster) -> Self {
        let mut facts = Self::default();
        let version = cluster.version.clone().unwrap_or_else(|| "hidden".to_owned());
        facts.add(DifferenceKind::Version, "Kubernetes", Fact::Word(version));
        for crd in api::crds() {
            let name = crd.metadata.name.unwrap_or_default();
            let found = object::<CustomResourceDefinition>(cluster, &name).await;
            let fact = |crd: DynamicObject| Fact::Long(crd.data["spec"]["versions"].to_string());
            facts.take(DifferenceKind::Definition, &name, found.map(|found| found.map(fact)));
        }
        let validating = object::<ValidatingWebhookConfiguration>(cluster, WEBHOOK_CONFIGURATION);
        let mutating = object::<MutatingWebhookConfiguration>(cluster, WEBHOOK_CONFIGURATION);
        let (validating, mutating) = (validating.await, mutating.await);
        let service = validating.as_ref().ok().and_then(Option::as_ref).and_then(service_namespace);
        for (kind, found) in [("Validating", validating), ("Mutating", mutating)] {
            let name = format!("{kind}WebhookConfiguration/{WEBHOOK_CONFIGURATION}");
            let fact = found.map(|found| found.map(|object| webhooks(&object)));
            facts.take(DifferenceKind::WebhookConfiguration, &name, fact);
        }
        facts.add_policies(cluster).await;
        facts.add_images(cluster, service.as_deref().unwrap_or(NAMESPACE)).await;
        facts
    }

    fn add(&mut self, kind: DifferenceKind, name: &str, fact: Fact) {
        self.facts.insert((kind, name.to_owned()), fact);
    }

    fn take(
        &mut self,
        kind: DifferenceKind,
        name: &str,
        found: Result<Option<Fact>, ClusterError>,
    ) {
        match found {
            Ok(Some(fact)) => self.add(kind, name, fact),
            Ok(None) => {}
            Err(error) => self.gaps.push((kind, format!("{name}: {}", error.reason()))),
        }
    }

    async fn add_policies(&mut self, cluster: &Cluster) {
        let kind = DifferenceKind::Policy;
        let api = match PolicyApi::find(cluster).await {
            Ok(Some(api)) => api,
            Ok(None) => return,
            Err(error) => return self.gaps.push((kind, error.to_string())),
        };
        let mut policies = api.list_cluster().await.unwrap_or_else(|error| {
            self.gaps.push((kind, error.to_string()));
            BTreeMap::new()
        });
        let mut listed = api.list(None).await;
        self.gaps.extend(listed.gaps().into_iter().map(|gap| (kind, format!("policies of {gap}"))));
        policies.append(&mut listed.policies);
        for policy in policies.into_values() {
            let name = policy.full_name();
            // Labels and annotations are those of whatever applied it.
            let text = output::yaml(&policy.canonical().spec).unwrap_or_default();
            self.add(kind, &name, Fact::Lines(text));
        }
    }

    /// The images of the Deployments of the platform.
    async fn add_images(&mut self, cluster: &Cluster, namespace: &str) {
        let kind = DifferenceKind::Image;
        let operation = format!("cannot list the Deployments of namespace {namespace}");
        let path = Deployment::url_path(&(), Some(namespace));
        let take = |page: Page<Value>| {
            let is_ours = |object: &&Value| object["metadata"]["labels"][PART_OF] == PLATFORM;
            for deployment in page.objects.iter().filter(is_ours) {
                let containers = &deployment["spec"]["template"]["spec"]["containers"];
                for container in containers.as_array().into_iter().flatten() {
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    let (of, name) =
                        (text(&deployment["metadata"]["name"]), text(&container["name"]));
                    let image = Fact::Word(text(&container["image"]));
                    self.add(kind, &format!("{of}/{name}"), image);
                }
            }
        };
        if let Err(error) = pages::read(&cluster.client(), &path, &operation, take).await {
            self.gaps.push((kind, error.to_string()));
        }
    }

    /// How a cluster differs from the reference. What one of the two could not read, is not compared.
    pub(super) fn compared_with(&self, reference: &Self, names: [&str; 2]) -> ClusterComparison {
        let gaps = || self.gaps.iter().chain(&reference.gaps);
        let keys = self.facts.keys().chain(reference.facts.keys());
        let mut keys: Vec<_> =
            keys.filter(|(kind, _)| gaps().all(|(gap, _)| gap != kind)).collect();
        keys.sort();
        keys.dedup();
        let difference = |key: &(DifferenceKind, String)| {
            let (here, there) = (self.facts.get(key), reference.facts.get(key));
            let state = match (here, there) {
                (Some(here), Some(there)) if here == there => return None,
                (Some(_), Some(_)) => DifferenceState::Different,
                (Some(_), None) => DifferenceState::OnlyHere,
                (None, _) => DifferenceState::OnlyInReference,
            };
            let (kind, name) = key.clone();
            Some(Difference { kind, name, state, detail: detail(here, there, names) })
        };
        let not_compared = self.gaps.iter().map(|(_, gap)| gap.clone()).collect();
        ClusterComparison {
            differences: keys.into_iter().filter_map(difference).collect(),
            not_compared,
        }
    }
}

/// The difference, as far as it can be shown.
fn detail(here: Option<&Fact>, there: Option<&Fact>, [name, reference]: [&str; 2]) -> String {
    match (here, there) {
        (Some(Fact::Word(here)), Some(Fact::Word(there))) => {
            format!("{here}, in {reference} {there}")
        }
        (Some(Fact::Word(word)), None) | (None, Some(Fact::Word(word))) => word.clone(),
        (Some(Fact::Lines(here)), Some(Fact::Lines(there))) => {
            let diff = TextDiff::from_lines(there, here);
            diff.unified_diff().context_radius(0).header(reference, name).to_string()
        }
        (Some(Fact::Long(_)), Some(Fact::Long(_))) => "of another release".to_owned(),
        _ => String::new(),
    }
}

/// An object of the cluster without a namespace; `None` where there is none of that name.
async fn object<K: Resource<DynamicType = ()>>(
    cluster: &Cluster,
    name: &str,
) -> Result<Option<DynamicObject>, ClusterError> {
    let api = Api::all_with(cluster.client(), &ApiResource::erase::<K>(&()));
    get(cluster, &api, name, "cannot read it").await
}

/// The webhooks of a configuration without their authority, which each cluster has of its own.
fn webhooks(configuration: &DynamicObject) -> Fact {
    let mut webhooks = configuration.data["webhooks"].clone();
    for webhook in webhooks.as_array_mut().into_iter().flatten() {
        if let Some(client) = webhook["clientConfig"].as_object_mut() {
            client.remove("caBundle");
        }
    }
    Fact::Lines(output::yaml(&webhooks).unwrap_or_default())
}

/// The namespace of the Service of the webhook, where the services run.
fn service_namespace(configuration: &DynamicObject) -> Option<String> {
    let client = &configuration.data["webhooks"][0]["clientConfig"];
    client["service"]["namespace"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(facts: &[(DifferenceKind, &str, Fact)], gaps: &[(DifferenceKind, &str)]) -> Facts {
        let mut all = Facts::default();
        for (kind, name, fact) in facts {
            let fact = match fact {
                Fact::Word(text) => Fact::Word(text.clone()),
                Fact::Lines(text) => Fact::Lines(text.clone()),
                Fact::Long(text) => Fact::Long(text.clone()),
            };
            all.add(*kind, name, fact);
        }
        all.gaps = gaps.iter().map(|(kind, gap)| (*kind, (*gap).to_owned())).collect();
        all
    }

    #[test]
    fn what_differs_is_named_and_what_was_not_read_is_no_difference() {
        use DifferenceKind::{Definition, Image, Policy, Version};
        let word = |text: &str| Fact::Word(text.to_owned());
        let lines = |text: &str| Fact::Lines(text.to_owned());
        let long = |text: &str| Fact::Long(text.to_owned());
        let reference = facts(
            &[
                (Version, "Kubernetes", word("v1.37.2")),
                (Definition, "d", long("[1]")),
                (Policy, "shop/same", lines("a: 1\n")),
                (Policy, "shop/gone", lines("a: 1\n")),
                (Policy, "shop/other", lines("a: 1\nb: 2\n")),
                (Image, "policy-webhook/main", word("r/webhook:0.1.0")),
            ],
            &[],
        );
        let here = facts(
            &[
                (Version, "Kubernetes", word("v1.36.0")),
                (Definition, "d", long("[2]")),
                (Policy, "shop/same", lines("a: 1\n")),
                (Policy, "shop/new", lines("a: 1\n")),
                (Policy, "shop/other", lines("a: 1\nb: 3\n")),
            ],
            &[(Image, "cannot list the Deployments: forbidden")],
        );
        let ClusterComparison { differences, not_compared } =
            here.compared_with(&reference, ["west", "east"]);
        let found: Vec<(&str, DifferenceState, &str)> =
            differences.iter().map(|d| (&*d.name, d.state, &*d.detail)).collect();
        let diff = "--- east\n+++ west\n@@ -2 +2 @@\n-b: 2\n+b: 3\n";
        assert_eq!(
            found,
            [
                ("Kubernetes", DifferenceState::Different, "v1.36.0, in east v1.37.2"),
                ("d", DifferenceState::Different, "of another release"),
                ("shop/gone", DifferenceState::OnlyInReference, ""),
                ("shop/new", DifferenceState::OnlyHere, ""),
                ("shop/other", DifferenceState::Different, diff),
            ]
        );
        assert_eq!(not_compared, ["cannot list the Deployments: forbidden"]);
        let same = reference.compared_with(&reference, ["east", "east"]);
        assert_eq!(same, ClusterComparison::default());
    }

    #[test]
    fn the_authority_of_a_webhook_is_not_compared() {
        let configuration = |bundle: &str, policy: &str| {
            let object = serde_json::json!({
                "metadata": { "name": "w" },
                "webhooks": [{
                    "clientConfig": { "caBundle": bundle, "service": { "namespace": "platform" } },
                    "failurePolicy": policy,
                }],
            });
            serde_json::from_value::<DynamicObject>(object).unwrap()
        };
        let one = configuration("YQ==", "Ignore");
        assert!(webhooks(&one) == webhooks(&configuration("Yg==", "Ignore")));
        assert!(webhooks(&one) != webhooks(&configuration("YQ==", "Fail")));
        assert_eq!(service_namespace(&one).as_deref(), Some("platform"));
    }
}
