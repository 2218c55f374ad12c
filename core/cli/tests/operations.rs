//! Every operation as a command: its table, its JSON, its errors and exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

mod common;

use common::{ORDER, Place};
use insta::assert_snapshot;
use rstmdb_testkit::server::TestServer;
use serde_json::{Value, json};

#[test]
fn tables_of_every_operation() {
    let place = Place::with_orders();
    let screens: &[&[&str]] = &[
        &["put-machine", "-n", "order", "-v", "1", ORDER],
        &["get-machine", "-n", "order"],
        &["list-machines"],
        &["create-instance", "-m", "order", "-i", "o-4"],
        &["get-instance", "o-1"],
        &["list-instances"],
        &["list-instances", "-m", "order", "--state", "created"],
        &["count-instances"],
        &["apply-event", "-i", "o-4", "-e", "CANCEL", "--expected-state", "created"],
        &["permitted", "o-3", "-p", "{\"amount\":5}"],
        &["permitted", "o-4"],
        &["delete-instance", "o-4"],
        &["history", "o-1"],
        &["history", "o-1", "--order", "oldest", "--limit", "1"],
        &["wal-read", "--limit", "3"],
        &["flush-all", "--yes"],
        &["ping"],
    ];
    assert_snapshot!(screens_of(&place, screens));
}

#[test]
fn tables_of_batches() {
    let place = Place::with_orders();
    let batch = r#"[{"op":"GET_INSTANCE","params":{"instance_id":"o-1"}},
        {"op":"APPLY_EVENT","params":{"instance_id":"o-1","event":"PAY"}}]"#;
    assert_snapshot!(screens_of(&place, &[&["batch", batch]]));
}

fn screens_of(place: &Place, screens: &[&[&str]]) -> String {
    let mut text = String::new();
    for arguments in screens {
        let ran = place.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
        let shown: Vec<_> =
            arguments.iter().map(|word| if word.len() > 100 { "…" } else { word }).collect();
        text.push_str(&format!("$ rstmdb-cli {}\n{}", shown.join(" "), ran.stdout));
        text.push_str(&ran.stderr);
        text.push('\n');
    }
    text
}

#[test]
fn info_stats_and_compact_name_their_figures() {
    let place = Place::with_orders();
    let info = place.ok(&["info"]);
    for line in
        ["backend               file", "writable              yes", "instances             3"]
    {
        assert!(info.contains(line), "{line} in {info}");
    }
    let stats = place.ok(&["stats"]);
    for text in ["health", "log size", "│ order   ┆       1 ┆ shipped ┆     1 │"] {
        assert!(stats.contains(text), "{text} in {stats}");
    }
    assert!(place.ok(&["wal-stats"]).contains("latest offset  7\n"));
    assert!(place.ok(&["compact", "--force"]).contains("instances in the checkpoint  3\n"));
    let snapshot = place.ok(&["snapshot-instance", "o-1"]);
    assert!(snapshot.contains("instance  o-1\n"), "{snapshot}");
    let mut files = std::fs::read_dir(place.path().join("snapshots")).unwrap();
    let file = files.next().unwrap().unwrap().file_name().into_string().unwrap();
    let id = file.strip_suffix(".json").unwrap();
    let snapshots = || place.json(&["list-snapshots", "o-1"])["snapshots"].clone();
    assert_eq!(snapshots().as_array().unwrap().len(), 1);
    let table = place.ok(&["list-snapshots", "-i", "o-1"]);
    assert!(table.contains("checksum") && table.contains("snap-"), "{table}");
    assert!(place.ok(&["drop-snapshot", id]).starts_with("dropped  snap-"));
    assert_eq!(snapshots(), serde_json::json!([]));
    assert_eq!(place.error(3, &["drop-snapshot", id])["reason"], "snapshot_not_found");
}

