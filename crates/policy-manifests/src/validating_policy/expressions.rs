//! The checks as CEL expressions.
//!
//! The API server has filled in the defaults of an object, and refused what is no quantity, before
//! an expression sees it. Objects are `dyn`: the expressions are for all kinds, and the API server
//! would warn of the fields that a kind has not.

use k8s_openapi::api::admissionregistration::v1::Variable;
use policy_core::checks::CheckId;
use policy_core::policy::{CompiledExemption, Exemptions};

/// A check as expressions on `c`, a member of `variables.containers`.
pub(super) struct Rule {
    check: &'static str,
    /// Whether the container has the finding.
    finds: fn() -> String,
    /// Whether `o`, the container of that name and role in the old object, has the same one.
    is_known: &'static str,
    /// What was found, as in the messages of the webhook.
    text: &'static str,
}

/// The rule of a check; `None` where there is none.
pub(super) fn rule(check: CheckId) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.check == check.as_str())
}

const RULES: [Rule; 4] = [
    Rule {
        check: "latest-tag",
        finds: || format!("c.image != '' && !({})", is_pinned("string(c.image)")),
        is_known: "o.image == c.image",
        text: "'image ' + string(c.image) + ' is not pinned'",
    },
    Rule {
        check: "missing-liveness",
        finds: || "c.needsProbes && !c.hasLiveness".to_owned(),
        is_known: "o.needsProbes && !o.hasLiveness",
        text: "'missing liveness probe'",
    },
    Rule {
        check: "missing-readiness",
        finds: || "c.needsProbes && !c.hasReadiness".to_owned(),
        is_known: "o.needsProbes && !o.hasReadiness",
        text: "'missing readiness probe'",
    },
    Rule {
        check: "missing-resources",
        finds: || "c.lacks.size() > 0".to_owned(),
        is_known: "c.lacks.all(lack, lack in o.lacks)",
        text: "'missing resource requests or limits (' + c.lacks.join(', ') + ')'",
    },
];

impl Rule {
    /// The containers with a finding that the old object did not have, without exempted ones.
    pub(super) fn introduced(&self, exemptions: Option<&Exemptions>) -> String {
        let (finds, is_known) = ((self.finds)(), self.is_known);
        let counts = exemptions.map(|all| self.counts(all)).unwrap_or_default();
        format!(
            "variables.containers.filter(c, {finds} && !variables.oldContainers.exists(o, \
             o.role == c.role && o.name == c.name && {is_known}){counts})"
        )
    }

    /// That no exemption is about the finding, as a further condition; nothing where none can be.
    fn counts(&self, exemptions: &Exemptions) -> String {
        let of_check = exemptions.iter().map(|(_, exemption)| exemption).filter(|exemption| {
            CheckId::from_name(self.check).is_some_and(|check| exemption.has_check(&check.into()))
        });
        let exempted: Vec<String> = of_check.filter_map(exempted).collect();
        if exempted.is_empty() {
            String::new()
        } else {
            format!(" && !({})", exempted.join(" || "))
        }
    }

    /// The sentence on a container.
    pub(super) fn sentence(&self, remark: &str) -> String {
        let what = "(c.role == 'volume' ? 'volume ' : 'container ')";
        format!("{what} + string(c.name) + {} + {}", quoted(&format!(": {remark}")), self.text)
    }
}

/// Whether an exemption can be expressed: no expression knows the time.
pub(super) fn is_expressible(exemption: &CompiledExemption) -> bool {
    let named = exemption.workloads().named();
    exemption.ends().is_none() && named.is_some_and(|named| named.object_kind.is_some())
}

/// Whether an exemption is about `c` in the object of the request.
pub(super) fn exempted(exemption: &CompiledExemption) -> Option<String> {
    let named = exemption.workloads().named().filter(|_| is_expressible(exemption))?;
    let kind = named.object_kind?;
    let namespace =
        named.namespace.as_deref().map(|name| format!("request.namespace == {}", quoted(name)));
    let container = exemption.container().map(|name| {
        let own = "(c.role == 'volume' ? 'volumes[' + string(c.name) + ']' : string(c.name))";
        format!("{own} == {}", quoted(name))
    });
    let workload = [
        format!("request.kind.kind == '{kind}'"),
        format!("request.name == {}", quoted(&named.name)),
    ];
    let all: Vec<String> = workload.into_iter().chain(namespace).chain(container).collect();
    Some(format!("({})", all.join(" && ")))
}

/// A text as a literal. JSON's escapes are CEL's too
/// (<https://github.com/google/cel-spec/blob/master/doc/langdef.md#string-and-bytes-values>).
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The variables that the checks use: pod and containers of the new and of the old object.
pub(super) fn containers() -> Vec<Variable> {
    let variable = |name: &str, expression| Variable { name: name.to_owned(), expression };
    vec![
        variable("pod", pod("object")),
        variable("oldPod", pod("oldObject")),
        variable("containers", containers_of("variables.pod")),
        variable("oldContainers", containers_of("variables.oldPod")),
    ]
}

