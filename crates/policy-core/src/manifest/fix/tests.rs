//! Edits of texts, as a user would see them.

mod places;
mod surroundings;

use super::*;
use crate::Timestamp;
use crate::bundle::Bundle;
use crate::evaluate::{Finding, evaluate};
use crate::manifest::documents;
use crate::policy::CompiledPolicy;

fn policy() -> CompiledPolicy {
    Bundle::named("restricted").unwrap().compiled()
}

fn rules() -> NamespaceRules {
    NamespaceRules::of([("restricted", policy().defaults().unwrap())], Timestamp::UNIX_EPOCH)
}

/// The edited text, and what was left.
fn fixed(text: &str) -> (String, Vec<String>) {
    let rules = rules();
    let mut surroundings = InputSurroundings::default();
    for document in documents(text.as_bytes()) {
        for object in document.surroundings("default").unwrap() {
            surroundings.add(object);
        }
    }
    let surroundings = &surroundings;
    let fixing = Fixing { rules: &rules, surroundings, namespace: "default", is_edited: true };
    let (mut all, mut left) = (text.to_owned(), Vec::new());
    for document in documents(text.as_bytes()).iter().rev() {
        let content = document.read("default");
        let policy = policy();
        let lacks = |object: &&ManifestObject| {
            let found = evaluate(&object.facts, &policy, Timestamp::UNIX_EPOCH);
            found.findings.iter().any(Finding::is_patchable)
        };
        let lacking: Vec<_> = content.objects.iter().filter(lacks).collect();
        let fixed = document.fix(&lacking, &fixing);
        let bytes = document.start..document.start + document.bytes.len();
        let edited = inserted(&text[bytes.clone()], &fixed.insertions);
        all.replace_range(bytes, &edited);
        for workload in fixed.workloads {
            let each = workload.left.iter();
            left.extend(each.map(|left| {
                format!("{}: {} {}: {}", left.line, left.container, left.field, left.why)
            }));
        }
    }
    (all, left)
}

const HEAD: &str = "\
# A web server.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
";

fn of_containers(containers: &str) -> (String, Vec<String>) {
    let (text, left) = fixed(&format!("{HEAD}{containers}"));
    let text = text.strip_prefix(HEAD).unwrap_or(&text);
    (text.to_owned(), left)
}

/// What a container with the port 80 gets as block lines at that indentation.
fn filled(indentation: usize) -> String {
    let probe = |name: &str, failures: u32| {
        format!(
            "{name}:\n  tcpSocket:\n    port: 80\n  initialDelaySeconds: 5\n  periodSeconds: 10\n  failureThreshold: {failures}\n"
        )
    };
    let lines = probe("readinessProbe", 3)
        + &probe("livenessProbe", 9)
        + "resources:\n  requests:\n    cpu: 100m\n    memory: 128Mi\n  limits:\n    cpu: 500m\n    memory: 256Mi\n";
    let margin = " ".repeat(indentation);
    lines.lines().flat_map(|line| [&margin, line, "\n"]).collect()
}

const IN_BRACES: &str = "readinessProbe: {tcpSocket: {port: 80}, initialDelaySeconds: 5, periodSeconds: 10, failureThreshold: 3}, livenessProbe: {tcpSocket: {port: 80}, initialDelaySeconds: 5, periodSeconds: 10, failureThreshold: 9}, resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {cpu: 500m, memory: 256Mi}}";

/// Tests that the lines at `+` are what is added.
fn is_filled(text: &str) {
    let whole = |mark: &str| {
        let mut result = String::new();
        for line in text.split_inclusive('\n') {
            match line.trim_end().strip_suffix('+').filter(|rest| rest.trim().is_empty()) {
                Some(indentation) if !mark.is_empty() => result += &filled(indentation.len()),
                Some(_) => {}
                None => result += line,
            }
        }
        result
    };
    let (before, after) = (whole(""), whole("+"));
    let (edited, left) = of_containers(&before);
    assert_eq!((edited.as_str(), left.as_slice()), (after.as_str(), &[][..]), "{text}");
    let again = format!("{HEAD}{after}");
    assert_eq!(fixed(&again), (again, Vec::new()), "a second time nothing is missing");
}

#[test]
fn a_container_gets_what_it_lacks_below_its_last_line() {
    is_filled(
        "      containers:
      - name: web # the server
        ports: [{containerPort: 80}]
        +
      # The next one.
      -   ports:
          - containerPort: 80
          name: \"proxy\"
          securityContext:
            runAsUser: 1
            runAsGroup: 1
          +

      volumes: []
",
    );
    is_filled(
        "      containers:\n        - ports:\n            - containerPort: 80\n          name: x\n          +\n",
    );
}

