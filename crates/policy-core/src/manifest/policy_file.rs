//! The policies of a file.

use serde_json::Value;

use super::decode::{Decoded, as_stored, decode};
use super::json::JsonValue;
use super::keys::KeyLines;
use super::object_type::ObjectType;
use super::parse::{ParseError, parse_every_key, parse_last_wins};
use super::reader::{Reader, Wanted};
use super::repair::repaired;
use super::{Failure, documents, lines};
use crate::api::{API_VERSION, DevOpsPolicy};
use crate::policy::{ClusterScope, CompiledPolicy};
use crate::view::Located;

/// What a file holds of policies.
#[derive(Debug, Default)]
pub struct PolicyFile {
    /// The valid policies, in their order; those of Lists included.
    pub policies: Vec<DecodedPolicy>,
    /// How many objects of other kinds there are, readable or not.
    pub others: u64,
    /// Every mistake of the other policies, at the line of its field, and what could not be read.
    pub failures: Vec<Failure>,
}

/// A valid policy of a file.
#[derive(Debug)]
pub struct DecodedPolicy {
    /// The line of the file on which it starts.
    pub line: u32,
    /// Its fields and no others, as the API server would store them.
    pub object: Value,
    /// The policy, with defaults; of a cluster policy, what any policy has.
    pub policy: DevOpsPolicy,
    /// The same, ready to judge.
    pub compiled: CompiledPolicy,
    /// Where a cluster policy applies; `None` for a policy of a namespace.
    pub scope: Option<ClusterScope>,
}

impl PolicyFile {
    /// Reads the policies of a file.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let mut file = Self::default();
        for document in documents(bytes) {
            let content = Reader::new("", Wanted::Policies(&mut file.policies)).read(&document);
            file.others += content.skipped_objects();
            file.failures.extend(content.failures);
        }
        file
    }
}

/// The policy of a file that holds exactly one, and perhaps objects of other kinds.
///
/// # Errors
/// Everything that is wrong with it: text that cannot be read, all mistakes of the policy, no
/// policy, or more than one.
pub fn read_policy(bytes: &[u8]) -> Result<DecodedPolicy, Vec<Failure>> {
    let failure =
        |line, reason: &str| vec![Failure { line, reason: reason.to_owned(), is_manifest: true }];
    let PolicyFile { policies, mut failures, .. } = PolicyFile::read(bytes);
    failures.retain(|failure| failure.is_manifest);
    let mut policies = policies.into_iter();
    match (policies.next(), policies.next()) {
        _ if !failures.is_empty() => Err(failures),
        (Some(only), None) => Ok(only),
        (None, _) => Err(failure(1, "holds no DevOpsPolicy")),
        (_, Some(second)) => Err(failure(second.line, "holds a second DevOpsPolicy; give one")),
    }
}

