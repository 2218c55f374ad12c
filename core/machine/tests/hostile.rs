//! Input made to break things: it ends in an error, quickly, and never in a panic.

mod support;

use rstmdb_machine::{GUARD_DEPTH_MAX, GUARD_NODES_MAX, Guard, Machine};
use rstmdb_types::{Json, Limits};
use support::{abc, parse, passes};

#[test]
fn deep_guards_are_refused_and_allowed_depth_works() {
    for (open, middle, close) in [
        ("(", "ctx.a", ")"),
        ("!", "ctx.a", ""),
        ("! ", "ctx.a", ""),
        ("-", "ctx.a", ""),
        ("size(", "ctx.a", ")"),
        ("!-(", "ctx.a", ")"),
        ("ctx.a || ctx.b && 1 == 2 + 3 * (", "1", ")"),
        ("contains(ctx, ", "1", ")"),
    ] {
        for count in [GUARD_DEPTH_MAX + 2, 200_000] {
            let text = open.repeat(count) + middle + &close.repeat(count);
            assert!(Guard::parse(&text).is_err(), "{open}");
            assert!(Guard::parse(&open.repeat(count)).is_err(), "{open}");
        }
        let count = GUARD_DEPTH_MAX / 3;
        passes(&(open.repeat(count) + middle + &close.repeat(count)), r#"{"a":1}"#);
    }
    assert!(Guard::parse(&"(".repeat(200_000)).is_err());
    assert!(Guard::parse(&"ctx.a[".repeat(200_000)).is_err());
}

#[test]
fn the_deepest_guard_fits_a_small_stack() {
    let open = "ctx.a || ctx.b && 1 == 2 + 3 * (".repeat(GUARD_DEPTH_MAX);
    let text = format!("{open}1{}", ")".repeat(GUARD_DEPTH_MAX));
    let small = std::thread::Builder::new().stack_size(1 << 20);
    let run = small.spawn(move || {
        let guard = Guard::parse(&text).unwrap();
        let ctx = Json::empty_object();
        let scope = rstmdb_machine::Scope { ctx: ctx.root(), payload: None, state: "", now_ms: 0 };
        assert!(guard.explain(&scope).is_some());
    });
    run.unwrap().join().unwrap();
}

#[test]
fn wide_guards_are_flat_up_to_the_limit() {
    for (operator, expected) in [(" && ", true), (" || ", true), ("+", true), ("*", true)] {
        let text = vec!["ctx.a"; 2000].join(operator);
        assert_eq!(passes(&text, r#"{"a":1}"#), expected);
        let text = vec!["ctx.a"; GUARD_NODES_MAX].join(operator);
        assert!(Guard::parse(&text).unwrap_err().message().contains("operands and operators"));
    }
    assert!(Guard::parse(&format!("ctx{}", ".a".repeat(200_000))).is_err());
    assert!(Guard::parse(&format!("ctx{}", "[0]".repeat(200_000))).is_err());
    assert!(Guard::parse(&format!("size({})", "1,".repeat(200_000))).is_err());
}

#[test]
fn odd_texts_are_refused() {
    let digits = "9".repeat(400);
    for text in [
        digits.as_str(),
        &format!("ctx.a == {digits}"),
        &format!("ctx.a == -{digits}"),
        &format!("ctx.a == 1e{digits}"),
        &format!("ctx.l[{digits}]"),
        "\\",
        "ctx.a == \"\\",
        "ctx.a == \"\\u",
        "ctx.a == \"\\ud83d\\",
        "ctx.a == \"\\u00é\"",
        "\u{0}",
        "ctx.a\u{0}",
        "\u{feff}ctx.a",
        "é",
        "😀",
        "ctx.😀",
        "ctx.a == \u{0301}",
        ".",
        "..",
        "-",
        "!",
        "[",
        "()",
        "in",
        "ctx.a in",
        ",",
    ] {
        assert!(Guard::parse(text).is_err(), "{text:?}");
    }
    // 300 digits are no integer, but a float when they are written as one.
    let digits = "9".repeat(300);
    assert!(Guard::parse(&format!("ctx.a < {digits}")).is_err());
    assert!(passes(&format!("ctx.a < {digits}.0"), r#"{"a":1}"#));
}

#[test]
fn every_cut_of_a_guard_is_answered() {
    let guard = r#"!ctx.é["a\ud83d\ude00"].b[0] == -1.5e+3 && (starts_with(payload.x, "\"\\") || now % 2 in ctx)"#;
    Guard::parse(guard).unwrap();
    for (end, _) in guard.char_indices() {
        for (start, _) in guard[..end].char_indices() {
            let _ = Guard::parse(&guard[start..end]);
        }
    }
}

#[test]
fn text_that_is_not_canonical_never_panics() {
    let definitions = ["", "{", "\"", "[", "{\"states\"", "{\"states\":[\"a", "{\"a\":\\", "nul"];
    for text in definitions {
        assert!(Machine::load(&Json::from_canonical(text)).is_err());
        let ctx = Json::from_canonical(text);
        let scope = rstmdb_machine::Scope {
            ctx: ctx.root(),
            payload: Some(ctx.root()),
            state: "",
            now_ms: 0,
        };
        for guard in ["ctx.a.b == payload", "ctx[0] in ctx || size(payload) > 1", "ctx.a < 5"] {
            let guard = Guard::parse(guard).unwrap();
            guard.evaluate(&scope);
            guard.explain(&scope);
        }
    }
}

#[test]
fn large_definitions_are_read_in_reasonable_time() {
    let states: Vec<String> = (0..10_000).map(|i| format!("\"s{i}\"")).collect();
    let transitions: Vec<String> = (0..10_000)
        .flat_map(|i| {
            let next = (i + 1) % 10_000;
            [
                format!(r#"{{"from":"s{i}","event":"e{}","to":"s{next}"}}"#, i % 100),
                format!(r#"{{"from":"*","event":"w{i}","to":"s0"}}"#),
            ]
        })
        .collect();
    let definition = format!(
        r#"{{"states":[{}],"initial":"s0","transitions":[{}]}}"#,
        states.join(","),
        transitions.join(",")
    );
    let (machine, warnings) = parse(&definition).unwrap();
    assert!(warnings.is_empty(), "{:?}", warnings.first());
    assert_eq!(machine.events().len(), 10_100);
    let ctx = Json::null();
    let permitted = machine.permitted(&support::situation(&machine, "s5000", &ctx));
    assert_eq!(permitted.iter().filter(|event| event.permitted).count(), 10_001);
}

#[test]
fn an_unguessable_name_costs_little() {
    let name = "x".repeat(1000);
    let error = support::refused(&abc(&format!(r#"[{{"from":"{name}","event":"E","to":"a"}}]"#)));
    assert!(error.message().len() < 300);
    let long = Limits { name_bytes_max: 10, ..Limits::default() };
    let definition = support::json(&abc(&format!(r#"[{{"from":"{name}","event":"E","to":"a"}}]"#)));
    let error = Machine::parse(&definition, &long, false).unwrap_err();
    assert_eq!(error.context()["path"], "transitions[0].from");
}
