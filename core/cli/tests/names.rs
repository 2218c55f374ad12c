//! Names as they are typed and shown: what a terminal would obey, hints that can be run, lists, ids
//! behind options, places that were mistyped.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

mod common;

use std::process::Command;

use common::{ORDER, Place, Ran};
use serde_json::json;

/// Ids that a terminal would obey or hide, or a shell would take apart.
const HARD: [&str; 15] = [
    "\u{1b}]0;owned\u{7}\u{1b}[2J",
    "\u{9b}31mred",
    "\u{202e}evil\u{2066}",
    "zero\u{200b}width\u{feff}",
    "two\nlines\r\thint: `reboot`",
    "soft\u{ad}tag\u{e0041}\u{2028}",
    "o 1",
    "it's",
    "-x",
    "--yes",
    "$(touch pwned)",
    "`touch pwned`",
    "a\\b;c|d&e>f<g*?~#",
    "",
    "é日本",
];

fn is_obeyed_or_hidden(c: char) -> bool {
    c != '\n'
        && (c.is_control() || "\u{ad}\u{200b}\u{2028}\u{202e}\u{2066}\u{feff}\u{e0041}".contains(c))
}

#[track_caller]
fn assert_clean(ran: &Ran) {
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.chars().any(is_obeyed_or_hidden), "{text:?}");
        assert!(!text.lines().any(|line| line.trim_start().starts_with("lines")), "{text:?}");
    }
}

fn with_hard_ids() -> Place {
    let place = Place::new();
    place.ok(&["put-machine", "-n", "order", "-v", "1", ORDER]);
    for id in HARD {
        place.ok(&["create-instance", "-m", "order", &format!("-i={id}")]);
    }
    place
}

#[test]
fn nothing_reaches_the_terminal_as_it_is() {
    let place = with_hard_ids();
    let machine = ORDER.replace("paid", "\\u009bpa\\u202eid\\n").replace("PAY", "\\u001b[2JPAY");
    place.ok(&["put-machine", "-n", "\u{1b}[5m", "-v", "1", &machine]);
    place.ok(&["create-instance", "-m", "\u{1b}[5m", "-i", "sly", "-c", "{\"total\":0}"]);
    place.ok(&[
        "apply-event",
        "-i",
        "sly",
        "-e",
        "\u{1b}[2JPAY",
        "-p",
        "{\"amount\":1,\"by\":\"\u{9b}m\u{200b}\"}",
    ]);
    let mut commands: Vec<Vec<String>> = vec![
        vec!["list-instances".into()],
        vec!["list-machines".into()],
        vec!["count-instances".into()],
        vec!["stats".into()],
        vec!["wal-read".into()],
        vec!["get-machine".into(), "-n=\u{1b}[5m".into()],
        vec!["diagram".into(), "\u{1b}[5m".into()],
        vec!["diagram".into(), "\u{1b}[5m".into(), "--format=dot".into(), "--counts".into()],
        vec!["get-instance".into(), "sly".into()],
        vec!["history".into(), "sly".into()],
        vec!["permitted".into(), "sly".into()],
        vec!["watch-all".into(), "--replay".into(), "--lifecycle".into()],
        vec!["no\u{1b}[2Jcommand".into()],
        vec!["get-machine".into(), "-n=\u{1b}[2J".into()],
        vec!["--path=\u{1b}[2J\u{202e}".into(), "list-machines".into()],
        vec![
            "--path=mem:".into(),
            "put-machine".into(),
            "-n=x".into(),
            "-v=1".into(),
            "{\"\u{9b}\":1}".into(),
        ],
        vec!["put-machine".into(), "-n=x".into(), "-v=1".into(), "@\u{1b}[2J".into()],
    ];
    for id in HARD {
        for command in
            ["get-instance", "history", "permitted", "apply-event -e=NO", "apply-event -e=PAY"]
        {
            let words = command.split(' ').map(str::to_owned);
            commands.push(words.chain([format!("-i={id}")]).collect());
        }
        commands.push(vec!["get-instance".into(), format!("-i=no{id}")]);
    }
    for command in &commands {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        assert_clean(&place.run(&words));
        let ran = place.run(&words.iter().copied().chain(["--output=json"]).collect::<Vec<_>>());
        assert_clean(&ran);
    }
    // What programs read is the name itself.
    for id in HARD {
        assert_eq!(place.json(&["get-instance", &format!("-i={id}")])["instance_id"], id);
    }
}

