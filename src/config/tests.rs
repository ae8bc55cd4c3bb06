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
         max_size = \"1GiB\"\n\
         [reaper]\ncgroups = \"off\"\nmax_processes = 64\noverdue_after = \"5s\"\n",
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
    let reaper = ReaperConfig {
        cgroups: CgroupUse::Off,
        max_processes: Some(64),
        overdue_after: Millis(5000),
    };
    assert_eq!(config.reaper, reaper);
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
            "[lease]\nttl = \"2s\"",
            "ledger.toml:2: `lease.ttl` is not above lease.renew_deadline",
        ),
        (
            "[lease]\nheartbeat = \"2s\"",
            "ledger.toml:2: `lease.renew_deadline` is not above lease.heartbeat",
        ),
        (
            "[lease]\nheartbeat = \"1ms\"",
            "ledger.toml:2: `lease.heartbeat` must be from 10ms to 24h",
        ),
        (
            "[tasks]\nmax_runtime = \"40d\"",
            "ledger.toml:2: `tasks.max_runtime` must be from 1ms to 30d",
        ),
        (
            "[reaper]\ncgroups = \"on\"",
            "ledger.toml:2: `reaper.cgroups` is `auto` or `off`",
        ),
        (
            "[reaper]\nmax_processes = 0",
            "ledger.toml:2: `reaper.max_processes` must be a whole number from 1 to 4194304",
        ),
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
            "ledger.toml:2: `node.name` is wrong: a name is 1 to 128 characters of A-Z, \
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

fn job(text: &str) -> Result<ledger_core::event::JobSpec, String> {
    let config = parse(text)?;
    let name = Id::new("j").unwrap();
    Ok(config.jobs.defined[&name].clone())
}

#[test]
fn the_nodes_own_jobs_are_there_unless_they_are_turned_off() {
    let names = |text: &str| -> Vec<String> {
        let jobs = parse(text).unwrap().jobs.defined;
        jobs.keys().map(ToString::to_string).collect()
    };
    let own = [
        "health-check",
        "ops-refresh",
        "state-checkpoint",
        "zombie-cleanup",
    ];
    assert_eq!(names(""), own);
    assert!(names("[jobs]\nbuiltin = false").is_empty());
    assert_eq!(names("[jobs.health-check]\nenabled = false"), own[1..]);
    let jobs = parse("[jobs.health-check]\nevery = \"1h\"").unwrap().jobs;
    let changed = &jobs.defined[&Id::new("health-check").unwrap()];
    let mut spec = Config::default().jobs.defined[&Id::new("health-check").unwrap()].clone();
    spec.schedule = ledger_core::event::Schedule::Every {
        every_ms: Millis(3_600_000),
    };
    spec.source = "ledger.toml".into();
    assert_eq!(*changed, spec, "nothing else has changed");
    let some = "[jobs]\nbuiltin = false\n[jobs.health-check]\nevery = \"1h\"";
    assert_eq!(names(some), ["health-check"]);
}

#[test]
fn a_job_is_read_with_all_its_keys() {
    let spec = job(
        "[tasks]\ngrace = \"9s\"\n[[job]]\nname = \"j\"\ncron = \"0 3 * * *\"\n\
         time_zone = \"Europe/Berlin\"\noverlap = \"queue\"\nmissed = \"run_all\"\n\
         missed_at_most = 5\npriority = \"low\"\nmax_runtime = \"2m\"\n\
         command = [\"a\", \"b c\"]\nmax_attempts = 3\nrate_key = \"mirror\"\n\
         concurrency_key = \"repo\"\ncwd = \"/\"\nstdin = \"x\"\nenv = { A = \"1\" }\n",
    );
    let json = serde_json::to_string(&spec.unwrap()).unwrap();
    assert_eq!(
        json,
        r#"{"schedule":{"type":"cron","expression":"0 3 * * *","time_zone":"Europe/Berlin"},"overlap":"queue","missed":{"policy":"run_all","at_most":5},"task":{"priority":2,"payload":{"type":"exec","argv":["a","b c"],"env":{"A":"1"},"cwd":"/","stdin":"x"},"max_runtime_ms":120000,"grace_ms":9000,"terms":{"max_attempts":3,"rate_key":"mirror","concurrency_key":"repo"}},"source":"ledger.toml"}"#
    );
}