#[test]
fn json_is_the_result_itself() {
    let place = Place::with_orders();
    assert_eq!(
        place.ok(&["count-instances", "--machine", "order", "--output", "json"]),
        "{\"counts\":[{\"machine\":\"order\",\"version\":1,\"state\":\"created\",\"count\":1},\
         {\"machine\":\"order\",\"version\":1,\"state\":\"paid\",\"count\":1},\
         {\"machine\":\"order\",\"version\":1,\"state\":\"shipped\",\"count\":1}]}\n"
    );
    assert_eq!(
        place.ok(&["list-machines", "--output=json"]),
        "{\"items\":[{\"machine\":\"order\",\"versions\":[1]}]}\n"
    );
    assert_eq!(place.ok(&["ping", "--output", "json"]), "{\"pong\":true}\n");
    let members = |arguments: &[&str], expected: &[&str]| {
        let result = place.json(arguments);
        for member in expected {
            assert!(result.get(member).is_some(), "{arguments:?}: no {member} in {result}");
        }
        result
    };
    members(&["get-machine", "-n", "order", "-v", "1"], &["definition", "checksum"]);
    let instance = members(&["get-instance", "o-1"], &["ctx", "state", "created_at"]);
    assert_eq!(instance["last_event_id"], "parcel-7");
    members(&["list-instances"], &["instances", "total", "has_more"]);
    members(&["permitted", "o-1"], &["state", "completed", "events"]);
    members(&["history", "o-1"], &["events", "first_offset", "truncated"]);
    members(&["wal-read"], &["records", "next_offset"]);
    members(&["wal-stats"], &["latest_offset", "io_stats"]);
    members(&["info"], &["limits", "features", "database_id"]);
    members(&["compact", "--force"], &["total_snapshots", "wal_segments"]);
    members(&["snapshot-instance", "o-1"], &["snapshot_id", "checksum"]);
    members(&["stats"], &["info", "wal", "counts"]);
    let event = ["apply-event", "-i", "o-2", "-e", "SHIP", "--idempotency-key", "k"];
    assert_eq!(members(&event, &["from_state", "ctx"])["applied"], true);
    assert_eq!(members(&event, &["from_state", "ctx"])["applied"], false);
    members(&["delete-instance", "o-2"], &["deleted", "wal_offset"]);
    let flushed = members(&["flush-all", "--yes"], &["flushed"]);
    assert_eq!(flushed["instances_removed"], 2);
}