#[test]
fn the_shell_shows_nothing_as_it_is() {
    let place = with_hard_ids();
    let mut script = String::from(
        "put-machine -n $'\\033[2J' -v 1 {\"states\":[\"a\"],\"initial\":\"a\",\"transitions\":[]}\n",
    );
    script.push_str("get-instance $'no\\033[2J'\n\u{1b}[2J\nget-machine -n $'\\342\\200\\256'\n");
    assert_clean(&place.run_with_input(&["shell"], &script));
    assert_clean(&place.run_with_input(&["--output=json", "shell"], &script));
}

/// The command lines in a text: what stands between two backticks and the end of a hint's command.
fn commands_in(stderr: &str) -> Vec<String> {
    let hint = |line: &str| {
        let begin = line.find('`')? + 1;
        let end = line.rfind("` ")?;
        line.get(begin..end).map(str::to_owned)
    };
    stderr.lines().filter(|line| line.starts_with("  hint: ")).filter_map(hint).collect()
}

#[test]
fn hints_can_be_run_in_a_shell() {
    let place = with_hard_ids();
    let data = place.path();
    let mut ran = 0;
    // The place stands on the command line here, and so in the hints.
    let elsewhere = Place { environment: Vec::new(), ..place };
    for id in HARD {
        for event in ["NO", "PAY"] {
            let words = ["--path", data.to_str().unwrap(), "apply-event", "-e", event];
            let refused = elsewhere.command(&words).arg(format!("-i={id}")).output().unwrap();
            assert_eq!(refused.status.code(), Some(5));
            let commands = commands_in(&String::from_utf8(refused.stderr).unwrap());
            assert_eq!(commands.len(), 1, "{id:?}");
            for command in commands {
                let script = format!("rstmdb-cli() {{ \"$BIN\" \"$@\"; }}; {command}");
                let output = Command::new("bash")
                    .args(["-c", &script])
                    .env("BIN", env!("CARGO_BIN_EXE_rstmdb-cli"))
                    .env("LC_ALL", "C")
                    .env("RSTMDB_OUTPUT", "json")
                    .current_dir(elsewhere.folder.path())
                    .output()
                    .unwrap();
                let stderr = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(0), "{script}: {stderr}");
                let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!(shown["instance_id"], id, "{script}");
                ran += 1;
            }
        }
    }
    assert_eq!(ran, 2 * HARD.len());
    assert!(!elsewhere.folder.path().join("pwned").exists());
}

#[test]
fn hints_of_the_shell_can_be_entered_there() {
    let place = with_hard_ids();
    for id in HARD {
        // As a person gets it: from a hint.
        let refused = place.run(&["apply-event", "-e", "NO", &format!("-i={id}")]);
        let command = commands_in(&refused.stderr).remove(0).replace("rstmdb-cli ", "");
        let ran = place.run_with_input(&["--output=json", "shell"], &format!("{command}\n"));
        assert_eq!(ran.code, 0, "{command}: {}", ran.stderr);
        let shown: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(shown["instance_id"], id);
        // In the shell itself the program's name is left out.
        let ran = place.run_with_input(
            &["shell"],
            &format!("{}\n", command.replace("permitted", "apply-event -e NO")),
        );
        assert_eq!(commands_in(&ran.stderr), [command]);
    }
}

