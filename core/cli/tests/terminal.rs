//! What a person sees: results in the width of the terminal, errors with their lines, reports of watches,
//! and what a system installs beside the program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use common::{ORDER, Place};
use rstmdb_testkit::sample::LOOP;
use rstmdb_testkit::server::TestServer;
use unicode_width::UnicodeWidthStr;

const LONG_ID: &str = "correspondence-0001-of-somebody-far-away";

/// A database whose names and values are as long as those of real ones.
fn with_long_names() -> Place {
    let place = Place::with_orders();
    let machine = r#"{"states": ["waiting for the customer's answer", "done"],
        "initial": "waiting for the customer's answer", "transitions": [
        {"from": "waiting for the customer's answer", "event": "ANSWER_OF_THE_CUSTOMER",
         "to": "done", "guard": "payload.text != ctx.question && payload.answered_by == \"customer\""}]}"#;
    place.ok(&["put-machine", "-n", "correspondence", "-v", "1", machine]);
    for id in [LONG_ID, "日本語の名前がとても長いインスタンス"] {
        place.ok(&[
            "create-instance",
            "-m",
            "correspondence",
            "-i",
            id,
            "-c",
            r#"{"question": 1}"#,
        ]);
        let payload = r#"{"text": "as it was promised, with all that belongs to it", "answered_by": "customer"}"#;
        place.ok(&["apply-event", "-i", id, "-e", "ANSWER_OF_THE_CUSTOMER", "-p", payload]);
    }
    place
}

fn widest(text: &str) -> usize {
    text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0)
}

const TABLES: &[&[&str]] = &[
    &["list-instances"],
    &["list-machines"],
    &["count-instances"],
    &["history", LONG_ID],
    &["wal-read"],
    &["get-machine", "-n", "correspondence"],
    &["get-machine", "-n", "order"],
    &["permitted", "o-3", "-p", "{\"amount\":5}"],
    &["get-instance", LONG_ID],
    &["stats"],
    &["info"],
    &["verify"],
];

#[test]
fn results_fit_the_terminal_and_wide_shows_all() {
    let place = with_long_names();
    let run = |columns: &str, arguments: &[&str]| {
        let path = place.path();
        let mut command = place.command(arguments);
        command.args(["--path", path.to_str().unwrap()]).env("COLUMNS", columns);
        place.ran(command.output().unwrap())
    };
    for arguments in TABLES {
        for columns in [120, 80, 60, 40] {
            let shown = run(&columns.to_string(), arguments);
            assert_eq!(shown.code, 0, "{arguments:?}: {}", shown.stderr);
            let widest = widest(&shown.stdout);
            assert!(widest <= columns, "{arguments:?}: {widest} of {columns}\n{}", shown.stdout);
        }
        let wide = [arguments as &[&str], &["--wide"]].concat();
        let wide = run("60", &wide).stdout;
        assert!(!wide.contains('…'), "{arguments:?}:\n{wide}");
        // Programs get the same whatever is before the eyes.
        let json = [arguments as &[&str], &["--output", "json"]].concat();
        let json = [run("40", &json), run("400", &json)].map(|ran| ran.stdout);
        assert_eq!(json[0], json[1], "{arguments:?}");
    }
    let shown = run("80", &["list-instances"]).stdout;
    assert!(shown.starts_with('┌') && shown.contains('…'), "{shown}");
    // Numbers are whole or not there.
    assert!(shown.contains("version") && shown.contains("offset"), "{shown}");
    let wide = run("80", &["list-instances", "--wide"]).stdout;
    assert!(wide.contains(LONG_ID) && widest(&wide) > 80, "{wide}");
    // Where nobody knows the width, nothing but very long texts is shortened.
    assert!(place.ok(&["list-instances"]).contains(LONG_ID));
}