#[test]
fn batches_run_from_arguments_files_and_input() {
    let place = Place::with_orders();
    let ship = r#"{"op":"APPLY_EVENT","params":{"instance_id":"o-2","event":"SHIP"}}"#;
    let bad = r#"{"op":"APPLY_EVENT","params":{"instance_id":"o-3","event":"SHIP"}}"#;
    let error = place.error(5, &["batch", "--mode", "atomic", &format!("[{ship},{bad}]")]);
    assert_eq!(error["code"], "INVALID_TRANSITION");
    assert_eq!(place.json(&["get-instance", "o-2"])["state"], "paid");

    let file = place.file("ops.json", format!("{{\"ops\":[{ship},{bad}]}}"));
    let result = place.json(&["batch", &format!("@{file}")]);
    let statuses: Vec<&Value> =
        result["results"].as_array().unwrap().iter().map(|outcome| &outcome["status"]).collect();
    assert_eq!(statuses, [&json!("ok"), &json!("error")]);

    let ran = place.run_with_input(&["batch", "-"], r#"{"ops":[{"op":"NOPE"}]}"#);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("op is \"NOPE\""), "{}", ran.stderr);
}

#[test]
fn a_mistyped_member_of_a_batch_is_refused_by_name() {
    let place = Place::with_orders();
    for (batch, field, like) in [
        (
            r#"[{"op":"APPLY_EVENT","params":{"instance_id":"o-2","event":"SHIP","payloads":{}}}]"#,
            "ops[0].params.payloads",
            "payload",
        ),
        (r#"[{"op":"APPLY_EVENT","parms":{}}]"#, "ops[0].parms", "params"),
        (r#"{"ops":[],"idempotancy_key":"k"}"#, "idempotancy_key", "idempotency_key"),
    ] {
        let error = place.error(2, &["batch", batch]);
        let context = &error["context"];
        assert_eq!(context["field"], field, "{error}");
        assert_eq!(context["suggestion"], like, "{error}");
        let said = place.run(&["batch", batch]).stderr;
        assert!(said.contains(&format!("{field:?}; did you mean {like:?}?")), "{said}");
    }
    assert_eq!(place.json(&["get-instance", "o-2"])["state"], "paid", "nothing happened");
}

#[test]
fn integers_that_do_not_fit_are_refused_wherever_they_are_typed() {
    let place = Place::with_orders();
    let large = "18446744073709551616";
    let guarded = ORDER.replace(">= ctx.total", &format!("> {large}"));
    let file = place.file("ctx.json", format!("{{\"a\":\n [1, {large}]}}"));
    let event = format!(
        r#"[{{"op":"APPLY_EVENT","params":{{"instance_id":"o-2","event":"SHIP","payload":{{"n":-{large}}}}}}}]"#
    );
    let (payload, meta) = (format!("{{\"n\":{large}}}"), format!("{{\"meta\":{large}}}"));
    for (command, path, column) in [
        (&["apply-event", "-i", "o-2", "-e", "SHIP", "-p", &payload] as &[&str], "n", 6),
        (&["create-instance", "-m", "order", "-i", "o-9", "-c", &format!("@{file}")], "a[1]", 6),
        (&["batch", &event], "[0].params.payload.n", 82),
        (&["put-machine", "-n", "order", "-v", "2", &meta], "meta", 9),
        (&["put-machine", "-n", "order", "-v", "2", &guarded], "transitions[0].guard", 18),
        (&["validate-machine", &guarded], "transitions[0].guard", 18),
        (&["permitted", "o-2", "-p", &payload], "n", 6),
    ] {
        let error = place.error(2, command);
        assert_eq!(error["context"]["path"], path, "{command:?}: {error}");
        assert_eq!(error["context"]["column"], column, "{command:?}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("does not fit 64 bits; write it as a string"), "{message}");
    }
    let script = format!("get-instance o-2\napply-event -i o-2 -e SHIP -p {payload}\n");
    let ran = place.run_with_input(&["--output", "json"], &script);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("does not fit 64 bits"), "{}", ran.stderr);
    assert_eq!(place.json(&["get-instance", "o-2"])["state"], "paid", "nothing happened");
    // The remedies.
    for (id, payload) in
        [("o-2", format!("{{\"n\":\"{large}\"}}")), ("o-3", "{\"n\":1e20}".to_owned())]
    {
        place.ok(&["apply-event", "-i", id, "-e", "CANCEL", "-p", &payload]);
    }
    assert_eq!(place.json(&["get-instance", "o-3"])["ctx"]["n"].to_string(), "1e+20");
}

/// The table of values that every language runs, as the commands have it.
#[test]
fn values_are_taken_and_refused_as_the_table_says() {
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/conformance/values.json");
    let table: Value = serde_json::from_str(&std::fs::read_to_string(table).unwrap()).unwrap();
    let server = TestServer::in_memory(|_| ());
    for place in [Place::new(), Place::on_server(server.address())] {
        let kept = r#"{"states":["kept"],"initial":"kept",
            "transitions":[{"from":"kept","event":"SET","to":"kept"}]}"#;
        place.ok(&["put-machine", "-n", "values", "-v", "1", kept]);
        place.ok(&["create-instance", "-m", "values", "-i", "value"]);
        let rows = table["values"].as_array().unwrap();
        assert!(rows.len() >= 60);
        for row in rows {
            let text = row["text"].as_str().unwrap();
            let payload = format!("@{}", place.file("value.json", format!("{{\"v\":{text}}}")));
            let words = ["--output", "json", "apply-event", "-i", "value", "-e", "SET", "-p"];
            let ran = place.command(&[&words[..], &[&payload]].concat()).output().unwrap();
            let (code, out) = (ran.status.code(), [ran.stdout, ran.stderr]);
            let [stdout, stderr] = out.map(|bytes| String::from_utf8(bytes).unwrap());
            match row["stored"].as_str() {
                Some(stored) => {
                    assert_eq!(code, Some(0), "{row}: {stderr}");
                    // What a terminal would hide stands there escaped.
                    let result: rstmdb::ApplyEventResult = serde_json::from_str(&stdout).unwrap();
                    assert_eq!(result.ctx.as_str(), format!("{{\"v\":{stored}}}"), "{row}");
                    if stored.is_ascii() && !stored.contains('\u{7f}') {
                        assert!(stdout.contains(stored), "{row}: {stdout}");
                    }
                }
                None => {
                    let refused = &row["refused"];
                    assert_eq!(code, Some(2), "{row}: {stdout}");
                    let error: Value = serde_json::from_str(stderr.trim_end()).unwrap();
                    let reason = refused["reason"].as_str().unwrap_or("invalid_request");
                    assert_eq!(error["reason"], reason, "{row}: {error}");
                    if let Some(path) = refused["path"].as_str() {
                        assert_eq!(error["context"]["path"], format!("v{path}"), "{row}: {error}");
                    }
                    let said = refused["said"].as_str().unwrap_or("");
                    assert!(error["message"].as_str().unwrap().contains(said), "{row}: {error}");
                }
            }
        }
    }
}

#[test]
fn exit_codes_follow_the_kind_of_error() {
    let place = Place::with_orders();
    let expect = |code: i32, kind: &str, arguments: &[&str]| {
        let error = place.error(code, arguments);
        assert_eq!(error["kind"], kind, "{arguments:?}: {error}");
        assert!(error["message"].is_string() && error["code"].is_string());
    };
    let other = ORDER.replace("SHIP", "SEND");
    expect(2, "invalid", &["put-machine", "-n", "order", "-v", "2", "{}"]);
    expect(2, "invalid", &["put-machine", "-n", "order", "-v", "2", "{"]);
    expect(2, "invalid", &["no-such-command"]);
    expect(2, "invalid", &["flush-all"]);
    expect(2, "invalid", &["ping", "--fsync", "sometimes"]);
    expect(3, "not_found", &["get-instance", "o-9"]);
    expect(3, "not_found", &["create-instance", "-m", "nope"]);
    expect(3, "not_found", &["put-machine", "-n", "x", "-v", "1", "@nope.json"]);
    expect(4, "already_exists", &["create-instance", "-m", "order", "-i", "o-1"]);
    expect(4, "already_exists", &["put-machine", "-n", "order", "-v", "1", &other]);
    expect(5, "rejected", &["apply-event", "-i", "o-1", "-e", "SHIP"]);
    expect(5, "rejected", &["apply-event", "-i", "o-3", "-e", "PAY", "-p", "{\"amount\":1}"]);
    expect(6, "conflict", &["apply-event", "-i", "o-1", "-e", "PAY", "--expected-state", "paid"]);
}

#[test]
fn a_directory_in_use_is_unavailable() {
    let place = Place::with_orders();
    let mut shell = place.command(&["shell"]);
    shell.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    let mut input = shell.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"ping\n").unwrap();
    let mut answer = [0; 5];
    std::io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut answer).unwrap();
    assert_eq!(&answer, b"PONG\n");

    let error = place.error(8, &["ping"]);
    assert_eq!(error["reason"], "locked");
    assert!(error["hint"].as_str().unwrap().contains("one process at a time"));
    drop(input);
    assert!(shell.wait().unwrap().success());
    place.ok(&["ping"]);
}