#[test]
fn a_comma_of_a_name_is_written_with_a_backslash() {
    let place = Place::new();
    let machine = |state: &str| {
        format!(
            "{{\"states\":[\"new\",\"{state}\"],\"initial\":\"new\",\"transitions\":[{{\"from\":\"new\",\"event\":\"GO,NOW\",\"to\":\"{state}\"}},{{\"from\":\"new\",\"event\":\"GO\",\"to\":\"{state}\"}}]}}"
        )
    };
    for (name, state, event) in [("k,l", "a,b", "GO,NOW"), ("m", "a", "GO"), ("n", "b", "GO")] {
        place.ok(&["put-machine", "-n", name, "-v", "1", &machine(state)]);
        place.ok(&["create-instance", "-m", name, "-i", name]);
        place.ok(&["apply-event", "-i", name, "-e", event]);
    }
    let seen = |options: &[&str]| {
        let words: Vec<&str> = ["watch-all", "--replay"].iter().chain(options).copied().collect();
        let ran = place.run(&words);
        assert_eq!(ran.code, 0, "{options:?}: {}", ran.stderr);
        let ids = ran.stdout.lines().map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["instance_id"].as_str().unwrap().to_owned()
        });
        (ids.collect::<Vec<_>>().join(" "), ran.stderr)
    };
    for (options, expected) in [
        (&["--machines", r"k\,l"] as &[&str], "k,l"),
        (&["--machines", r"m,k\,l"], "k,l m"),
        (&["--machines", "m", "--machines", r"k\,l"], "k,l m"),
        (&["--machines", "m,n"], "m n"),
        (&["--to-states", r"a\,b"], "k,l"),
        (&["--to-states", "a", "--to-states", "b"], "m n"),
        (&["--events", r"GO\,NOW"], "k,l"),
        (&["--from-states", "new", "--events", "GO"], "m n"),
    ] {
        assert_eq!(seen(options), (expected.to_owned(), String::new()), "{options:?}");
    }
    for (options, expected, hint) in [
        (["--machines", "k,l"], "", r"--machines 'k\,l'"),
        (["--to-states", "a,b"], "m n", r"--to-states 'a\,b'"),
        (["--events", "GO,NOW"], "m n", r"--events 'GO\,NOW'"),
    ] {
        let (ids, stderr) = seen(&options);
        assert_eq!(ids, expected);
        assert!(stderr.contains(hint), "{stderr}");
    }
}

#[test]
fn columns_of_a_log_may_have_commas() {
    let place = Place::new();
    let log = place.file("log.csv", "id,\"what, then\",at\n1,go,2024-01-01T00:00:00Z\n");
    let words = ["import-log", &log, "--case", "id", "--time", "at", "--activity"];
    place.ok(&[&words[..], &[r"what\, then"]].concat());
    assert_eq!(place.json(&["get-instance", "1"])["state"], "go");
}

#[test]
fn every_command_on_an_instance_takes_the_id_both_ways() {
    let place = Place::with_orders();
    for command in [
        &["get-instance"] as &[&str],
        &["permitted"],
        &["history"],
        &["snapshot-instance"],
        &["list-snapshots"],
        &["watch-instance", "--replay"],
        &["tail"],
        &["apply-event", "-e", "SHIP", "--idempotency-key", "k"],
        &["delete-instance", "--idempotency-key", "k2"],
    ] {
        place.ok(&[command, &["o-2"]].concat());
        for option in ["-i", "--instance", "--id"] {
            place.ok(&[command, &[option, "o-2"]].concat());
        }
        let error = place.error(2, &[command, &["o-2", "-i", "o-2"]].concat());
        assert!(error["message"].as_str().unwrap().contains("cannot be used with"), "{error}");
        if command != ["tail"] {
            place.error(2, command);
        }
    }
}

#[test]
fn a_mistyped_path_is_not_made() {
    let place = Place::new();
    let instance =
        r#"[{"op":"CREATE_INSTANCE","params":{"instance_id":"i","machine":"m","version":1}}]"#;
    for command in [
        &["create-instance", "-m", "order", "-V", "1", "-i", "o"] as &[&str],
        &["apply-event", "-i", "o", "-e", "PAY"],
        &["delete-instance", "o"],
        &["batch", instance],
        &["batch", "--mode", "atomic", instance],
        &["compact"],
        &["snapshot-instance", "o"],
        &["drop-snapshot", "snap-0"],
        &["flush-all", "--yes"],
    ] {
        let error = place.error(3, command);
        assert!(error["hint"].as_str().unwrap().contains("--path"), "{command:?}: {error}");
        assert!(!place.path().exists(), "{command:?}");
    }
    let unreachable = r#"{"states":["a","b"],"initial":"a","transitions":[]}"#;
    let long = "n".repeat(100_000);
    for command in [
        &["put-machine", "-n", "order", "-v", "1", "{}"] as &[&str],
        &["put-machine", "-n", "order", "-v", "1", unreachable],
        &["put-machine", "-n", &long, "-v", "1", ORDER],
    ] {
        assert_eq!(place.run(command).code, 2, "{command:?}");
        assert!(!place.path().exists(), "{command:?}");
    }
    let log = place.file("log.csv", "id,what,at\n1,go,2024-01-01T00:00:00Z\n");
    let definition = place.file("bad.json", "{\"states\":[]}");
    let words = ["import-log", &log, "--case", "id", "--time", "at", "--activity", "what"];
    assert_eq!(place.run(&[&words[..], &["--definition", &definition]].concat()).code, 2);
    assert!(!place.path().exists());
    place.ok(&["put-machine", "-n", "order", "-v", "1", ORDER]);
    assert!(place.path().exists());
}

