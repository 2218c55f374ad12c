//! Input made to break things: it ends in an error, quickly, and never in a panic.

mod support;

use rstmdb_machine::{
    Allowance, EvaluationBudget, GUARD_DEPTH_MAX, GUARD_NODES_MAX, Guard, Machine, Scope, Situation,
};
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
        ("[", "1", "]"),
        ("[1, ", "1", "]"),
        ("ctx.a ? ", "1", " : 2"),
        ("ctx.a ? 1 : ", "1", ""),
        ("filter(", "ctx.a", ", x, x)"),
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
        let scope = rstmdb_machine::Scope { ctx: ctx.root(), ..rstmdb_machine::Scope::default() };
        assert!(guard.explain(&scope).is_some());
    });
    run.unwrap().join().unwrap();
}

#[test]
fn the_deepest_questions_of_lists_fit_a_small_stack() {
    let names = (0..GUARD_DEPTH_MAX - 2)
        .map(|n| format!("any([[1]], x{n}, [1, 2 ? x{n}[0] == ("))
        .collect::<Vec<_>>();
    let depth = names.len() / 4;
    let open = names[..depth].concat();
    let text = format!("{open}1{}", ") : 3])".repeat(depth));
    let small = std::thread::Builder::new().stack_size(1 << 20);
    let run = small.spawn(move || {
        let guard = Guard::parse(&text).unwrap();
        let ctx = Json::empty_object();
        let scope = rstmdb_machine::Scope { ctx: ctx.root(), ..rstmdb_machine::Scope::default() };
        guard.evaluate(&scope);
        guard.explain(&scope);
    });
    run.unwrap().join().unwrap();
}

#[test]
fn what_costs_too_much_ends_soon_and_says_so() {
    let big = "a".repeat(1 << 20);
    let list = vec!["1"; 20_000].join(",");
    let ctx = Json::parse(&format!(r#"{{"big":"{big}","l":[{list}]}}"#)).unwrap();
    let scope = Scope { ctx: ctx.root(), ..Scope::default() };
    let mut doubled = "[ctx.big]".to_owned();
    for n in 0..40 {
        doubled = format!("map({doubled}, x{n}, [x{n}, x{n}])");
    }
    let searched = ["any(ctx.l, x, ctx.l[19999] == x + 1)"; 10].join(" || ");
    for (text, limit) in [
        ("all(ctx.l, a, all(ctx.l, b, a == b))", "evaluation_steps_max"),
        (
            r#"size(replace(ctx.big, "a", "bbbbbbbbbbbbbbbbbbbbbbbbbbbb")) > 1"#,
            "evaluation_bytes_max",
        ),
        (r#"size(split(ctx.big, "")) > 1"#, "evaluation_bytes_max"),
        (r#"matches(ctx.big, "(a|b)*(a|b)*(a|b)*c$")"#, "evaluation_bytes_max"),
        ("all(ctx.l, a, size(concat(ctx.big, ctx.big)) > 1)", "evaluation_bytes_max"),
        (&doubled, "evaluation_bytes_max"),
        (&searched, "evaluation_bytes_max"),
    ] {
        let budget = EvaluationBudget::new(Allowance::default());
        assert!(!Guard::parse(text).unwrap().evaluate_within(&scope, &budget), "{text:.80}");
        let error = budget.error().unwrap_or_else(|| panic!("{text:.80}"));
        assert_eq!(error.context()["limit"], limit, "{text:.80}");
    }
    for text in
        ["all(ctx.l, a, a == 1)", "size(concat(ctx.big, ctx.big)) > 1", "sum(ctx.l) == 20000"]
    {
        let budget = EvaluationBudget::new(Allowance::default());
        assert!(Guard::parse(text).unwrap().evaluate_within(&scope, &budget), "{text}");
    }
}

#[test]
fn as_many_names_as_a_definition_has_room_for_are_set_and_merged() {
    let names: Vec<String> = (0..30_000).map(|number| format!("m{number}")).collect();
    let members = |value: &str| {
        let members: Vec<_> = names.iter().map(|name| format!(r#""{name}":{value}"#)).collect();
        Json::parse(&format!("{{{}}}", members.join(","))).unwrap()
    };
    let merge = format!(r#"["{}"]"#, names[15_000..].join("\",\""));
    let assign = members("1");
    let actions = format!(r#"[{{"assign":{assign}}},{{"unset":["m7","nothing"]}}]"#);
    let definition = abc(&format!(
        r#"[{{"from":"a","event":"E","to":"b","merge":{merge},"actions":{actions}}},
            {{"from":"a","event":"MERGE","to":"b","merge":{merge}}}]"#
    ));
    let machine = support::machine(&definition);
    let (ctx, payload) = (Json::parse(r#"{"m7":0}"#).unwrap(), members("2"));
    let situation =
        Situation { payload: Some(&payload), ..support::situation(&machine, "a", &ctx) };
    let stepped = machine.step(&situation, "E").unwrap();
    assert_eq!(stepped.rest.ctx, assign.without(&["m7"]));
    assert_eq!(stepped.removed, ["m7"]);
    let merged = machine.step(&situation, "MERGE").unwrap().rest.ctx;
    assert_eq!(merged.root().members().count(), 15_001);
}

#[test]
fn what_a_machine_does_again_and_again_on_a_large_context_is_counted() {
    let big = "a".repeat(1 << 20);
    let ctx = Json::parse(&format!(r#"{{"big":"{big}"}}"#)).unwrap();
    for round in [
        r#""guard":"ctx.none != 1""#,
        r#""actions":[{"assign":{"n":1}}]"#,
        r#""actions":[{"assign":{"n":1}},{"unset":["n"]}]"#,
        r#""guard":"event == \"GO\"","actions":[{"raise":"GO"}]"#,
        r#""actions":[{"if":"ctx.none","then":[]}]"#,
    ] {
        let definition = abc(&format!(
            r#"[{{"from":"a","event":"GO","to":"a"}},{{"from":"a","always":true,{round},"to":"a"}}]"#
        ));
        let machine = support::machine(&definition);
        let payload = Json::parse(r#"{"x":1}"#).unwrap();
        let situation =
            Situation { payload: Some(&payload), ..support::situation(&machine, "a", &ctx) };
        let error = machine.step(&situation, "GO").unwrap_err();
        let reason = if round.contains("raise") { "never_rests" } else { "limit_exceeded" };
        assert_eq!(error.reason(), Some(reason), "{round} {error}");
    }
}

#[test]
fn actions_that_nest_are_read_and_run_on_a_small_stack() {
    let depth = 55;
    let open = r#"[{"if":"true","then":"#.repeat(depth);
    let actions = format!("{open}[]{}", "}]".repeat(depth));
    let definition = abc(&format!(r#"[{{"from":"a","event":"E","to":"b","actions":{actions}}}]"#));
    let small = std::thread::Builder::new().stack_size(1 << 20);
    let run = small.spawn(move || {
        let machine = support::machine(&definition);
        let ctx = Json::empty_object();
        assert!(machine.step(&support::situation(&machine, "a", &ctx), "E").is_ok());
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
        assert!(Machine::load(&Json::from_canonical(text), 2).is_err());
        let ctx = Json::from_canonical(text);
        let scope = rstmdb_machine::Scope {
            ctx: ctx.root(),
            payload: Some(ctx.root()),
            ..rstmdb_machine::Scope::default()
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