#[test]
fn errors_name_code_context_and_hint() {
    let place = Place::with_orders();
    let mut text = String::new();
    for arguments in [
        &["get-instance", "o-9"] as &[&str],
        &["apply-event", "-i", "o-3", "-e", "PAY", "-p", "{\"amount\":1}"],
        &["apply-event", "-i", "o-1", "-e", "PAY", "--expected-state", "paid"],
        &[
            "put-machine",
            "-n",
            "order",
            "-v",
            "1",
            "{\"states\":[\"a\"],\"initial\":\"b\",\"transitions\":[]}",
        ],
        &["create-instance", "-m", "order", "-i", "o-1"],
        &["--path", "typo", "get-instance", "o-1"],
        &["apply-event", "-i", "o-3", "-e", "PAY", "-p", "{amount:1}"],
        &["flush-all"],
    ] {
        let ran = place.run(arguments);
        assert_ne!(ran.code, 0);
        assert_eq!(ran.stdout, "");
        text.push_str(&format!("$ rstmdb-cli {}\n{}", arguments.join(" "), ran.stderr));
        text.push_str(&format!("[{}]\n\n", ran.code));
    }
    assert_snapshot!(text);
}

#[test]
fn reading_never_creates_a_database() {
    let place = Place::new();
    for arguments in [
        &["get-machine", "-n", "order"] as &[&str],
        &["list-machines"],
        &["get-instance", "o-1"],
        &["list-instances"],
        &["count-instances"],
        &["permitted", "o-1"],
        &["history", "o-1"],
        &["watch-all", "--replay"],
        &["watch-instance", "o-1", "--replay"],
        &["wal-read"],
        &["wal-stats"],
        &["snapshot-instance", "o-1"],
        &["list-snapshots", "o-1"],
        &["drop-snapshot", "snap-0"],
        &["info"],
        &["ping"],
        &["stats"],
        &["diagram", "order"],
    ] {
        let error = place.error(3, arguments);
        assert!(error["message"].as_str().unwrap().contains("data"), "{error}");
        assert!(!place.path().exists(), "{arguments:?} created the directory");
    }
    place.ok(&["put-machine", "-n", "order", "-v", "1", ORDER]);
    assert!(place.path().is_dir());
}

#[test]
fn definitions_with_warnings_need_lenient() {
    let place = Place::new();
    let definition = ORDER.replace("\"guard\"", "\"gaurd\"");
    let put = ["put-machine", "-n", "order", "-v", "1", definition.as_str()];
    let error = place.error(2, &put);
    assert_eq!(error["reason"], "invalid_definition");
    assert!(error["message"].as_str().unwrap().contains("gaurd"), "{error}");

    let lenient: Vec<&str> = put.into_iter().chain(["--lenient"]).collect();
    let ran = place.run(&lenient);
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.starts_with("warning: transitions[0].gaurd"), "{}", ran.stderr);
    assert!(!place.json(&lenient)["warnings"].as_array().unwrap().is_empty());
}