#[test]
fn what_looks_like_something_else_is_no_path() {
    let place = Place::new();
    for path in ["localhost:7401", ":memory:", "mem:x", "~/x", "s3cret@host", "file://f3"] {
        for command in [&["list-machines"] as &[&str], &["bench"], &["demo"], &["verify"]] {
            let error = place.error(2, &[&["--path", path], command].concat());
            assert_eq!(error["reason"], "invalid_option", "{error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
    let error = place.error(2, &["--path", "localhost:7401", "list-machines"]);
    assert!(error["hint"].as_str().unwrap().contains("--server"), "{error}");
    assert_eq!(std::fs::read_dir(place.folder.path()).unwrap().count(), 0);
    place.ok(&["--path", "./localhost:7401", "put-machine", "-n", "order", "-v", "1", ORDER]);
    assert!(place.folder.path().join("localhost:7401").is_dir());
}

#[test]
fn tokens_of_arguments_are_not_repeated() {
    let place = Place::new();
    for arguments in [
        &["rstmdb://s3cret@host", "ping"][..],
        &["s3cret@host", "ping"],
        &["info", "rstmdb://s3cret@host?token=s3cret"],
        &["--output=s3cret@host", "ping"],
        &["--output", "rstmdb://host?token=s3cret", "ping"],
        &["-s", "rstmdb://s3cret@127.0.0.1:1", "ping"],
        &["-s", "rstmdb://s3cret@h:x", "ping"],
        &["-s", "127.0.0.1:1", "--token", "s3cret", "ping"],
        &["--path", "s3cret@host", "info"],
        &["--path", "rstmdb://s3cret@host", "info"],
    ] {
        for output in ["table", "json"] {
            let mut command = place.command(arguments);
            let ran = place.ran(command.env("RSTMDB_OUTPUT", output).output().unwrap());
            assert_ne!(ran.code, 0, "{arguments:?}");
            let text = format!("{}{}", ran.stdout, ran.stderr);
            assert!(!text.contains("s3cret") && !text.is_empty(), "{arguments:?}: {text}");
        }
    }
    // A file and a path are what they are.
    let refused = place.run(&["info", "@machine.json"]);
    assert!(refused.stderr.contains("'@machine.json'"), "{}", refused.stderr);
}

#[test]
fn names_that_can_not_be_seen_are_warned_about() {
    let said = |place: &Place, words: &[&str]| {
        let ran = place.run(words);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stderr
    };
    for (name, kind) in [
        ("", "is empty (\"\")"),
        (" ", "that can be seen (\" \")"),
        ("\u{200b}", "(\"\\u{200b}\")"),
    ] {
        let place = Place::new();
        let stderr = said(&place, &["put-machine", &format!("-n={name}"), "-v", "1", ORDER]);
        assert!(stderr.contains("the machine's name") && stderr.contains(kind), "{stderr}");
        let stderr =
            said(&place, &["create-instance", "-m", name, "-V", "1", &format!("-i={name}")]);
        assert!(stderr.contains("the instance's id") && stderr.contains(kind), "{stderr}");
        let id = format!("{name}{name} ");
        let batch = json!([{"op": "CREATE_INSTANCE", "params": {"instance_id": id, "machine": name, "version": 1}}]);
        let stderr = said(&place, &["batch", &batch.to_string()]);
        assert!(stderr.contains("an instance's id"), "{stderr}");
    }
    let place = Place::with_orders();
    assert_eq!(said(&place, &["create-instance", "-m", "order", "-i", "x"]), "");
}

#[test]
fn contradictions_of_pages_are_refused() {
    let place = Place::with_orders();
    let cursor = place.json(&["list-instances", "--limit", "1"])["next_cursor"].clone();
    let cursor = cursor.as_str().unwrap();
    let error = place.error(2, &["list-instances", "--cursor", cursor, "--offset", "1"]);
    assert!(error["message"].as_str().unwrap().contains("--offset"), "{error}");
    for command in [&["list-instances"] as &[&str], &["history", "o-1"], &["wal-read"]] {
        let error = place.error(2, &[command, &["--limit", "0"]].concat());
        assert!(error["message"].as_str().unwrap().contains("--limit"), "{error}");
    }
}