#[test]
fn text_over_several_lines_stays_whole() {
    is_filled(
        "      containers:
      - name: web
        ports: [{containerPort: 80}]
        args:
        - |
          # no comment

          x
        +


      - name: kept
        ports: [{containerPort: 80}]
        args:
        - |+
          x


        +
      - name: folded
        ports: [{containerPort: 80}]
        command: [a,
          b]
        args:
        - >-
          x
          y
        +
        # A comment below.
      - name: plain
        ports: [{containerPort: 80}]
        image: nginx
          :1
        +
",
    );
}

#[test]
fn init_containers_and_other_kinds_are_filled_in() {
    is_filled(
        "      initContainers:
      - name: proxy
        restartPolicy: Always
        ports: [{containerPort: 80}]
        +
      containers:
      - name: web
        ports: [{containerPort: 80}]
        +
",
    );
    let job = |more: &str| {
        format!(
            "apiVersion: batch/v1\nkind: CronJob\nmetadata:\n    name: tidy\nspec:\n    jobTemplate:\n        spec:\n            template:\n                spec:\n                    restartPolicy: Never\n                    containers:\n                    - name: tidy\n                      image: tidy:1\n{more}"
        )
    };
    let added = "                      resources:\n                          requests:\n                              cpu: 100m\n                              memory: 128Mi\n                          limits:\n                              cpu: 500m\n                              memory: 256Mi\n";
    assert_eq!(fixed(&job("")), (job(added), Vec::new()), "its own indentation, and no probes");
}

#[test]
fn what_is_there_in_part_is_completed() {
    let (text, left) = of_containers(
        "      containers:
      - name: web
        resources: # to do
        ports: [{containerPort: 80}]
      - name: b
        livenessProbe: {exec: {command: [true]}}
        readinessProbe: {}
        ports: [{containerPort: 80}]
        resources:
          requests:
            memory: 0.5Gi
          limits: {memory: 1Gi}
",
    );
    assert_eq!(left, [] as [&str; 0]);
    assert!(
        text.contains("        resources: # to do\n          requests:\n            cpu: 100m\n"),
        "{text}"
    );
    assert!(
        text.contains("readinessProbe: {tcpSocket: {port: 80}, initialDelaySeconds: 5"),
        "{text}"
    );
    let resources = "        resources:
          requests:
            memory: 0.5Gi
            cpu: 100m
          limits: {memory: 1Gi, cpu: 500m}
";
    assert!(text.ends_with(resources), "{text}");
}

#[test]
fn a_container_in_braces_gets_its_fields_in_them() {
    let braces = |more: &str| {
        format!("      containers: [{{name: web, ports: [{{containerPort: 80}}]{more}}}]\n")
    };
    assert_eq!(of_containers(&braces("")), (braces(&format!(", {IN_BRACES}")), Vec::new()));
    let (text, left) = of_containers(
        "      containers: [{name: web, # a server
        ports: [{containerPort: 80}]}]\n",
    );
    assert!(!text.contains("Probe"), "{text}");
    assert!(left[0].ends_with("it is in a `{}` over several lines with comments"), "{left:?}");
}

#[test]
fn line_endings_stay() {
    let text = format!(
        "{HEAD}      containers:\n      - name: web\n        ports: [{{containerPort: 80}}]"
    );
    let (edited, left) = fixed(&text);
    assert_eq!(edited, format!("{text}\n{}", filled(8).trim_end()), "no line break at the end");
    assert!(left.is_empty());
    let windows = text.replace('\n', "\r\n") + "\r\n";
    let expected = format!("{text}\n{}", filled(8)).replace('\n', "\r\n");
    assert_eq!(fixed(&windows), (expected, Vec::new()));
    let alone = text.replace('\n', "\r");
    assert_eq!(fixed(&alone).0, alone);
}

#[test]
fn each_document_and_each_member_of_a_list_is_edited() {
    let pod = |name: &str, more: &str| {
        format!(
            "---\n# {name}\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n  - name: c\n    ports: [{{containerPort: 80}}]\n{more}"
        )
    };
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: x}\n";
    let all = |more: &str| format!("\u{feff}{}{service}{}...\n", pod("a", more), pod("b", more));
    assert_eq!(fixed(&all("")), (all(&filled(4)), Vec::new()));
    let list = |more: &str| {
        format!(
            "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {{name: a}}\n  spec:\n    containers:\n    - name: c\n      ports: [{{containerPort: 80}}]\n{more}- apiVersion: v1\n  kind: Secret\n"
        )
    };
    assert_eq!(fixed(&list("")), (list(&filled(6)), Vec::new()));
}

