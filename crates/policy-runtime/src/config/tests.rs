//! Configurations as people write them, right and wrong.

use std::os::unix::ffi::OsStringExt as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;

mod problems;

/// A service with one value of each kind.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Settings {
    #[serde(flatten)]
    runtime: RuntimeConfig,
    lease: LeaseConfig,
    excluded_namespaces: Vec<String>,
    ports: Vec<u16>,
    is_strict: bool,
    most: u8,
    ratio: f64,
    mode: Mode,
    label: Option<String>,
    #[schemars(range(max = 100))]
    limit: Option<u32>,
    tls: TlsConfig,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Mode {
    Fast,
    Slow,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            runtime: RuntimeConfig::new(8080),
            lease: LeaseConfig::new("greeter"),
            excluded_namespaces: vec!["one".into()],
            ports: Vec::new(),
            is_strict: false,
            most: 3,
            ratio: 0.5,
            mode: Mode::Fast,
            label: None,
            limit: None,
            tls: TlsConfig::default(),
        }
    }
}

impl Configuration for Settings {
    const FLAGS: &'static [&'static str] = &TlsConfig::FLAGS;

    fn runtime(&self) -> &RuntimeConfig {
        &self.runtime
    }

    fn tls(&self) -> Option<&TlsConfig> {
        Some(&self.tls)
    }

    fn check(&self, problems: &mut Problems) {
        self.tls.check(problems);
        self.lease.check(problems);
        if self.most == 0 {
            problems.add(&["most"], "must not be 0");
        }
    }
}

const ABOUT: About = About { name: "greeter", version: "1.2.3", about: "Greets", histograms: &[] };

fn origin(file: Option<&str>, environment: &[(&str, &str)], flags: &[&str]) -> Origin {
    let arguments = ["greeter"].iter().chain(flags);
    let mut args = Args::parse_from::<Settings>(ABOUT, arguments).unwrap();
    args.config = file.map(|_| "config.yaml".into());
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
    let text = file.map(|text| Ok(text.to_owned()));
    Origin { text, ..Origin::new(args, environment) }
}