#[test]
#[cfg(target_os = "linux")]
fn the_terminal_itself_says_how_wide_it_is() {
    let place = with_long_names();
    let run = |size: &str| {
        // `script` of util-linux runs a command in a terminal.
        let line = format!("{size} {} list-instances", env!("CARGO_BIN_EXE_rstmdb-cli"));
        let path = place.path();
        let shown = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env_remove("COLUMNS")
            .env("RSTMDB_PATH", path.to_str().unwrap())
            .stdin(std::process::Stdio::null())
            .output();
        let Ok(shown) = shown else {
            assert!(std::env::var_os("CI").is_none(), "script, of util-linux, is missing");
            return None;
        };
        Some(String::from_utf8(shown.stdout).unwrap().replace('\r', ""))
    };
    for (size, columns) in
        [("stty rows 24 cols 90;", 90), ("stty rows 24 cols 70;", 70), ("stty rows 0 cols 0;", 80)]
    {
        let Some(shown) = run(size) else {
            eprintln!("script, of util-linux, is missing; no terminal is tried");
            return;
        };
        assert!(shown.contains('…') && shown.contains("order"), "{size}\n{shown}");
        assert!((columns - 6..=columns).contains(&widest(&shown)), "{size}\n{shown}");
    }
}

#[test]
fn rows_become_records_where_they_are_asked_for_or_do_not_fit() {
    let place = with_long_names();
    let run = |columns: &str, arguments: &[&str]| {
        place.ran(place.command(arguments).env("COLUMNS", columns).output().unwrap()).stdout
    };
    let records = run("200", &["list-instances", "-m", "order", "--record", "--limit", "2"]);
    assert_eq!(
        records,
        "instance  o-1\nmachine   order\nversion   1\nstate     shipped\n\
         updated   2000-01-01T00:00:00.000Z\noffset    7\n\n\
         instance  o-2\nmachine   order\nversion   1\nstate     paid\n\
         updated   2000-01-01T00:00:00.000Z\noffset    6\n2 of 3 instances\n"
    );
    // Too narrow for a table; and a row alone is shown whole.
    assert!(run("50", &["list-instances"]).contains(&format!("instance  {LONG_ID}\n")));
    let alone = run("100", &["list-instances", "-m", "correspondence", "--limit", "1"]);
    assert!(alone.starts_with(&format!("instance  {LONG_ID}\n")), "{alone}");
    let table = run("100", &["list-instances", "-m", "order", "--limit", "1"]);
    assert!(table.starts_with('┌'), "{table}");
    // In the shell a line has them too.
    let ran = place.run_with_input(
        &["shell"],
        "list-instances -m order --limit 1 --record\nlist-instances -m order --limit 1\n",
    );
    assert!(
        ran.stdout.starts_with("instance  o-1\n") && ran.stdout.contains('┌'),
        "{}",
        ran.stdout
    );
}

#[test]
fn totals_of_lists_are_printed() {
    let place = Place::with_orders();
    assert!(place.ok(&["list-instances"]).ends_with("┘\n3 instances\n"));
    let some = place.run(&["list-instances", "--limit", "2"]);
    assert!(some.stdout.ends_with("┘\n2 of 3 instances\n"), "{}", some.stdout);
    assert!(some.stderr.starts_with("2 of 3 shown; go on with --cursor"), "{}", some.stderr);
    assert!(place.ok(&["list-instances", "--state", "paid"]).ends_with("1 instance\n"));
    assert!(place.ok(&["list-machines"]).ends_with("1 machine\n"));
}

