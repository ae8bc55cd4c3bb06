//! Tests of the settings.

use super::*;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("ledger.toml")).map_err(|e| e.to_string())
}

#[test]
fn every_key_has_a_default_and_can_be_set() {
    assert_eq!(parse(""), Ok(Config::default()));
    let config = parse(
        "[node]\nname = \"b\"\n[scheduler]\nmax_running = 7\n\
         [tasks]\nmax_runtime = \"2m\"\ngrace = \"500ms\"\noutput_limit = \"64KiB\"\n\
         [api]\nhead_timeout = \"1s\"\nbody_timeout = \"2s\"\nmax_connections = 9\n\
         [disk]\nreserve = \"1MiB\"\nwarn_below = \"1GiB\"\n\
         [blobs]\nmax_size = \"5MiB\"\nmax_in_flight = \"6MiB\"\ngrace = \"1h\"\n\
         [backup]\ndir = \"/b\"\nevery = \"1h\"\nkeep_for = \"7d\"\nkeep_at_least = 2\n\
         max_size = \"1GiB\"\n",
    )
    .unwrap();
    assert_eq!(config.node.name.as_str(), "b");
    assert_eq!(config.scheduler.max_running, 7);
    assert_eq!(config.tasks.max_runtime, Millis(120_000));
    assert_eq!(config.tasks.grace, Millis(500));
    assert_eq!(config.tasks.output_limit, 65_536);
    assert_eq!(config.api.head_timeout, Millis(1000));
    assert_eq!(config.api.body_timeout, Millis(2000));
    assert_eq!(config.api.max_connections, 9);
    assert_eq!(config.disk.reserve, 1 << 20);
    assert_eq!(config.disk.warn_below, 1 << 30);
    assert_eq!(config.blobs.max_size, 5 << 20);
    assert_eq!(config.blobs.max_in_flight, 6 << 20);
    assert_eq!(config.blobs.grace, Millis(3_600_000));
    let backup = BackupConfig {
        dir: "/b".into(),
        every: Some(Millis(3_600_000)),
        keep_for: Some(Millis(604_800_000)),
        keep_at_least: 2,
        max_size: Some(1 << 30),
    };
    assert_eq!(config.backup, backup);
    assert!(Config::default().scheduler.max_running >= 4);
    assert!((64..=1024).contains(&Config::default().api.max_connections));
}

#[test]
fn faults_name_the_line_and_what_was_meant() {
    let cases = [
        (
            "\n[sheduler]\nmax_running = 1",
            "ledger.toml:2: there is no section `sheduler`; did you mean `scheduler`?",
        ),
        (
            "[tasks]\n\nmax_runtme = \"1s\"",
            "ledger.toml:3: there is no key `max_runtme`; did you mean `max_runtime`?",
        ),
        ("[tasks]\nzzz = 1", "ledger.toml:2: there is no key `zzz`"),
        (
            "[tasks]\nmax_runtime = 30",
            "ledger.toml:2: `tasks.max_runtime` must be a text in quotes, not an integer",
        ),
        (
            "[tasks]\ngrace = \"0s\"",
            "ledger.toml:2: `tasks.grace` must be longer than nothing",
        ),
        (
            "[scheduler]\nmax_running = 0",
            "ledger.toml:2: `scheduler.max_running` must be a whole number from 1 to 10000",
        ),
        (
            "[node]\nname = \"../x\"",
            "ledger.toml:2: `node.name` is not a name: an id is 1 to 128 characters of A-Z, \
             a-z, 0-9, '.', '_' and '-', and starts with a letter or digit",
        ),
        (
            "[disk]\nreserve = \"2GiB\"",
            "ledger.toml:2: `disk.reserve` must be at most 1GiB",
        ),
        (
            "node = 1",
            "ledger.toml:1: `node` is a section; write [node] on a line of its own",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text), Err(expected.to_owned()), "{text}");
    }
    let syntax = parse("[node]\nname = \n").unwrap_err();
    assert!(syntax.starts_with("ledger.toml:2: "), "{syntax}");
}

#[test]
fn a_named_file_must_exist_and_the_usual_one_need_not() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Config::load(dir.path(), None).unwrap(), Config::default());
    let named = dir.path().join("other.toml");
    assert!(matches!(
        Config::load(dir.path(), Some(&named)),
        Err(ConfigError::Missing(path)) if path == named
    ));
    std::fs::write(dir.path().join(FILE_NAME), "[node]\nname = \"c\"").unwrap();
    assert_eq!(
        Config::load(dir.path(), None).unwrap().node.name.as_str(),
        "c"
    );
    std::fs::write(&named, "x".repeat(2 << 20)).unwrap();
    assert!(matches!(
        Config::load(dir.path(), Some(&named)),
        Err(ConfigError::Io { .. })
    ));
}
