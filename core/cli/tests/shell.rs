//! The shell, fed from a pipe.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

mod common;

use common::Place;
use insta::assert_snapshot;

#[test]
fn a_script_runs_line_by_line() {
    let place = Place::new();
    let script = r#"
# JSON needs no quotes and may span lines.
put-machine -n door -v 1 {
    "states": ["open", "shut"],
    "initial": "open",
    "transitions": [
        {"from": "open", "event": "SHUT", "to": "shut"},
        {"from": "shut", "event": "OPEN", "to": "open"}
    ]
}
c -m door -i 'front door' -c {"colour": "red"}
watch-all --no-ctx
a -i 'front door' -e SHUT -p {"by": "wind"}
a -i 'front door' -e SHUT
count-instances
output json
g 'front door'
count-instances --output table
unwatch
quit
list-machines
"#;
    let ran = place.run_with_input(&["shell"], script);
    // The refused event decides the exit code, but does not end the script.
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert_snapshot!(format!("{}--- stderr ---\n{}", ran.stdout, ran.stderr));
}

#[test]
fn no_command_means_the_shell() {
    let place = Place::with_orders();
    let ran = place.run_with_input(&[], "ping\nexit\n");
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "PONG\n", ""));
}

#[test]
fn mistakes_are_explained_and_the_script_goes_on() {
    let place = Place::with_orders();
    let script = "nonsense\nget-instance\nping --path elsewhere\nshell\noutput xml\nping\n\
                  help ping\nhelp\nget-instance 'o-1\n";
    let ran = place.run_with_input(&["shell"], script);
    assert_eq!(ran.code, 2);
    assert_snapshot!(format!("{}--- stderr ---\n{}", ran.stdout, ran.stderr));
}

#[test]
fn reading_in_the_shell_creates_nothing() {
    let place = Place::new();
    let ran = place.run_with_input(&["shell"], "list-machines\n");
    assert_eq!(ran.code, 3);
    assert!(!place.path().exists());
}

#[test]
fn comments_open_no_quote_and_errors_name_their_line() {
    let place = Place::with_orders();
    let script = "\u{feff}# don't create twice\r\nping\r\n  # isn't it {\n\nget-instance\nget-machine -n \\\n  nope\n\
                  # it's over\nget-instance o'1\n# '\nping\n";
    let ran = place.run_with_input(&["shell"], script);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, "PONG\nPONG\n"));
    let errors: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(errors[0].starts_with("error: line 5: the following required arguments"), "{errors:?}");
    assert_eq!(errors[1], "error: line 6: machine \"nope\" not found");
    // The quote is closed on the next line.
    assert!(errors[2].starts_with("error: line 9: "), "{errors:?}");
    assert_eq!(errors.len(), 3);

    let ran = place.run_with_input(&["shell", "--output", "json"], "ping\nnope\nping 'x\n");
    let errors: Vec<serde_json::Value> =
        ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(errors[0]["context"]["script_line"], 2);
    assert_eq!(errors[1]["context"]["script_line"], 3);
    let message = "line 3: the script ends too early: a quote is not closed";
    assert_eq!(errors[1]["message"], message);
}

#[test]
fn a_script_in_another_encoding_ends_with_a_clear_error() {
    let place = Place::with_orders();
    let run = |bytes: Vec<u8>| {
        let script = place.file("script.txt", bytes);
        let mut command = place.command(&["shell"]);
        command.stdin(std::fs::File::open(script).unwrap());
        place.ran(command.output().unwrap())
    };
    let ran = run(b"ping\nget-instance caf\xe9\nping\n".to_vec());
    assert_eq!((ran.code, ran.stdout.as_str()), (2, "PONG\n"));
    assert!(
        ran.stderr.contains("the script is not UTF-8: line 2 has the byte 0xe9"),
        "{}",
        ran.stderr
    );
    let ran = run("\u{feff}ping\n".encode_utf16().flat_map(u16::to_be_bytes).collect());
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("the script is UTF-16 (big-endian)"), "{}", ran.stderr);
}

#[test]
fn a_command_of_a_script_may_read_on_from_it() {
    let place = Place::new();
    let script = format!("put-machine -n order -v 1 -\n{}\n", common::ORDER);
    let ran = place.run_with_input(&["shell"], &script);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(place.json(&["get-machine", "-n", "order"])["definition"]["initial"], "created");
}
