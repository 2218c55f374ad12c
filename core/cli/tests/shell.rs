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
