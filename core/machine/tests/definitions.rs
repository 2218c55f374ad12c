//! What definitions are accepted, what is wrong with the others, and what is suspicious.

mod support;

use rstmdb_machine::Machine;
use rstmdb_types::{ErrorCode, Limits};
use support::{abc, json, machine, parse, refused, warnings};

const ORDER: &str = r#"{"states":["created","paid","shipped"],"initial":"created","transitions":[
    {"from":"created","event":"PAY","to":"paid"},
    {"from":"paid","event":"SHIP","to":"shipped","guard":"ctx.ready"}]}"#;

#[test]
fn checksums_are_those_of_the_existing_server() {
    assert_eq!(machine(ORDER).checksum(), "eef67bea");
    let one = r#"{"states":["a"],"initial":"a","transitions":[{"from":"a","event":"E","to":"a"}]}"#;
    assert_eq!(machine(one).checksum(), "c86e3e51");
    let with_meta = ORDER.replacen('{', r#"{"meta":{"z":1,"a":[1,2.5,null]},"#, 1);
    assert_eq!(machine(&with_meta).checksum(), "da9f20af");
}

#[test]
fn checksum_ignores_spelling_and_sees_meaning() {
    let base = machine(ORDER);
    for same in [
        ORDER.replace(r#""from":"paid""#, r#""from":["paid"]"#),
        ORDER.replacen('{', r#"{"meta":null,"final":[],"final_":1,"x":{},"#, 1),
        ORDER.replacen('{', r#"{"final":null,"#, 1),
        ORDER.replace(r#""event":"PAY""#, r#""event":"PAY","guard":null,"note":1"#),
    ] {
        assert_eq!(machine(&same).checksum(), base.checksum(), "{same}");
        assert_eq!(machine(&same).normal_form(), base.normal_form(), "{same}");
    }
    for other in [
        ORDER.replace("ctx.ready", "ctx.ready "),
        ORDER.replacen('{', r#"{"final":["shipped"],"#, 1),
        ORDER.replacen('{', r#"{"meta":{},"#, 1),
        ORDER.replace(r#""created","paid","shipped""#, r#""paid","created","shipped""#),
        ORDER.replace(r#""shipped"],"#, r#""shipped","shipped"],"#),
    ] {
        assert_ne!(machine(&other).checksum(), base.checksum(), "{other}");
    }
}

#[test]
fn checksum_text_sorts_meta_by_the_keys_themselves() {
    // The checksum of the text with the keys of meta in the order `"`, `#`, `\`, `]`, which is not
    // the order of their escaped forms.
    let text = r##"{"states":["é"],"initial":"é","transitions":[],"meta":{"\"":1,"#":2.0,"\\":{"a":3,"b":1e+30},"]":[]}}"##;
    let definition = r##"{"states":["é"],"initial":"é","transitions":[],"meta":{"]":[],"\\":{"b":1e30,"a":3},"\"":1,"#":2.0}}"##;
    assert_eq!(machine(definition).checksum(), format!("{:08x}", crc32c(text)));
}

/// CRC-32C, bit by bit.
fn crc32c(text: &str) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
    let byte = |crc: u32, byte: u8| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc));
    !text.bytes().fold(!0, byte)
}

#[test]
fn normal_form_has_lists_and_only_known_members() {
    let definition = r#"{"transitions":[{"to":"a","event":"E","from":"a","guard":null,"x":1}],
        "states":["a","a"],"initial":"a","meta":{"b":1,"a":2},"y":2,"final":[]}"#;
    let expected = r#"{"initial":"a","meta":{"a":2,"b":1},"states":["a","a"],"transitions":[{"event":"E","from":["a"],"to":"a"}]}"#;
    assert_eq!(machine(definition).normal_form().as_str(), expected);
    let finals = r#"{"states":["a","b"],"initial":"a","transitions":[],"final":["b"]}"#;
    let expected = r#"{"final":["b"],"initial":"a","states":["a","b"],"transitions":[]}"#;
    assert_eq!(machine(finals).normal_form().as_str(), expected);
}

#[test]
fn names_are_distinct_and_in_order_of_first_mention() {
    let machine = machine(
        r#"{"states":["z","a","z","m"],"initial":"m","final":["a"],"transitions":[
            {"from":["z","z"],"event":"Y","to":"a"},{"from":[],"event":"B","to":"a"},
            {"from":"m","event":"Y","to":"a"}]}"#,
    );
    assert_eq!(machine.states(), ["z", "a", "m"]);
    assert_eq!(machine.events(), ["Y", "B"]);
    assert_eq!((machine.state_id("m"), machine.state_id("x")), (Some(2), None));
    assert_eq!((machine.event_id("B"), machine.event_id("")), (Some(1), None));
    assert_eq!(machine.initial(), 2);
    assert_eq!([0, 1, 2, 99].map(|state| machine.is_final(state)), [false, true, false, false]);
}

#[test]
fn accepts_what_the_existing_server_accepts() {
    for definition in [
        r#"{"states":["a"],"initial":"a","transitions":[]}"#,
        r#"{"states":[""],"initial":"","transitions":[{"from":"","event":"","to":""}]}"#,
        r#"{"states":["*"],"initial":"*","transitions":[{"from":"*","event":"E","to":"*"}]}"#,
        r#"{"states":["a","a"],"initial":"a","transitions":[],"meta":[1,"x"],"unknown":true}"#,
        r#"{"states":["a"],"initial":"a","transitions":[{"from":[],"event":"E","to":"a"}]}"#,
        r#"{"states":["a"],"initial":"a","meta":0,"transitions":[{"from":"a","event":"E","to":"a","guard":"ctx..x"}]}"#,
    ] {
        let (machine, _) = parse(definition).unwrap();
        assert_eq!(
            Machine::load(machine.normal_form(), machine.level()).unwrap().checksum(),
            machine.checksum()
        );
    }
}

#[test]
fn errors_carry_a_path_and_say_what_to_do() {
    let transition = |text: &str| abc(&format!("[{text}]"));
    for (definition, path, message) in [
        ("[]".into(), "", "definition must be an object, found a list"),
        (
            r#"{"initial":"a","transitions":[]}"#.into(),
            "states",
            "definition: states is missing; add a list of state names",
        ),
        (
            r#"{"states":["a"],"transitions":[]}"#.into(),
            "initial",
            "definition: initial is missing; add the name of the first state",
        ),
        (
            r#"{"states":["a"],"initial":"a"}"#.into(),
            "transitions",
            "definition: transitions is missing; add a list, which may be empty",
        ),
        (
            r#"{"states":null,"initial":"a","transitions":[]}"#.into(),
            "states",
            "definition: states must be a list of state names, found null",
        ),
        (
            r#"{"states":["a",1],"initial":"a","transitions":[]}"#.into(),
            "states[1]",
            "definition: states[1] must be a name, found a number",
        ),
        (
            r#"{"states":[],"initial":"a","transitions":[]}"#.into(),
            "initial",
            r#"definition: initial is "a", which is not in states; add it to states"#,
        ),
        (
            r#"{"states":["created"],"initial":"creatd","transitions":[]}"#.into(),
            "initial",
            r#"definition: initial is "creatd", which is not in states; did you mean "created"?"#,
        ),
        (
            r#"{"states":["a"],"initial":"a","transitions":{}}"#.into(),
            "transitions",
            "definition: transitions must be a list of transitions, found an object",
        ),
        (
            r#"{"states":["a"],"initial":"a","transitions":[],"final":"a"}"#.into(),
            "final",
            "definition: final must be a list of state names, found a string",
        ),
        (
            r#"{"states":["a"],"initial":"a","transitions":[],"final":["b"]}"#.into(),
            "final[0]",
            r#"definition: final[0] is "b", which is not in states; add it to states"#,
        ),
        (
            transition("5"),
            "transitions[0]",
            "definition: transitions[0] must be an object with from, event and to, found a number",
        ),
        (
            transition(r#"{"event":"E","to":"a"}"#),
            "transitions[0].from",
            "definition: transitions[0].from is missing; add the name of a state or a list of them",
        ),
        (
            transition(r#"{"from":null,"event":"E","to":"a"}"#),
            "transitions[0].from",
            "definition: transitions[0].from must be the name of a state or a list of them, found null",
        ),
        (
            transition(r#"{"from":["a","x"],"event":"E","to":"a"}"#),
            "transitions[0].from[1]",
            r#"definition: transitions[0].from[1] is "x", which is not in states; add it to states"#,
        ),
        (
            transition(r#"{"from":"a","to":"a"}"#),
            "transitions[0].event",
            "definition: transitions[0].event is missing; add the name of the event",
        ),
        (
            transition(r#"{"from":"a","event":"E"}"#),
            "transitions[0].to",
            "definition: transitions[0].to is missing; add the name of a state",
        ),
        (
            transition(r#"{"from":"a","event":"E","to":"A"}"#),
            "transitions[0].to",
            r#"definition: transitions[0].to is "A", which is not in states; did you mean "a"?"#,
        ),
        (
            transition(r#"{"from":"a","event":"E","to":"*"}"#),
            "transitions[0].to",
            r#"definition: transitions[0].to is "*", which is not in states; add it to states"#,
        ),
        (
            transition(r#"{"from":"a","event":"E","to":"a","guard":true}"#),
            "transitions[0].guard",
            "definition: transitions[0].guard must be a guard, which is a string, found a boolean",
        ),
    ] {
        let error = refused(&definition);
        assert_eq!(error.code(), ErrorCode::BadRequest);
        assert_eq!(error.reason(), Some("invalid_definition"));
        assert_eq!(error.message(), message);
        assert_eq!(error.context()["path"], path);
        assert!(!error.retryable());
    }
}

#[test]
fn a_final_state_is_no_source() {
    let definition = r#"{"states":["a","b"],"initial":"a","final":["b"],"transitions":[
        {"from":["a","b"],"event":"E","to":"b"}]}"#;
    let error = refused(definition);
    assert_eq!(error.context()["path"], "transitions[0].from[1]");
    assert_eq!(
        error.message(),
        "definition: transitions[0].from[1] is \"b\", a final state, which no event leaves; take it \
         out of final or out of from"
    );
}

#[test]
fn guard_errors_carry_path_line_and_column() {
    let error =
        refused(&abc(r#"[{"from":"a","event":"E","to":"a","guard":"ctx.a &&\n  ctx.b >"}]"#));
    assert_eq!(error.reason(), Some("invalid_guard"));
    let context = error.context();
    assert_eq!(context["path"], "transitions[0].guard");
    assert_eq!((&context["line"], &context["column"]), (&2.into(), &10.into()));
    assert_eq!(
        error.message(),
        "definition: transitions[0].guard does not parse at line 2, column 10: expected a value, \
         found the end\n    ctx.b >\n           ^"
    );
}

#[test]
fn limits_hold_when_parsing_but_not_when_loading() {
    let definition =
        json(&abc(r#"[{"from":["a","b"],"event":"EVENT","to":"a","guard":"ctx.a && ctx.b"}]"#));
    let limits = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    };
    for (limits, limit) in [
        (limits(|l| l.definition_bytes_max = 20), "definition_bytes_max"),
        (limits(|l| l.states_max = 2), "states_max"),
        (limits(|l| l.transitions_max = 1), "transitions_max"),
        (limits(|l| l.guard_bytes_max = 5), "guard_bytes_max"),
        (limits(|l| l.name_bytes_max = 4), "name_bytes_max"),
    ] {
        let error = Machine::parse(&definition, &limits, false).unwrap_err();
        assert_eq!(error.reason(), Some("limit_exceeded"));
        assert_eq!(error.context()["limit"], limit);
    }
    Machine::load(&definition, 1).unwrap();
}

#[test]
fn warns_of_what_is_allowed_but_hardly_meant() {
    let finals = |finals: &str, transitions: &str| {
        abc(transitions).replacen('{', &format!(r#"{{"final":{finals},"#), 1)
    };
    let all = r#"{"from":"a","event":"B","to":"b"},{"from":"b","event":"C","to":"c"}"#;
    for (definition, expected) in [
        (ORDER.into(), vec![]),
        (abc(&format!("[{all}]")), vec![]),
        (r#"{"states":["a"],"initial":"a","transitions":[]}"#.into(), vec![]),
        (
            r#"{"states":["a"],"initial":"a","transitions":[],"we ird":1,"Final":[]}"#.into(),
            vec![("Final", "unknown_key"), (r#"["we ird"]"#, "unknown_key")],
        ),
        (
            r#"{"states":["a","a",""],"initial":"a","transitions":[{"from":"a","event":"","to":""}]}"#.into(),
            vec![
                ("states[1]", "duplicate_state"),
                ("states[2]", "empty_name"),
                ("transitions[0].event", "empty_name"),
            ],
        ),
        (
            abc(&format!(r#"[{all},{{"from":["a","a"],"event":"X","to":"a"}},{{"from":[],"event":"Y","to":"a"}}]"#)),
            vec![("transitions[2].from[1]", "duplicate_source"), ("transitions[3].from", "no_source")],
        ),
        (abc("[]"), vec![("states[1]", "unreachable_state"), ("states[2]", "unreachable_state")]),
        (
            // Behind an unguarded choice: never taken, so it reaches nothing either.
            abc(r#"[{"from":"a","event":"E","to":"b"},{"from":["b","a"],"event":"E","to":"c","guard":"ctx.x"}]"#),
            vec![("transitions[1].from[1]", "unreachable_choice")],
        ),
        (
            abc(r#"[{"from":"a","event":"E","to":"b"},{"from":"a","event":"E","to":"c"}]"#),
            vec![("transitions[1]", "unreachable_choice"), ("states[2]", "unreachable_state")],
        ),
        (
            abc(r#"[{"from":"*","event":"E","to":"b"},{"from":"a","event":"E","to":"b"},{"from":"b","event":"E","to":"c"},{"from":"c","event":"E","to":"c"}]"#),
            vec![("transitions[0]", "unused_wildcard")],
        ),
        (
            // The wildcard applies to b only, from where it leads to c.
            abc(r#"[{"from":"*","event":"E","to":"c"},{"from":"a","event":"E","to":"b"}]"#),
            vec![],
        ),
        (finals(r#"["c"]"#, &format!("[{all}]")), vec![]),
        (
            finals(r#"["c","c"]"#, r#"[{"from":"a","event":"E","to":"b"},{"from":"a","event":"F","to":"c"}]"#),
            vec![("final[1]", "duplicate_final"), ("states[1]", "dead_end_state")],
        ),
        (
            finals(r#"["a"]"#, r#"[{"from":"*","event":"E","to":"b"}]"#),
            vec![
                ("initial", "initial_is_final"),
                ("states[1]", "unreachable_state"),
                ("states[2]", "unreachable_state"),
            ],
        ),
    ] {
        let found = warnings(&definition);
        let found: Vec<_> = found.iter().map(|(path, reason)| (path.as_str(), reason.as_str())).collect();
        assert_eq!(found, expected, "{definition}");
        let strict = Machine::parse(&json(&definition), &Limits::default(), true);
        assert_eq!(strict.is_ok(), expected.is_empty(), "{definition}");
    }
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest_known_one() {
    let definition = abc(
        r#"[{"from":"*","event":"E","to":"b","gaurd":"ctx.x"},{"from":"b","event":"F","to":"c"}]"#,
    );
    let (_, warnings) = parse(&definition).unwrap();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].path, "transitions[0].gaurd");
    assert_eq!(warnings[0].suggestion.as_deref(), Some("guard"));
    assert_eq!(
        warnings[0].message,
        "key \"gaurd\" is not known and has no effect; did you mean \"guard\"?"
    );

    let error = Machine::parse(&json(&definition), &Limits::default(), true).unwrap_err();
    assert_eq!(error.code(), ErrorCode::BadRequest);
    assert_eq!(error.reason(), Some("invalid_definition"));
    assert_eq!(error.context()["path"], "transitions[0].gaurd");
    assert_eq!(error.context()["warnings"][0]["reason"], "unknown_key");
    assert_eq!(
        error.message(),
        "strict definition: transitions[0].gaurd: key \"gaurd\" is not known and has no effect; did \
         you mean \"guard\"?"
    );
}

#[test]
fn warnings_are_bounded() {
    let keys: Vec<String> = (0..5000).map(|i| format!("\"k{i}\":1")).collect();
    let definition =
        format!(r#"{{"states":["a"],"initial":"a","transitions":[],{}}}"#, keys.join(","));
    let (_, warnings) = parse(&definition).unwrap();
    assert_eq!(warnings.len(), 101);
    assert_eq!(warnings[100].message, "there are 4900 more warnings");
}