#[test]
fn faults_of_jobs_name_the_line_and_what_was_meant() {
    let cases = [
        (
            "[jobs.j]\nevry = \"1m\"",
            "ledger.toml:2: there is no key `evry`; did you mean `every`?",
        ),
        (
            "[jobs]\nbultin = true",
            "ledger.toml:2: there is no key `bultin`; did you mean `builtin`?",
        ),
        (
            "[jobs]\nbuiltin = 1",
            "ledger.toml:2: `jobs.builtin` must be true or false",
        ),
        (
            "[job]\nname = \"j\"",
            "ledger.toml:1: `job` is written [jobs.NAME], or [[job]] with a name",
        ),
        (
            "[[job]]\nevery = \"1m\"",
            "ledger.toml:1: `job` needs a `name`",
        ),
        (
            "[jobs.j]\ncommand = [\"x\"]",
            "ledger.toml:1: `jobs.j` needs `every` or `cron`: when is it due?",
        ),
        (
            "[jobs.j]\nevery = \"1m\"",
            "ledger.toml:1: `jobs.j` needs a `command`, such as [\"git\", \"gc\"], or a `builtin`",
        ),
        (
            "[jobs.j]\ncommand = [\"x\"]\ncron = \"0 0 30 2 *\"",
            "ledger.toml:3: `jobs.j.cron` is wrong: `0 0 30 2 *` is never due: there is no such day",
        ),
        (
            "[jobs.j]\ncommand = [\"x\"]\nevery = \"1m\"\ntime_zone = \"UTC\"",
            "ledger.toml:4: `jobs.j.time_zone` has no effect: only `cron` goes by it",
        ),
        (
            "[jobs.j]\ncommand = [\"x\"]\nevery = \"1m\"\noverlap = \"wait\"",
            "ledger.toml:4: `jobs.j.overlap` is `skip`, `queue` or `cancel_running`",
        ),
        (
            "[jobs.j]\ncommand = [\"x\"]\nevery = \"1m\"\nmax_attempts = 0",
            "ledger.toml:4: `jobs.j.max_attempts` must be a whole number from 1 to 1000",
        ),
        (
            "[jobs.j]\ncommand = [\"x\"]\nevery = \"1m\"\nconcurrency_key = \"a b\"",
            "ledger.toml:4: `jobs.j.concurrency_key` is wrong: a key is 1 to 128 ",
        ),
        (
            "[jobs.j]\nbuiltin = \"x\"\nevery = \"1m\"",
            "ledger.toml:2: `jobs.j.builtin` is wrong: there is no built-in job \"x\"; there are zombie-cleanup, health-check, ops-refresh and state-checkpoint",
        ),
        (
            "[jobs.j]\nevery = \"1m\"\ncommand = [\"x\"]\n[[job]]\nname = \"j\"\nevery = \"1m\"\ncommand = [\"x\"]",
            "is a job of this file already",
        ),
        (
            "[jobs.j]\nevery = \"1m\"\ncommand = [\"x\", \"password=hunter22\"]",
            "ledger.toml:3: `jobs.j.command` holds what looks like a secret in argument 1",
        ),
    ];
    for (text, said) in cases {
        let fault = parse(text).unwrap_err();
        assert!(fault.contains(said), "{text}\n{fault}");
    }
}

#[test]
fn what_no_job_can_be_is_told_at_the_key_that_says_it() {
    let cases = [
        (
            "[jobs.j]\ncommand = [\"x\"]\n\ncron = \"0 25 * * *\"",
            "ledger.toml:4: `jobs.j.cron` is wrong: `0 25 * * *` is not a cron expression: its hour is `25`; an hour is from 0 to 23; ",
        ),
        (
            "[jobs.j]\ncommand = [\"x\"]\ncron = \"0 1 * * *\"\ntime_zone = \"Mars\"",
            "ledger.toml:4: `jobs.j.time_zone` is wrong: there is no time zone `Mars`; ",
        ),
        (
            "[jobs.j]\ncommand = [\"x\"]\nevery = \"1m\"\nmissed = \"run_all\"",
            "ledger.toml:4: `jobs.j.missed` is wrong: missed = \"run_all\" needs overlap = \"queue\"",
        ),
        (
            "[jobs.j]\ncommand = [\"x\"]\nevery = \"1m\"\nmissed_at_most = 3",
            "ledger.toml:4: `jobs.j.missed_at_most` has no effect: only missed = \"run_all\"",
        ),
        (
            "[jobs.j]\ncommand = [\"x\"]\nevery = \"1m\"\nmax_runtime = \"31d\"",
            "ledger.toml:4: `jobs.j.max_runtime` must be from 1ms to 30d",
        ),
        (
            "[jobs.j]\ncommand = [\"x\"]\nevery = \"1m\"\ncwd = \"x\"",
            "ledger.toml:4: `jobs.j.cwd` must be an absolute path",
        ),
    ];
    for (text, said) in cases {
        let fault = parse(text).unwrap_err();
        assert!(fault.contains(said), "{text}\n{fault}");
    }
}