impl Reader<'_> {
    /// Takes a policy of JSON.
    pub(super) fn json_policy(&mut self, value: JsonValue<'_>) {
        match value.read().and_then(|object| Ok((object, value.read()?))) {
            Ok((object, keys)) => self.policy(value.line(), object, keys),
            Err(error) => self.fail(error, true),
        }
    }

    /// Takes a policy of YAML, and counts any other object.
    pub(super) fn yaml_policies(
        &mut self,
        bytes: &[u8],
        list_type: Option<&ObjectType>,
        nesting: usize,
    ) {
        let parsed = parse_last_wins::<Located<Value>>(bytes);
        if parsed.is_err()
            && let Some(repaired) = repaired(bytes)
        {
            return self.yaml_policies(repaired.as_bytes(), list_type, nesting);
        }
        let (own, line) = match &parsed {
            Ok(None) => return,
            Ok(Some(Located { value, line })) => {
                let text = |field| value.get(field).and_then(Value::as_str);
                (ObjectType::of(text("apiVersion"), text("kind")), *line)
            }
            Err(_) => {
                lines::object_type(bytes).map_or((None, 1), |(found, line)| (Some(found), line))
            }
        };
        let object_type = own.or_else(|| list_type.cloned()).unwrap_or_default();
        if object_type.is_list() {
            let not_a_list = || ParseError::mismatch(line, "expected a list".to_owned());
            let error = parsed.err().unwrap_or_else(not_a_list);
            return self.yaml_list(bytes, &object_type, nesting, error);
        }
        let is_policy = object_type.is_policy();
        match parsed {
            _ if !is_policy && object_type.is_whole() => {
                self.skip(self.file_line(line), &object_type);
            }
            Err(error) => self.fail(error, true),
            Ok(object) if is_policy => {
                let keys = parse_every_key(bytes).ok().flatten().unwrap_or_default();
                self.policy(line, object.unwrap_or_default().value, keys);
            }
            Ok(_) => self.untyped(line),
        }
    }

    /// Refuses an object that does not say what it is.
    pub(super) fn untyped(&mut self, line: u32) {
        let reason = "is no Kubernetes object: it has no apiVersion and kind".to_owned();
        self.fail(ParseError::mismatch(line, reason), false);
    }

    fn policy(&mut self, line: u32, object: Value, keys: KeyLines) {
        let object = as_stored(object);
        let at = |path: &str| keys.line(path).unwrap_or(line);
        let api_version = object["apiVersion"].as_str();
        if api_version != Some(API_VERSION) {
            let found = api_version.map_or_else(
                || "the policy has no apiVersion".to_owned(),
                |version| format!("apiVersion {version} is unknown"),
            );
            let reason = format!("{found}; use {API_VERSION}");
            return self.fail(ParseError::mismatch(at("apiVersion"), reason), true);
        }
        let (decoded, invalid) = match decode(object.clone()) {
            Ok(decoded) => (Some(decoded), Vec::new()),
            Err(invalid) => (None, invalid),
        };
        let invalid = invalid.iter().map(|field| (at(&field.path), field.to_string()));
        let mut mistakes: Vec<(u32, String)> = invalid.collect();
        mistakes.extend(keys.problems.into_iter().map(|found| (found.line, found.problem)));
        mistakes.sort();
        match decoded.filter(|_| mistakes.is_empty()) {
            Some(Decoded { policy, compiled, scope }) => {
                let line = self.file_line(line);
                if let Wanted::Policies(policies) = &mut self.wanted {
                    policies.push(DecodedPolicy { line, object, policy, compiled, scope });
                }
            }
            None => {
                for (line, reason) in mistakes {
                    self.fail(ParseError::mismatch(line, reason), true);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::DevOpsPolicySpec;
    use crate::bundle::Bundle;
    use crate::namespaces::ExcludedNamespaces;

    const HEAD: &str =
        "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata:\n  name: p\n";

    fn problems(text: &str) -> Vec<String> {
        match read_policy(text.as_bytes()) {
            Ok(_) => Vec::new(),
            Err(found) => found.iter().map(|f| format!("{}: {}", f.line, f.reason)).collect(),
        }
    }

    #[test]
    fn a_bundle_as_it_is_printed_reads_back() {
        for bundle in Bundle::all() {
            let policy = bundle.policy("shop", "p");
            let text = serde_saphyr::to_string(&policy).unwrap();
            assert_eq!(read_policy(text.as_bytes()).unwrap().policy, policy, "{}", bundle.name);
        }
    }

    #[test]
    fn unknown_fields_and_impossible_values_are_named_with_their_lines() {
        let text = format!(
            "# mine\n---\n{HEAD}  labls: {{}}\nspec:\n  forbidLatestTga: true\n  weights:\n    pending: 101\n    other: 1\n  maxRestartCount: -1\n"
        );
        assert_eq!(
            problems(&text),
            [
                "7: metadata.labls: unknown field; did you mean `labels`?",
                "9: spec.forbidLatestTga: unknown field; did you mean `forbidLatestTag`?",
                "11: spec.weights.pending: must be 0 to 100, not 101",
                "12: spec.weights.other: unknown field",
                "13: spec.maxRestartCount: must be 0 or more, not -1",
            ]
        );
    }

    #[test]
    fn values_of_the_wrong_type_are_named_with_their_line() {
        let with =
            |spec: &str| problems(&format!("{HEAD}spec:\n  forbidLatestTag: true\n  {spec}\n"));
        for (spec, words) in [
            ("requireResources: maybe", "spec.requireResources: invalid type: string"),
            ("requireResources: \"true\"", "spec.requireResources: invalid type: string"),
            ("enforcementMode: strict", "spec.enforcementMode: unknown variant `strict`"),
            ("severityOverrides: {pending: urgent}", "spec.severityOverrides.pending: unknown"),
            ("maxRestartCount: 99999999999", "expected a whole number that fits"),
            ("maxRestartCount: \"3\"", "spec.maxRestartCount: invalid type: string"),
            ("weights: [1]", "spec.weights: invalid type: sequence, expected an object"),
            ("weights: 1", "spec.weights: invalid type: integer `1`, expected an object"),
            ("defaultProbe: {}", "spec.defaultProbe: missing field `tcpPort`"),
            ("defaultResources: {cpuLimit: [1]}", "expected a quantity"),
            ("defaultResources: {cpuLimit: 1.5}", "expected a quantity"),
            ("admission: {mode: off}", "write disabled"),
            ("enforcementMode: off", "quote them"),
        ] {
            let found = with(spec);
            assert_eq!(found.len(), 1, "{spec}: {found:?}");
            assert!(found[0].starts_with("7: ") && found[0].contains(words), "{spec}: {found:?}");
        }
        assert!(with("admission: {mode: \"off\"}").is_empty());
    }

    #[test]
    fn every_mistake_is_named_at_its_line() {
        let text = format!(
            "{}spec:\n  requireResources: maybe\n  maxRestartCount: \"3\"\n  defaultProbe: {{}}\n  weights:\n    pending: x\n    latestTag: 101\n  \
             severityOverrides: {{latestTag: urgent, Pending: high}}\n  maxRestartCounts: 1\n",
            HEAD.replace("name: p", "name: on\n  namespace: 5")
        );
        let found = problems(&text);
        let starts = [
            "4: metadata.name: invalid type: boolean `true`, expected a string; bare words",
            "5: metadata.namespace: invalid type: integer `5`",
            "7: spec.requireResources: invalid type",
            "8: spec.maxRestartCount: invalid type",
            "9: spec.defaultProbe: missing field `tcpPort`",
            "11: spec.weights.pending: invalid type",
            "12: spec.weights.latestTag: must be 0 to 100, not 101",
            "13: spec.severityOverrides.Pending: unknown field; did you mean `pending`?",
            "13: spec.severityOverrides.latestTag: unknown variant `urgent`",
            "14: spec.maxRestartCounts: unknown field; did you mean `maxRestartCount`?",
        ];
        assert_eq!(found.len(), starts.len(), "{found:#?}");
        for (found, start) in found.iter().zip(starts) {
            assert!(found.starts_with(start), "{found}: {start}");
        }
    }

    #[test]
    fn mistakes_in_a_list_are_named_at_the_line_of_their_field() {
        let windows =
            |text: &str| problems(&format!("{HEAD}spec:\n  remediation:\n    windows:\n{text}"));
        let found = windows(
            "    - schedule: 0 22 * * *\n      durationSeconds: 60\n    - durationSeconds: 5\n      \
             schedule: 0 25 * * *\n      timeZone: Mars/Base\n      durationSecond: 1\n",
        );
        let starts = [
            "10: spec.remediation.windows[1].durationSeconds: must be 60 to 604800, not 5",
            "11: spec.remediation.windows[1].schedule: hour `25`: a value is from 0 to 23",
            "12: spec.remediation.windows[1].timeZone: must be a name of the IANA",
            "13: spec.remediation.windows[1].durationSecond: unknown field; did you mean `durationSeconds`?",
        ];
        assert_eq!(found.len(), starts.len(), "{found:#?}");
        for (found, start) in found.iter().zip(starts) {
            assert!(found.starts_with(start), "{found}: {start}");
        }
        for (member, start) in [
            ("{}", "7: spec.remediation.windows[1]: missing field `schedule`"),
            ("[x]", "7: spec.remediation.windows[1]: invalid type: sequence, expected an object"),
            ("5", "7: spec.remediation.windows[1]: invalid type: integer `5`"),
            (
                "{durationSeconds: x}",
                "9: spec.remediation.windows[1].durationSeconds: invalid type",
            ),
        ] {
            let text =
                format!("    - {{schedule: 0 22 * * *, durationSeconds: 60}}\n    - {member}\n");
            let found = windows(&text);
            assert!(found.len() == 1 && found[0].starts_with(start), "{member}: {found:?}");
        }
    }

    #[test]
    fn a_repeated_key_is_a_mistake() {
        let text = format!("{HEAD}spec:\n  maxRestartCount: 1\n  maxRestartCount: -1\n");
        let last = "spec.maxRestartCount: must be 0 or more, not -1";
        assert_eq!(problems(&text), ["7: `maxRestartCount` is repeated", &format!("7: {last}")]);
    }

    #[test]
    fn a_whole_number_may_have_a_point() {
        let with = |number: &str| format!("{HEAD}spec:\n  maxRestartCount: {number}\n");
        for (number, value) in [("3.0", 3), ("3", 3), ("0.3e1", 3), ("-0.0", 0)] {
            let policy = read_policy(with(number).as_bytes()).unwrap();
            assert_eq!(policy.policy.spec.max_restart_count, Some(value), "{number}");
        }
        for number in ["3.5", "1e300"] {
            let found = problems(&with(number));
            assert!(found[0].starts_with("6: spec.maxRestartCount: invalid type"), "{found:?}");
        }
    }

    #[test]
    fn json_tabs_and_many_comments_are_read_alike() {
        let json = "{\"apiVersion\": \"devops.stochastic.io/v1\", \"kind\": \"DevOpsPolicy\",\n\"spec\": {\n\"maxRestartCount\": -1}}";
        assert_eq!(problems(json), ["3: spec.maxRestartCount: must be 0 or more, not -1"]);
        let tab = format!("{HEAD}spec: {{\n\tmaxRestartCount: -1}}\n");
        assert_eq!(problems(&tab), ["6: spec.maxRestartCount: must be 0 or more, not -1"]);
        let text = format!("{HEAD}spec:\n{}  maxRestartCount: -1\n", "  # no\n".repeat(100));
        assert_eq!(problems(&text), ["106: spec.maxRestartCount: must be 0 or more, not -1"]);
    }

    #[test]
    fn null_is_a_field_that_is_not_there() {
        let text =
            format!("{HEAD}spec:\n  enforcementMode: null\n  weights:\n  forbidLatestTag: ~\n");
        assert_eq!(read_policy(text.as_bytes()).unwrap().policy.spec, DevOpsPolicySpec::default());
    }

    #[test]
    fn exactly_one_policy_is_wanted() {
        assert_eq!(problems("kind: Pod\n"), ["1: holds no DevOpsPolicy"]);
        assert_eq!(problems(""), ["1: holds no DevOpsPolicy"]);
        assert_eq!(problems("kind: [\n").len(), 1);
        let two = format!("{HEAD}spec: {{}}\n---\n{HEAD}spec: {{}}\n");
        assert_eq!(problems(&two), ["7: holds a second DevOpsPolicy; give one"]);
        let other = HEAD.replace("/v1", "/v2");
        assert_eq!(
            problems(&format!("{other}spec: {{}}\n")),
            ["1: apiVersion devops.stochastic.io/v2 is unknown; use devops.stochastic.io/v1"]
        );
        let none = HEAD.replace("apiVersion: devops.stochastic.io/v1\n", "");
        assert_eq!(
            problems(&none),
            ["1: the policy has no apiVersion; use devops.stochastic.io/v1"]
        );
        assert_eq!(problems(HEAD), ["1: policy: missing field `spec`"]);
        for spec in ["[]", "3"] {
            let found = problems(&format!("{HEAD}spec: {spec}\n"));
            assert!(found.len() == 1 && found[0].starts_with("5: spec: invalid type"), "{found:?}");
        }
    }

    /// `line: name` of each policy, then the number of other objects, and the failures.
    fn found(text: &str) -> (Vec<String>, u64, Vec<String>) {
        let file = PolicyFile::read(text.as_bytes());
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
        let policies = file.policies.iter();
        let policies = policies.map(|p| format!("{}: {}", p.line, name(&p.object))).collect();
        let failures = file.failures.iter().map(ToString::to_string).collect();
        (policies, file.others, failures)
    }

    const POLICY: &str = "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {name: a}\nspec: {weights: null}\n";

    #[test]
    fn policies_are_found_among_other_objects_and_in_lists() {
        let text = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n---\n{POLICY}---\n\
             apiVersion: v1\nkind: List\nitems:\n- {{apiVersion: devops.stochastic.io/v2, kind: DevOpsPolicy, metadata: {{name: b}}}}\n\
             - {{apiVersion: devops.stochastic.io/v1, kind: DevOpsPolicy, metadata: {{name: c}}, spec: {{}}}}\n---\n\
             a: 1\n---\nspec: [\n"
        );
        let (policies, others, failures) = found(&text);
        assert_eq!(policies, ["5: a", "14: c"]);
        assert_eq!(others, 1);
        assert_eq!(failures.len(), 3, "{failures:?}");
        assert!(failures[0].starts_with("13: apiVersion devops.stochastic.io/v2 is unknown"));
        assert_eq!(failures[1], "16: is no Kubernetes object: it has no apiVersion and kind");
        let spec = &PolicyFile::read(POLICY.as_bytes()).policies[0].object["spec"];
        assert_eq!(*spec, serde_json::json!({}), "null is no value");
    }

    /// What is wrong with an object of another kind affects no policy.
    #[test]
    fn broken_objects_of_other_kinds_are_only_counted() {
        let deep = format!("data: {}{}", "[".repeat(100), "]".repeat(100));
        for broken in
            ["data: {a: 1, a: 2}", "data: \"\u{7f}\"", "data: [", "data: *none", deep.as_str()]
        {
            let secret = format!("apiVersion: v1\nkind: Secret\n{broken}\n");
            let one = |line: u32| (vec![format!("{line}: a")], 1, Vec::new());
            assert_eq!(found(&format!("{secret}---\n{POLICY}")), one(5), "{broken}");
            let item = |text: &str| format!("- {}\n", text.trim_end().replace('\n', "\n  "));
            let items = item(POLICY) + &item(&secret);
            assert_eq!(found(&format!("apiVersion: v1\nkind: List\nitems:\n{items}")), one(4));
        }
        let json = "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"data\": \"\u{7f}\"},\n\
                    {\"apiVersion\": \"devops.stochastic.io/v1\", \"kind\": \"DevOpsPolicy\", \"metadata\": {\"name\": \"a\"}, \"spec\": {}}]}";
        assert_eq!(found(json), (vec!["2: a".to_owned()], 1, Vec::new()));
    }

    #[test]
    fn a_cluster_policy_is_read_as_strictly_with_its_namespaces() {
        let head = "apiVersion: devops.stochastic.io/v1\nkind: ClusterDevOpsPolicy\nmetadata:\n  name: fleet\n";
        let good = format!(
            "{head}spec:\n  forbidLatestTag: true\n  priority: 7\n  namespaceSelector:\n    matchLabels: {{tier: web}}\n"
        );
        let DecodedPolicy { compiled, scope, object, .. } = read_policy(good.as_bytes()).unwrap();
        assert_eq!(compiled.enabled().count(), 1);
        assert_eq!(object["spec"]["priority"], 7);
        let selects = |tier: &str| {
            let labels = [("tier".to_owned(), tier.to_owned())].into();
            scope.as_ref().unwrap().selects("shop", &labels, &ExcludedNamespaces::default())
        };
        assert!(selects("web") && !selects("batch"));
        let bad = format!(
            "{head}  namespace: shop\nspec:\n  maxRestartCount: many\n  priorty: 1\n  namespaceSelector:\n    matchExpressions:\n    - {{key: tier, operator: Equals}}\n"
        );
        let problems = problems(&bad);
        let expected = [
            "5: metadata.namespace: a cluster policy has none; namespaceSelector selects namespaces",
            "7: spec.maxRestartCount: invalid type: string \"many\", expected a whole number that fits",
            "8: spec.priorty: unknown field; did you mean `priority`?",
            "11: spec.namespaceSelector.matchExpressions[0].operator: unknown variant `Equals`, expected one of `In`, `NotIn`, `Exists`, `DoesNotExist`",
        ];
        assert_eq!(problems, expected);
        assert!(read_policy(head.as_bytes()).is_err(), "it has no spec");
    }
}