fn load(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Loaded<Settings> {
    origin(Some(file), environment, flags).load().unwrap()
}

fn problems(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Vec<String> {
    let error = origin(Some(file), environment, flags).load::<Settings>().unwrap_err();
    let lines: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
    assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:?}");
    lines
}

#[test]
fn without_layers_the_defaults_apply() {
    let loaded = origin(None, &[], &[]).load::<Settings>().unwrap();
    assert_eq!(loaded.config, Settings::default());
    assert!(loaded.warnings.is_empty());
    for empty in ["", "# nothing\n", "---\n", "{}", "null", "log:\n", "log: {}\n", "\u{feff}"] {
        let loaded = load(empty, &[], &[]);
        assert_eq!(loaded.config, Settings::default(), "{empty:?}");
        assert!(loaded.warnings.is_empty(), "{empty:?}");
    }
}

#[test]
fn each_layer_wins_over_the_one_before() {
    let file = "addr: 127.0.0.1:1\nmost: 1\nlog: {format: text, level: debug}";
    let environment = [("GOV_ADDR", "127.0.0.1:2"), ("GOV_LOG__LEVEL", "warn")];
    let config =
        load(file, &environment, &["--addr", "127.0.0.1:3", "--tls-key=k", "--tls-cert=c"]).config;
    assert_eq!(config.runtime.addr.port(), 3);
    assert_eq!(config.runtime.log, LogConfig { format: LogFormat::Text, level: "warn".into() });
    assert_eq!(config.most, 1);
    assert_eq!(config.tls.key, Some("k".into()));
    assert_eq!(load(file, &environment, &[]).config.runtime.addr.port(), 2);
    assert_eq!(load(file, &[], &[]).config.runtime.addr.port(), 1);
}

#[test]
fn text_is_parsed_by_the_type_of_its_key() {
    let lists =
        [("a,b", vec!["a", "b"]), ("[a, \"b\"]", vec!["a", "b"]), ("1,true", vec!["1", "true"])];
    for (text, expected) in lists.into_iter().chain([("", vec![]), ("[]", vec![])]) {
        let config = load("", &[("GOV_EXCLUDED_NAMESPACES", text)], &[]).config;
        assert_eq!(config.excluded_namespaces, expected, "{text}");
    }
    let config = load(
        "label: file\nlimit: 5",
        &[
            ("GOV_LEASE__NAME", "123"),
            ("GOV_LEASE__NAMESPACE", "true"),
            ("GOV_PORTS", "80,443"),
            ("GOV_IS_STRICT", "true"),
            ("GOV_MOST", "7"),
            ("GOV_RATIO", "2"),
            ("GOV_MODE", "slow"),
            ("GOV_LABEL", "1.50"),
            ("GOV_LIMIT", ""),
        ],
        &[],
    )
    .config;
    assert_eq!(config.lease.name, "123");
    assert_eq!(config.lease.namespace, "true");
    assert_eq!(config.ports, [80, 443]);
    assert!(config.is_strict && config.most == 7 && config.mode == Mode::Slow);
    assert!((config.ratio - 2.0).abs() < f64::EPSILON);
    assert_eq!(config.label.as_deref(), Some("1.50"));
    assert_eq!(config.limit, None);
}

#[test]
fn variables_match_by_their_letters() {
    for name in ["GOV_EXCLUDEDNAMESPACES", "GOV_EXCLUDED_NAMESPACES", "gov_excludedNamespaces"] {
        let loaded = load("", &[(name, "x")], &[]);
        assert_eq!(loaded.config.excluded_namespaces, ["x"], "{name}");
        assert!(loaded.warnings.is_empty(), "{name}");
    }
    let twice = [("GOV_EXCLUDEDNAMESPACES", "a"), ("GOV_EXCLUDED_NAMESPACES", "b")];
    let expected = "excludedNamespaces: is also set by GOV_EXCLUDEDNAMESPACES";
    assert_eq!(problems("", &twice, &[]), [format!("GOV_EXCLUDED_NAMESPACES: {expected}")]);
}

#[test]
fn variables_that_name_no_key_are_only_warned_of() {
    let environment = [
        ("GOV_PORT", "tcp://10.0.0.1:80"),
        ("GOV_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("GOV_LOG_FORMAT", "text"),
        ("GOV_", ""),
        ("GOV_LOG", "x"),
        ("GOVERNOR", "x"),
        ("PATH", "x"),
    ];
    let loaded = load("", &environment, &[]);
    assert_eq!(loaded.config, Settings::default());
    assert_eq!(loaded.warnings.len(), 5, "{:?}", loaded.warnings);
    let hint = "GOV_LOG_FORMAT: names no key and is ignored; did you mean GOV_LOG__FORMAT?";
    assert!(loaded.warnings.iter().any(|warning| warning == hint), "{:?}", loaded.warnings);
    assert!(loaded.warnings.iter().all(|warning| !warning.contains("10.0.0.1")));
}

#[test]
fn bytes_that_are_not_text_are_reported() {
    let bytes = || OsString::from_vec(vec![b'a', 0xff]);
    let origin = |name: OsString| Origin::new(Args::default(), [(name, bytes())]);
    let error = origin("GOV_LEASE__NAME".into()).load::<Settings>().unwrap_err();
    assert_eq!(error.problems[0].to_string(), "GOV_LEASE__NAME: lease.name: is not valid UTF-8");
    let odd = OsString::from_vec(b"GOV_\xff\n".to_vec());
    let loaded = origin(odd).load::<Settings>().unwrap();
    assert_eq!(loaded.warnings, ["GOV_\u{fffd}\\n: names no key and is ignored"]);
    assert!(origin("GOVERNOR".into()).load::<Settings>().unwrap().warnings.is_empty());
}

#[test]
fn any_number_of_comment_lines_is_read() {
    let file = format!("log:\n{}  level: debug\n", "  # comment\n".repeat(100));
    assert_eq!(load(&file, &[], &[]).config.runtime.log.level, "debug");
}

#[test]
fn each_wrong_value_of_a_file_is_reported() {
    for (file, expected) in [
        ("addr: 8080", "addr: must be a string, not `8080`"),
        (
            "addr: here",
            "addr: must be an IP address with port such as 0.0.0.0:8080 or [::]:8080, not `here`",
        ),
        ("log: {format: xml}", "log.format: must be one of json, text, not `xml`"),
        ("log: {level: 3}", "log.level: must be a string, not `3`"),
        (
            "log: {level: inof}",
            "log.level: `inof` is not a level (off, error, warn, info, debug, trace; \
             for a module `module=level`)",
        ),
        ("log: {level: ''}", "log.level: must not be empty"),
        ("log: json", "log: must be a group of keys (format, level)"),
        ("kube: {kubeconfig: 3}", "kube.kubeconfig: must be a string that is not empty, not `3`"),
        ("kube: {kubeconfig: ''}", "kube.kubeconfig: must be a string that is not empty, not ``"),
        ("kube: {context: []}", "kube.context: must be a string that is not empty, not `[]`"),
        ("lease: {name: ''}", "lease.name: must not be empty"),
        (
            "lease: {name: My Lease}",
            "lease.name: `My Lease` is not a Kubernetes name (lower case letters, digits and `-`)",
        ),
        (
            "lease: {namespace: a.b}",
            "lease.namespace: `a.b` is not a Kubernetes name (lower case letters, digits and `-`)",
        ),
        (
            "lease: {durationSeconds: 15s}",
            "lease.durationSeconds: must be a whole number from 1 to 300, not `15s`",
        ),
        (
            "lease: {durationSeconds: -1}",
            "lease.durationSeconds: must be a whole number from 1 to 300, not `-1`",
        ),
        (
            "lease: {durationSeconds: 11}",
            "lease.durationSeconds: the renew deadline of 10s is too long for a lease duration of \
             11s: at most 4/5 of it, 8.8s",
        ),
        (
            "lease: {durationSeconds: 30, renewDeadlineSeconds: 25}",
            "lease.renewDeadlineSeconds: the renew deadline of 25s is too long for a lease \
             duration of 30s: at most 4/5 of it, 24s",
        ),
        (
            "lease: {renewDeadlineSeconds: 6, retrySeconds: 5}",
            "lease.retrySeconds: the renew deadline of 6s is too short for a retry period of 5s: \
             it must be longer than 6/5 of it, 6s",
        ),
        (
            "lease: {durationSeconds: 301}",
            "lease.durationSeconds: must be a whole number from 1 to 300, not `301`",
        ),
        (
            "lease: {retrySeconds: 0}",
            "lease.retrySeconds: must be a whole number from 1 to 300, not `0`",
        ),
        (
            "shutdown: {graceSeconds: 1.5}",
            "shutdown.graceSeconds: must be a whole number from 1 to 86400, not `1.5`",
        ),
        (
            "shutdown: {graceSeconds: 0}",
            "shutdown.graceSeconds: must be a whole number from 1 to 86400, not `0`",
        ),
        (
            "shutdown: {drainSeconds: 25}",
            "shutdown.drainSeconds: the time to drain (25) must be shorter than the grace time \
             (25), which it is a part of",
        ),
        ("tls: {cert: a}", "tls.cert: needs its key, `tls.key`"),
        ("excludedNamespaces: a", "excludedNamespaces: must be a list, not `a`"),
        ("ports: [1, x]", "ports: item 2 must be a whole number from 0 to 65535, not `x`"),
        ("isStrict: yes", "isStrict: must be true or false, not `yes`"),
        ("most: 300", "most: must be a whole number from 0 to 255, not `300`"),
        ("most:", "most: must be a whole number from 0 to 255, not `null`"),
        ("most: 0", "most: must not be 0"),
        ("mode: 1", "mode: must be one of fast, slow, not `1`"),
        ("mode: quick", "mode: must be one of fast, slow, not `quick`"),
        ("limit: many", "limit: must be a whole number from 0 to 100, not `many`"),
        ("tls: {key: {}}", "tls.key: must be a string that is not empty, not `{}`"),
        ("leese: {name: x}", "leese: no such key; did you mean `lease`?"),
        ("log: {formt: text}", "log.formt: no such key; did you mean `log.format`?"),
        ("level: info", "level: no such key; did you mean `log.level`?"),
        (
            "excluded_namespaces: []",
            "excluded_namespaces: no such key; did you mean `excludedNamespaces`?",
        ),
        ("colour: red", "colour: no such key"),
        ("- a\n- b", "must hold keys with values (`key: value`)"),
        ("hello", "must hold keys with values (`key: value`)"),
    ] {
        assert_eq!(problems(file, &[], &[]), [format!("config.yaml: {expected}")], "{file}");
    }
}

#[test]
fn what_is_printed_can_be_read_again() {
    let printed = load("most: 9\nlog: {level: off}", &[("GOV_LEASE__NAME", "123")], &[]);
    let again = load(&serde_saphyr::to_string(&printed.config).unwrap(), &[], &[]);
    assert_eq!(again.config, printed.config);
}

#[test]
fn keys_are_listed_for_the_documentation() {
    let table = key_table::<Settings>();
    for row in [
        "| `addr` | `GOV_ADDR`, `--addr` | `0.0.0.0:8080` | Address and port to listen on |",
        "| `excludedNamespaces` | `GOV_EXCLUDED_NAMESPACES` | `[\"one\"]` |  |",
        "| `limit` | `GOV_LIMIT` | none |  (0 to 100) |",
        "| `log.format` | `GOV_LOG__FORMAT` | `json` | Format of the log on standard error (one of \
         json, text) |",
    ] {
        assert!(table.lines().any(|line| line == row), "{row}\n{table}");
    }
    assert_eq!(table.lines().count(), 2 + 25);
    for key in keys::keys::<Settings>() {
        assert_eq!(keys::path_of(&key.variable[PREFIX.len()..]), key.path.to_lowercase());
        let is_shared = !["excluded", "is", "label", "limit", "mo", "ports", "ratio"]
            .iter()
            .any(|own| key.path.starts_with(own));
        assert_eq!(key.description.is_empty(), !is_shared, "{}", key.path);
    }
}

#[test]
fn the_command_line_has_its_flags() {
    let parse = |argument: &str| Args::parse_from::<Settings>(ABOUT, ["greeter", argument]);
    assert!(parse("--check-config").unwrap().check_config);
    assert!(parse("--print-config").unwrap().print_config);
    assert_eq!(parse("--config=a.yaml").unwrap().config, Some("a.yaml".into()));
    assert_eq!(parse("--version").unwrap_err().to_string(), "greeter 1.2.3\n");
    assert_eq!(parse("--nothing").unwrap_err().exit_code(), 2);
    let help = parse("--help").unwrap_err().to_string();
    assert!(help.starts_with("Greets\n"), "{help}");
    for part in ["--addr <ADDR>", "--tls-key <KEY>", "  durationSeconds: 15", "GOV_MOST"] {
        assert!(help.contains(part), "{part} in {help}");
    }
}