/// The pod spec of an object; an empty one where there is no object.
fn pod(object: &str) -> String {
    let spec = format!("dyn({object}).?spec");
    format!(
        "{object} == null ? dyn({{}}) : request.kind.kind == 'Pod' ? {spec}.orValue(dyn({{}})) : \
         request.kind.kind == 'CronJob' ? \
         {spec}.?jobTemplate.?spec.?template.?spec.orValue(dyn({{}})) : \
         {spec}.?template.?spec.orValue(dyn({{}}))"
    )
}

/// What the checks need to know of each container, with its role: the facts of `policy_core`.
fn containers_of(pod: &str) -> String {
    let pod_restarts = format!(
        "(!(request.kind.kind in ['Job', 'CronJob']) && \
         {pod}.?restartPolicy.orValue('Always') == 'Always')"
    );
    // KEP-5307: a container's own restartPolicy takes precedence.
    let restarts = format!("('restartPolicy' in c ? c.restartPolicy == 'Always' : {pod_restarts})");
    // KEP-753: an init container with restartPolicy Always runs beside the others.
    let is_sidecar = "c.?restartPolicy.orValue('') == 'Always'";
    let lacks = lacks(pod);
    let regular = container("'container'", "c.?image.orValue('')", &restarts, &lacks);
    let init = container(
        &format!("({is_sidecar} ? 'sidecar' : 'init')"),
        "c.?image.orValue('')",
        &format!("({is_sidecar} && {pod_restarts})"),
        &format!("({is_sidecar} ? {lacks} : [])"),
    );
    let ephemeral = container("'ephemeral'", "c.?image.orValue('')", "false", "[]");
    // KEP-4639: the content of an image.
    let volume = container("'volume'", "c.image.?reference.orValue('')", "false", "[]");
    let list = |field: &str| format!("{pod}.?{field}.orValue([])");
    format!(
        "{}.map(c, {regular}) + {}.map(c, {init}) + {}.map(c, {ephemeral}) + \
         {}.filter(c, 'image' in c).map(c, {volume})",
        list("containers"),
        list("initContainers"),
        list("ephemeralContainers"),
        list("volumes"),
    )
}

fn container(role: &str, image: &str, needs_probes: &str, lacks: &str) -> String {
    // The values of a map have one type.
    format!(
        "{{'role': dyn({role}), 'name': dyn(c.name), 'image': dyn({image}), \
         'needsProbes': dyn({needs_probes}), 'hasLiveness': dyn({}), 'hasReadiness': dyn({}), \
         'lacks': dyn({lacks})}}",
        has_probe("livenessProbe"),
        has_probe("readinessProbe"),
    )
}

fn has_probe(name: &str) -> String {
    format!(
        "('{name}' in c && ['httpGet', 'tcpSocket', 'exec', 'grpc'].exists(handler, \
         handler in c.{name}))"
    )
}

/// The requests and limits that a container and its pod lack. A limit sets the request that is
/// absent; a memory limit of 0 is no limit.
fn lacks(pod: &str) -> String {
    let amounts = |of: &str, list: &str| format!("{of}.?resources.?{list}.orValue({{}})");
    let has_request = |of: &str, name: &str| {
        format!("'{name}' in {} || '{name}' in {}", amounts(of, "requests"), amounts(of, "limits"))
    };
    let has_limit = |of: &str| {
        let limits = amounts(of, "limits");
        format!(
            "('memory' in {limits} && \
             quantity(string({limits}.memory)).isGreaterThan(quantity('0')))"
        )
    };
    let missing = |has: String, name: &str| format!("({has} ? [] : ['{name}'])");
    let request = |name: &str| format!("{} || {}", has_request("c", name), has_request(pod, name));
    let limit = format!("{} || {}", has_limit("c"), has_limit(pod));
    let all = [
        missing(request("cpu"), "cpu request"),
        missing(request("memory"), "memory request"),
        missing(limit, "memory limit"),
    ];
    format!("({})", all.join(" + "))
}

/// Whether a reference has a digest, or a tag other than `latest`: the grammar of
/// `policy_core::image` as regular expressions.
fn is_pinned(image: &str) -> String {
    // A first part with a point, a port or an upper-case letter before a slash is a registry.
    let word = "[a-z0-9]+";
    let part = format!("{word}(?:(?:[.]|_|__|-+){word})*");
    let part_without_point = format!("{word}(?:(?:_|__|-+){word})*");
    let label = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?";
    let host = format!("(?:{label}(?:[.]{label})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?");
    let name = format!("(?:{part}|(?:{part_without_point}|{host})/{part}(?:/{part})*)");
    let tag = "(?::[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})";
    let digest = "(?:@(?:sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}))";
    format!(
        "{image}.matches(r'^{name}{tag}?{digest}?$') && \
         {image}.split('@')[0].matches(r'^.{{1,255}}{tag}?$') && \
         ({image}.contains('@') || ({image}.matches(r':[^/]+$') && !{image}.endsWith(':latest')))"
    )
}
