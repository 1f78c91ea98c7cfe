//! What is reported of configurations that cannot be used.

use super::*;

#[test]
fn errors_of_broken_files_name_the_line() {
    for (file, part) in [
        ("most: 1\nlog: [", "line 2"),
        ("most: 1\nmost: 2\n", "line 2"),
        ("log:\n  level: info\n  level: warn\n", "line 3"),
        ("most: 1\n---\nmost: 2\n", "document"),
    ] {
        let lines = problems(file, &[], &[]);
        assert!(lines.len() == 1 && lines[0].contains(part), "{lines:?}");
        assert!(!lines[0].contains("Options"), "{lines:?}");
        assert!(lines[0].starts_with("config.yaml: is no valid YAML: "), "{lines:?}");
    }
    let args = Args { config: Some("/no/such/file".into()), ..Args::default() };
    let error = Origin::new(args, []).load::<Settings>().unwrap_err();
    let expected = "/no/such/file: cannot be read: No such file or directory (os error 2)";
    assert_eq!(error.problems[0].to_string(), expected);
    let args = Args { config: Some("/dev/zero".into()), ..Args::default() };
    let error = Origin::new(args, []).load::<Settings>().unwrap_err();
    assert!(error.problems[0].to_string().contains("larger than 1 MiB"), "{error}");
}

#[test]
fn all_problems_of_all_layers_are_reported_at_once() {
    let file = "addr: here\nlog: {formt: text, level: inof}\nlease: {durationSeconds: 15s}";
    let environment = [
        ("GOV_LEASE__RENEW_DEADLINE_SECONDS", "20"),
        ("GOV_MOST", "0"),
        ("GOV_MODE", "1"),
        ("GOV_PORTS", "80,x"),
        ("GOV_IS_STRICT", "maybe\nnot"),
    ];
    assert_eq!(
        problems(file, &environment, &["--addr", "there"]),
        [
            "config.yaml: addr: must be an IP address with port such as 0.0.0.0:8080 or \
             [::]:8080, not `here`",
            "config.yaml: lease.durationSeconds: must be a whole number from 1 to 300, \
             not `15s`",
            "config.yaml: log.formt: no such key; did you mean `log.format`?",
            "GOV_IS_STRICT: isStrict: must be true or false, not `maybe\\nnot`",
            "GOV_MODE: mode: must be one of fast, slow, not `1`",
            "GOV_PORTS: ports: item 2 must be a whole number from 0 to 65535, not `x`",
            "--addr: addr: must be an IP address with port such as 0.0.0.0:8080 or [::]:8080, \
             not `there`",
            "config.yaml: log.level: `inof` is not a level (off, error, warn, info, debug, trace; \
             for a module `module=level`)",
            "GOV_MOST: most: must not be 0",
        ]
    );
    let broken = problems("log: [", &[("GOV_MOST", "x")], &["--addr", "there"]);
    assert_eq!(broken.len(), 3, "{broken:?}");
}

#[test]
fn what_passes_the_check_passes_the_start() {
    let seconds = |values: [u32; 3]| {
        let [duration, renew_deadline, retry] = values;
        format!(
            "lease: {{durationSeconds: {duration}, renewDeadlineSeconds: {renew_deadline}, \
             retrySeconds: {retry}}}"
        )
    };
    for values in [[15, 10, 2], [15, 12, 9], [15, 12, 10], [30, 24, 2], [30, 25, 2], [15, 13, 2]] {
        let loaded = origin(Some(&seconds(values)), &[], &[]).load::<Settings>();
        let mut config = LeaseConfig::new("greeter");
        [config.duration_seconds, config.renew_deadline_seconds, config.retry_seconds] = values;
        assert_eq!(loaded.is_ok(), config.timing().is_ok(), "{values:?}");
    }
}