/// The only reason why a text is left as it is.
fn obstacle(containers: &str) -> String {
    let text = format!("{HEAD}{containers}");
    let (edited, left) = fixed(&text);
    assert_eq!(edited, text);
    let reasons: std::collections::BTreeSet<&str> =
        left.iter().filter_map(|left| left.rsplit_once(": ").map(|(_, reason)| reason)).collect();
    assert_eq!(reasons.len(), 1, "{left:?}");
    reasons.into_iter().next().unwrap_or_default().to_owned()
}

#[test]
fn what_cannot_be_edited_safely_is_left_with_the_reason() {
    let shared =
        "it is in an anchor that aliases repeat, so that other places would change as well";
    let ports = "ports: [{containerPort: 80}]";
    for (containers, reason) in [
        (
            format!(
                "      containers:\n      - &c\n        name: web\n        {ports}\n      other: [*c]\n"
            ),
            shared.to_owned(),
        ),
        (
            format!("      containers: &all\n      - name: web\n        {ports}\n  other: *all\n"),
            shared.to_owned(),
        ),
        (
            format!(
                "      containers:\n      - name: web\n        {ports}\n        image: '{{{{ .x }}}}'\n"
            ),
            Obstacle::Template.to_string(),
        ),
        (
            format!(
                "      containers:\n      - name: web\n        <<: {{image: x}}\n        {ports}\n"
            ),
            Obstacle::MergeKey.to_string(),
        ),
        (
            format!(
                "      containers:\n      - name: web\n        {ports}\n        image: a\n        image: b\n"
            ),
            Obstacle::Keys.to_string(),
        ),
        (
            format!(
                "      containers:\n      - name: web\n        {ports}\n      - name: web\n        {ports}\n"
            ),
            Obstacle::SameName("web".to_owned()).to_string(),
        ),
    ] {
        assert_eq!(obstacle(&containers), reason, "{containers}");
    }
    let json = r#"{"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c"}]}}"#;
    let (edited, left) = fixed(json);
    assert_eq!(edited, json);
    assert_eq!(left, [format!("1:  : {}", Obstacle::Json)]);
}

#[test]
fn only_the_fields_in_the_way_are_left() {
    let (text, left) = of_containers(
        "      containers:
      - name: web
        env: &env [{name: A}]
        ports: [{containerPort: 80}]
        resources: ~
        livenessProbe: &probe {exec: {command: [true]}}
        startupProbe: *probe
      - name: b
        env: *env
        resources:
          limits: {memory: 64Mi, cpu: 1}
          requests: {memory: much}
",
    );
    assert_eq!(
        left,
        [
            "10: web resources: its resources is `null`; remove that, and it is filled in",
            "16: b readinessProbe: container b declares no TCP port, so that the probe's port is a guess; declare it, or set the annotation devops.stochastic.io/remediation: enabled",
            "16: b livenessProbe: container b declares no TCP port, so that the probe's port is a guess; declare it, or set the annotation devops.stochastic.io/remediation: enabled",
            "16: b requests.memory: a value of it is refused by the API server; correct it",
        ]
    );
    assert!(text.contains("        startupProbe: *probe\n        readinessProbe:\n"), "{text}");
}

#[test]
fn the_owner_decides_whether_it_is_edited() {
    let with = |annotation: &str| {
        format!("{HEAD}      containers:\n      - name: web\n        image: a:1\n")
            .replace("  name: web\nspec", &format!("  name: web\n  annotations:\n    devops.stochastic.io/remediation: {annotation}\nspec"))
    };
    let (edited, left) = fixed(&with("disabled"));
    assert_eq!(edited, with("disabled"));
    assert!(left[0].contains("is `disabled`"), "{left:?}");
    let (edited, left) = fixed(&with("enabled"));
    assert!(edited.contains("port: 8080") && left.is_empty(), "{edited}");
}

#[test]
fn an_edit_that_is_read_in_another_way_does_not_count() {
    let text = "a:\n  b: 1\n";
    let tree = Tree::parse(text).unwrap();
    let planned: Planned = [(tree.root.get("a").unwrap().start, Vec::new())].into();
    let is_right =
        |edited: &str| is_as_planned(&tree.root, &Tree::parse(edited).unwrap().root, &planned);
    assert!(is_right("a:\n  b: 1\n"));
    for edited in [
        "a:\n  b: 1\n  c: 2\n",
        "a:\n  b: 1\nc: 2\n",
        "a:\n  b: '1'\n",
        "a:\n  b: &x 1\n",
        "a: {b: 1}\n",
        "a:\n  b: 2\n",
    ] {
        assert!(!is_right(edited), "{edited}");
    }
}