#[test]
fn a_guard_that_does_not_parse_is_shown_with_its_caret() {
    let place = Place::new();
    let bad = ORDER.replace("payload.amount >= ctx.total", "payload.amount >== ctx.total");
    let expected = "  payload.amount >== ctx.total\n                   ^\n";
    for arguments in [
        &["put-machine", "-n", "order", "-v", "1", &bad] as &[&str],
        &["--path", "mem:", "validate-machine", &bad],
        &["--path", "mem:", "validate-machine", "--lenient", &bad],
    ] {
        let path = place.path();
        let mut command = place.command(&[]);
        command.env_clear().args(arguments);
        if !arguments.contains(&"--path") {
            command.args(["--path", path.to_str().unwrap()]);
        }
        let ran = place.ran(command.output().unwrap());
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{arguments:?}:\n{}", ran.stderr);
        assert!(!ran.stderr.contains("\\n"), "{}", ran.stderr);
    }
    let script = format!("ping\nput-machine -n order -v 1 {bad}\n");
    let ran = place.run_with_input(&["--path", "mem:", "shell"], &script);
    assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    // What others wrote makes no lines.
    let error = Place::with_orders().run(&["get-instance", "a\n  hint: nothing"]).stderr;
    assert!(!error.lines().any(|line| line == "  hint: nothing"), "{error}");
}

/// The lines that a script printed, without what names the events or answers beside it.
fn kinds(stdout: &str) -> Vec<String> {
    let kind = |line: &str| match serde_json::from_str::<serde_json::Value>(line) {
        Ok(event) if event.get("kind").is_some() => format!("event {}", event["wal_offset"]),
        Ok(answer) => match answer.get("wal_offset") {
            Some(offset) => format!("answer {offset}"),
            None => "answer".to_owned(),
        },
        Err(_) => panic!("{line}"),
    };
    stdout.lines().map(kind).collect()
}

#[test]
fn a_watch_of_the_shell_shows_what_a_command_did_before_the_next_one() {
    let server = TestServer::in_memory(|_| {});
    let place = Place::on_server(server.address());
    place.add_orders();
    let mut script = "watch-all --background --lifecycle\n".to_owned();
    let mut expected = Vec::new();
    for number in 0..40 {
        script.push_str(&format!("c -m order -i i-{number}\n"));
        script.push_str(&format!("a -i i-{number} -e CANCEL\nping\n"));
        let offset = 8 + 2 * number;
        for offset in [offset, offset + 1] {
            expected.extend([format!("answer {offset}"), format!("event {offset}")]);
        }
        expected.push("answer".to_owned());
    }
    let ran = place.run_with_input(&["shell", "--output", "json"], &script);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(kinds(&ran.stdout), expected);
}

#[test]
fn a_watch_of_the_shell_reports_what_came_before_an_error_and_before_its_end() {
    let server = TestServer::in_memory(|_| {});
    let place = Place::on_server(server.address());
    place.add_orders();
    // The batch is an error after its first change; the watch ends behind what came before.
    let batch = r#"[{"op":"APPLY_EVENT","params":{"instance_id":"o-3","event":"CANCEL"}}]"#;
    let script = format!(
        "watch-all --background --machines order\nwatch-instance o-1 --background\n\
         batch {batch}\nget-instance o-9\nunwatch\na -i o-2 -e SHIP\n"
    );
    let ran = place.run_with_input(&["shell", "--output", "json"], &script);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert_eq!(kinds(&ran.stdout), ["answer", "event 8", "answer 9"]);
    // Nobody waits for a watch that has nothing to show.
    assert!(ran.stderr.contains("2 watches ended"), "{}", ran.stderr);
}