#[test]
fn settings_come_from_options_before_the_environment() {
    let place = Place::with_orders();
    let output = place.command(&["ping"]).env("RSTMDB_OUTPUT", "json").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "{\"pong\":true}\n");
    let mut command = place.command(&["ping", "--output", "table", "--fsync", "every_n:10"]);
    let output = command.env("RSTMDB_OUTPUT", "json").env("RSTMDB_FSYNC", "never").output();
    assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), "PONG\n");
    let output = place.command(&["ping"]).env("RSTMDB_FSYNC", "maybe").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        place.ok(&["--path", "mem:", "list-machines", "--output", "json"]),
        "{\"items\":[]}\n"
    );
}

#[test]
fn lists_go_on_with_the_cursor() {
    let place = Place::with_orders();
    let page = place.json(&["list-instances", "--limit", "2"]);
    assert_eq!((page["total"].as_u64(), page["has_more"].as_bool()), (Some(3), Some(true)));
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = place.json(&["list-instances", "--cursor", cursor]);
    assert_eq!(rest["instances"][0]["id"], "o-3");
    let ran = place.run(&["list-instances", "--limit", "2"]);
    assert!(ran.stderr.contains("2 of 3 shown; go on with --cursor"), "{}", ran.stderr);
    let page = place.json(&["history", "o-1", "--limit", "2"]);
    let cursor = page["next_cursor"].to_string();
    let rest = place.json(&["history", "o-1", "--cursor", &cursor]);
    assert_eq!(rest["events"][0]["kind"], "created");
}

#[test]
fn files_and_input_take_a_byte_order_mark_and_name_what_they_can_not_be() {
    let place = Place::new();
    let marked = place.file("marked.json", format!("\u{feff}{ORDER}"));
    place.ok(&["put-machine", "-n", "order", "-v", "1", &format!("@{marked}")]);
    let ran = place.run_with_input(
        &["create-instance", "-m", "order", "-i", "o-1", "-c", "-"],
        "\u{feff}{\"total\": 3}",
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(place.json(&["get-instance", "o-1"])["ctx"]["total"], 3);
    let hash = |input: &str| place.run_with_input(&["hash-token"], input).stdout;
    assert_eq!(hash("\u{feff}s3cret\n"), hash("s3cret\n"));

    let utf16: Vec<u8> = ORDER.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [b"\xff\xfe".to_vec(), utf16.clone()].concat();
    std::fs::create_dir(place.folder.path().join("folder")).unwrap();
    for (path, part) in [
        (place.file("marked16.json", marked), "is UTF-16 (little-endian), not UTF-8"),
        (place.file("utf16.json", utf16), "is UTF-16 (little-endian), not UTF-8"),
        (place.file("latin1.json", b"{\n\"a\": \"caf\xe9\"}"), "line 2 has the byte 0xe9"),
        ("folder".to_owned(), "\"folder\" is a directory, not a file"),
        ("utf16.json/x".to_owned(), "can't use file \"utf16.json/x\""),
    ] {
        let path = format!("@{path}");
        for arguments in [
            &["put-machine", "-n", "m", "-v", "1", &path] as &[&str],
            &["validate-machine", &path],
            &["apply-event", "-i", "o-1", "-e", "PAY", "-p", &path],
            &["batch", &path],
        ] {
            let error = place.error(2, arguments);
            assert!(error["message"].as_str().unwrap().contains(part), "{part}: {error}");
            assert_eq!(
                (&error["code"], &error["retryable"]),
                (&"BAD_REQUEST".into(), &false.into())
            );
        }
    }
}

#[test]
fn a_file_is_no_directory_of_a_database() {
    let mut place = Place::new();
    let file = place.file("file", "");
    place.environment.clear();
    for command in
        [&["list-machines"] as &[&str], &["put-machine", "-n", "m", "-v", "1", ORDER], &["verify"]]
    {
        let error = place.error(2, &[&["--path", &file], command].concat());
        assert!(error["message"].as_str().unwrap().contains("is a file"), "{error}");
        assert_eq!((&error["code"], &error["retryable"]), (&"BAD_REQUEST".into(), &false.into()));
    }
}

#[test]
fn a_time_with_two_readings_is_refused_with_both() {
    let place = Place::with_orders();
    let ping = |timeout: &str| place.run(&["ping", "--wait", "--timeout", timeout]);
    let ran = ping("5M");
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("can mean 5min or 5months"), "{}", ran.stderr);
    for timeout in ["5min", "5months", "5m", "500ms"] {
        assert_eq!(ping(timeout).code, 0, "{timeout}");
    }
}