#[test]
fn of_two_keys_that_exclude_each_other_none_wins_silently() {
    let cases = [
        (
            "[jobs.j]\ncommand = [\"x\"]\nevery = \"1m\"\ncron = \"0 1 * * *\"",
            "ledger.toml:4: `jobs.j.cron` stands beside `every`: a job has one schedule; remove one",
        ),
        (
            "[jobs.j]\ncron = \"0 1 * * *\"\ncommand = [\"x\"]\nevery = \"1m\"",
            "ledger.toml:4: `jobs.j.every` stands beside `cron`: ",
        ),
        (
            "[jobs.j]\nbuiltin = \"ops-refresh\"\nevery = \"1m\"\ncommand = [\"x\"]",
            "ledger.toml:4: `jobs.j.command` stands beside `builtin`: a job runs one thing; ",
        ),
        (
            "[jobs.j]\nbuiltin = \"ops-refresh\"\nevery = \"1m\"\ncwd = \"/\"",
            "ledger.toml:4: `jobs.j.cwd` has no effect: the job is built in, and runs no command",
        ),
        (
            "[jobs.j]\nname = \"k\"\nevery = \"1m\"\ncommand = [\"x\"]",
            "ledger.toml:2: `jobs.j.name` is not the name in [jobs.NAME]; remove one of them",
        ),
        (
            "[checkpoint]\nevery = \"1h\"\n[jobs.state-checkpoint]\ncron = \"0 1 * * *\"",
            "ledger.toml:4: `jobs.state-checkpoint.cron` stands beside checkpoint.every; remove",
        ),
        (
            "[checkpoint]\nenabled = false\n[jobs.state-checkpoint]\nevery = \"1h\"",
            "ledger.toml:3: `jobs.state-checkpoint` is turned off by checkpoint.enabled = false; ",
        ),
        (
            "[scheduler]\nbackoff_base = \"10m\"",
            "ledger.toml:2: `scheduler.backoff_cap` is below scheduler.backoff_base",
        ),
    ];
    for (text, said) in cases {
        let fault = parse(text).unwrap_err();
        assert!(fault.starts_with(said), "{text}\n{fault}");
    }
    // Other keys of the job leave its schedule to the section of checkpoints.
    let text = "[checkpoint]\nevery = \"1h\"\n[jobs.state-checkpoint]\nmax_runtime = \"5m\"";
    let job = &parse(text).unwrap().jobs.defined["state-checkpoint"];
    let hourly = ledger_core::event::Schedule::Every {
        every_ms: Millis(3_600_000),
    };
    assert_eq!(job.schedule, hourly);
    assert_eq!(job.task.max_runtime_ms, Millis(300_000));
}

#[test]
fn every_fault_of_a_file_is_told_in_the_order_of_its_lines() {
    let text = "[jobs.j]\nevery = \"1x\"\nmissed = \"never\"\nevry = 1\n[tasks]\ngrace = 5\n\
                [rate.x]\nrate = \"9\"\n[nod]\n[jobs.k]\n\
                [jobs.l]\ncommand = [\"x\"]\nmissed = \"run_all\"\ncron = \"0 0 30 2 *\"\n";
    let faults = parse(text).unwrap_err();
    let lines: Vec<&str> = faults
        .lines()
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>())
        .map(|words| words[0])
        .collect();
    let at = [2, 3, 4, 6, 8, 9, 10, 10, 14].map(|line| format!("ledger.toml:{line}:"));
    assert_eq!(lines, at, "{faults}");
    // A file that is no text says where.
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE_NAME), b"[tasks]\n# \xff\n").unwrap();
    let said = Config::load(dir.path(), None).unwrap_err().to_string();
    assert!(
        said.ends_with("ledger.toml:2: this is not text: save the file as UTF-8"),
        "{said}"
    );
}

#[test]
fn the_examples_can_be_copied() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/jobs");
    for (name, priority) in [("credential-sync", 1), ("git-snapshot", 2)] {
        let path = dir.join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&path).unwrap();
        let tasks = TasksConfig::default();
        let jobs = jobs::parse_file(&text, &path, "jobs.d/x.toml", &tasks, &|_| None).unwrap();
        let spec = &jobs[&Id::new(name).unwrap()];
        assert_eq!(spec.task.priority.level(), priority);
    }
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 2);
}