/// Others may write faster than a report prints: it ends all the same, and so does the script.
#[test]
fn a_report_of_the_shell_ends_while_others_go_on_writing() {
    let server = TestServer::in_memory(|_| {});
    let place = Place::on_server(server.address());
    place.ok(&["put-machine", "-n", "loop", "-v", "1", LOOP]);
    place.ok(&["create-instance", "-m", "loop", "-i", "busy"]);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut wire = server.wire();
                let event = serde_json::json!({"instance_id": "busy", "event": "E"});
                while !is_over.load(Ordering::Relaxed) {
                    wire.call("APPLY_EVENT", event.clone()).unwrap();
                }
            });
        }
        let script = "watch-all --background\nping\nping\nget-instance nobody\nping\n";
        let mut command = place.command(&["shell", "--output", "json"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        // One that never ends is ended, and then has another exit code.
        let (ended, watched) = mpsc::channel::<()>();
        let process = child.id().to_string();
        let watchdog = scope.spawn(move || {
            if watched.recv_timeout(Duration::from_secs(120)) == Err(RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-9", &process]).status();
            }
        });
        let ran = place.ran(child.wait_with_output().unwrap());
        drop(ended);
        is_over.store(true, Ordering::Relaxed);
        watchdog.join().unwrap();
        assert_eq!(ran.code, 3, "{}", ran.stderr);
        let kinds = kinds(&ran.stdout);
        assert_eq!(kinds.iter().filter(|kind| **kind == "answer").count(), 3);
        assert!(kinds.iter().any(|kind| kind.starts_with("event")));
    });
}

#[test]
fn help_in_the_shell_shows_what_can_be_given_there() {
    let place = Place::new();
    let ran = place
        .run_with_input(&["--path", "mem:", "shell"], "help list-instances\nping --help\nhelp\n");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let shown = &ran.stdout;
    for fixed in
        ["--server", "--path", "--token", "--tls", "--ca-cert", "--fsync", "Usage: rstmdb-cli"]
    {
        assert!(!shown.contains(fixed), "{fixed} in\n{shown}");
    }
    assert!(!shown.contains("| jq"), "{shown}");
    for given in ["Usage: list-instances [OPTIONS]", "--output", "--wide", "  ping\n"] {
        assert!(shown.contains(given), "no {given:?} in\n{shown}");
    }
    // Outside they are there.
    assert!(place.ok(&["ping", "--help"]).contains("--server"));
    // They are still refused by name.
    let ran = place.run_with_input(&["--path", "mem:", "shell"], "ping --token t\n");
    assert!(ran.stderr.contains("--token is fixed in the shell"), "{}", ran.stderr);
}

#[test]
fn shells_of_the_system_complete_commands_and_options() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = place.ok(&["completions", shell]);
        for word in ["put-machine", "list-instances", "idempotency-key", "insecure"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
        assert!(!script.contains("help-markdown"), "{shell}");
    }
    let script = place.file("completions.bash", place.ok(&["completions", "bash"]));
    let Ok(bash) = Command::new("bash").arg("--version").output() else {
        assert!(std::env::var_os("CI").is_none(), "bash is missing");
        eprintln!("bash is missing; what it completes is not tried");
        return;
    };
    assert!(bash.status.success());
    let completed = |words: &str| {
        let program = format!(
            "source '{script}'; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _rstmdb__cli rstmdb-cli \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").args(["--norc", "-c", &program]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(completed("rstmdb-cli put-m"), ["put-machine"]);
    assert_eq!(completed("rstmdb-cli get-machine --ver"), ["--version"]);
    assert_eq!(completed("rstmdb-cli list-instances --output ''"), ["table", "json"]);
}

#[test]
fn every_command_has_a_manual_page() {
    let place = Place::new();
    let folder = place.folder.path().join("share/man1");
    place.ok(&["man-pages", folder.to_str().unwrap()]);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let root = read("rstmdb-cli.1");
    assert!(root.contains(".TH rstmdb-cli 1") && root.contains("Exit codes:"), "{root}");
    for operation in rstmdb_types_operations() {
        let page = read(&format!("rstmdb-cli-{operation}.1"));
        assert!(page.contains(".SH SYNOPSIS") && page.contains("Examples:"), "{page}");
    }
    assert!(!folder.join("rstmdb-cli-help-markdown.1").exists());
}

/// The names of the commands that are operations.
fn rstmdb_types_operations() -> Vec<String> {
    rstmdb::Operation::ALL.iter().map(|operation| operation.name().replace('_', "-")).collect()
}
