//! What guards mean, row by row of the specification, and how their errors look.

mod support;

use rstmdb_machine::{Allowance, Guard, Machine, Situation};
use rstmdb_types::{Json, Limits};
use support::{passes, passes_with};

fn check(ctx: &str, rows: &[(&str, bool)]) {
    for (guard, expected) in rows {
        assert_eq!(passes(guard, ctx), *expected, "{guard} on {ctx}");
    }
}

#[test]
fn lookup_needs_objects_and_finds_null_otherwise() {
    check(
        r#"{"a":{"b":{"c":1}},"":{"a":7,"":8},"1a":2,"l":[5],"s":"xyz","n":null,"é":{"名":3},"_x":4,"q\"\\":9}"#,
        &[
            ("ctx.a.b.c == 1", true),
            ("ctx.a.b.x == null", true),
            ("ctx.a.b.c.d == null", true),
            ("ctx.l.0 == null && ctx.l.length == null && ctx.s.length == null", true),
            ("ctx..a == 7", true),
            ("ctx.. == 8", true),
            ("ctx.a. == null", true),
            ("ctx.1a == 2 && ctx._x == 4", true),
            ("ctx.é.名 == 3", true),
            ("ctx.l[0] == 5 && ctx.l[1] == null && ctx.l[18446744073709551615] == null", true),
            ("ctx.l [ 0 ] == 5", true),
            (r#"ctx["a"]["b"].c == 1 && ctx["q\"\\"] == 9"#, true),
            ("ctx.a[0] == null && ctx.s[0] == null", true),
            (r#"ctx.l["0"] == null"#, true),
            ("exists(ctx.n) && !exists(ctx.m) && !exists(ctx.n.x) && exists(ctx.l[0])", true),
        ],
    );
    for ctx in ["null", "5", "[]", "\"x\"", "{}"] {
        check(ctx, &[("ctx.a", false), ("ctx.a == null", true), ("ctx.a != 5", true)]);
    }
}

#[test]
fn truthiness() {
    for (value, expected) in [
        ("null", false),
        ("false", false),
        ("0", false),
        ("0.0", false),
        ("-0.0", false),
        ("\"\"", false),
        ("[]", false),
        ("{}", false),
        ("true", true),
        ("1", true),
        ("-0.5", true),
        ("1e-300", true),
        ("\"0\"", true),
        ("[null]", true),
        ("{\"a\":null}", true),
        ("18446744073709551615", true),
    ] {
        let ctx = format!("{{\"v\":{value}}}");
        check(&ctx, &[("ctx.v", expected), ("!ctx.v", !expected), ("!!ctx.v", expected)]);
        check(&ctx, &[("ctx.v || false", expected), ("(ctx.v && true) == true", expected)]);
        assert_eq!(passes_with("payload", "{}", Some(value)), expected, "{value}");
    }
    check("{}", &[("ctx.missing", false), ("payload", false), ("true", true), ("\"x\"", true)]);
}

#[test]
fn equality() {
    check(
        r#"{"t":true,"i":1,"f":1.0,"s":"é\n\"","n":null,"l":[1],"o":{},"big":9007199254740993,
            "u":18446744073709551615,"m":-9223372036854775808,"close":0.3,"e":""}"#,
        &[
            ("ctx.n == null && ctx.missing == null && ctx.n == ctx.missing", true),
            ("ctx.n == false || ctx.n == 0 || ctx.n == \"\"", false),
            ("ctx.t == true && ctx.t != false && ctx.t != 1", true),
            ("ctx.i == 1 && ctx.i == 1.0 && ctx.f == 1 && ctx.i == ctx.f", true),
            ("ctx.i == true || ctx.i == \"1\"", false),
            ("0.1 + 0.2 == ctx.close", true),
            ("ctx.close == 0.30000000000000032", false),
            (r#"ctx.s == "é\n\"" && ctx.s == "\u00e9\n\u0022""#, true),
            ("ctx.l == ctx.l || ctx.o == ctx.o", false),
            ("ctx.l != ctx.l && ctx.o != ctx.o", true),
            ("ctx.missing != 5 && ctx.s != 5", true),
            ("ctx.big == 9007199254740993 && ctx.big != 9007199254740992", true),
            // With a float on either side, both are floats.
            ("ctx.big == 9007199254740992.0", true),
            ("ctx.u == 18446744073709551615 && ctx.u != 18446744073709551614", true),
            ("ctx.u == 18446744073709551616.0", true),
            ("ctx.m == -9223372036854775808 && ctx.m != -9223372036854775807", true),
            (
                "ctx.f == 1e0 && 1000 == 1e3 && 1E-3 == .001 && 5. == 5 && 5.e3 == 5000 && .5E+1 == 5 && 007 == 7",
                true,
            ),
        ],
    );
}

#[test]
fn order() {
    check(
        r#"{"n":5,"f":5.5,"s":"b","t":true,"z":null,"l":[9],"big":9007199254740993,"x":"a\nb"}"#,
        &[
            ("ctx.n < 6 && ctx.n <= 5 && ctx.n >= 5 && ctx.n > -1 && ctx.n < ctx.f", true),
            ("ctx.n < 5 || ctx.n > 5", false),
            ("ctx.big > 9007199254740992", true),
            ("ctx.big > 9007199254740992.0", false),
            ("ctx.s > \"a\" && ctx.s < \"ba\" && \"Z\" < \"a\" && \"z\" < \"é\"", true),
            ("ctx.x > \"a\" && ctx.x < \"a b\" && ctx.x <= \"a\\nb\"", true),
            ("ctx.s < 6 || ctx.s >= 0", false),
            ("ctx.t >= 0 || ctx.z >= 0 || ctx.z <= null || ctx.l > 1 || ctx.missing < 1", false),
            ("ctx.t <= true || ctx.l <= ctx.l", false),
        ],
    );
}

#[test]
fn precedence() {
    check(
        r#"{"a":1,"t":true,"f":false}"#,
        &[
            ("!ctx.a == 1", false),
            ("!ctx.a == 2", true),
            ("(!ctx.a) == false", true),
            ("!ctx.f && ctx.t", true),
            ("!(ctx.f && ctx.t)", true),
            ("!ctx.t || ctx.t", true),
            ("ctx.t || ctx.t && ctx.f", true),
            ("(ctx.t || ctx.t) && ctx.f", false),
            ("ctx.f && ctx.f || ctx.t", true),
            ("1 + 2 * 3 == 7 && (1 + 2) * 3 == 9 && 10 - 4 - 3 == 3 && 24 / 4 / 2 == 3", true),
            ("-2 * 3 == -6 && 2 - -3 == 5 && -ctx.a + 2 == 1 && - - 3 == 3", true),
            ("ctx.a - 1 == 0 && ctx.a-1 == 0", true),
            ("! 1 + 1 == 2 || 7 % 4 * 2 == 6", true),
        ],
    );
}

#[test]
fn arithmetic() {
    check(
        r#"{"max":18446744073709551615,"min":-9223372036854775808,"big":9007199254740993,"s":"1","f":0.5}"#,
        &[
            ("ctx.big + 1 == 9007199254740994 && ctx.big - 1 == 9007199254740992", true),
            ("ctx.max + 1 == null && ctx.min - 1 == null && ctx.max * ctx.max == null", true),
            ("-ctx.max == null && -ctx.min == 9223372036854775808", true),
            ("ctx.max * ctx.min == null && ctx.max - ctx.max == 0", true),
            ("-18446744073709551615.0 < -1.8e19", true),
            ("7 / 2 == 3.5 && 6 / 2 == 3 && ctx.max / 5 == 3689348814741910323", true),
            ("7 % 3 == 1 && -7 % 3 == -1 && 7 % -3 == 1 && 5.5 % 2 == 1.5", true),
            ("1 / 0 == null && 1 % 0 == null && 1.0 / 0 == null && 1.0 % 0 == null", true),
            ("1 / 0 >= 0 || 1 / 0 < 0 || !(1 / 0 != 0)", false),
            ("1e308 * 10 == null && -1e308 * 10 == null", true),
            (
                "ctx.s + 1 == null && -ctx.s == null && ctx.missing + 1 == null && true + 1 == null",
                true,
            ),
            ("ctx.f * 2 == 1 && 1 - ctx.f == .5", true),
        ],
    );
}

#[test]
fn membership_and_functions() {
    check(
        r#"{"l":[1,"x",null,2.5,[1]],"o":{"k":null,"a b":1},"s":"héllo\n","n":5,"up":"STRASSE"}"#,
        &[
            ("1 in ctx.l && 1.0 in ctx.l && \"x\" in ctx.l && null in ctx.l && 2.5 in ctx.l", true),
            ("2 in ctx.l || ctx.l in ctx.l || true in ctx.l", false),
            ("\"k\" in ctx.o && \"a b\" in ctx.o && \"n\" in ctx", true),
            ("\"x\" in ctx.o || 1 in ctx.o || null in ctx.o", false),
            ("\"éll\" in ctx.s && \"\" in ctx.s && \"o\\n\" in ctx.s", true),
            ("5 in ctx.s || \"a\" in ctx.n || null in ctx.missing", false),
            ("contains(ctx.l, 1) && contains(ctx.o, \"k\") && contains(ctx.s, \"llo\")", true),
            ("size(ctx.l) == 5 && size(ctx.o) == 2 && size(ctx.s) == 6 && size(ctx) == 5", true),
            ("size(ctx.n) == null && size(null) == null && size(\"\") == 0", true),
            ("starts_with(ctx.s, \"hé\") && ends_with(ctx.s, \"o\\n\")", true),
            ("starts_with(ctx.n, \"5\") || ends_with(ctx.s, 5)", false),
            (
                "upper(ctx.s) == \"HÉLLO\\n\" && lower(ctx.up) == \"strasse\" && lower(5) == null",
                true,
            ),
            ("lower(upper(\"x\")) == \"x\" && size(lower(ctx.s)) > 5", true),
        ],
    );
    let payload = Some(r#"{"x":1,"k":"n"}"#);
    assert!(passes_with(
        "payload.x == 1 && payload.k in ctx && size(payload) == 2",
        r#"{"n":0}"#,
        payload
    ));
    assert!(passes_with("exists(payload) && payload == 5", "{}", Some("5")));
    assert!(passes_with("payload[1] == \"b\"", "{}", Some(r#"["a","b"]"#)));
    assert!(passes_with("!exists(payload) && payload == null && payload.x == null", "{}", None));
    assert!(passes("state == \"created\" && now == 1700000000000 && size(state) == 7", "{}"));
}

#[test]
fn strings_have_escapes() {
    let ctx = r#"{"s":"\"\\/\b\f\n\r\té😀\u0001"}"#;
    assert!(passes(r#"ctx.s == "\"\\\/\b\f\n\r\t\u00e9\uD83D\ude00\u0001""#, ctx));
    // Everything but a quote and a backslash may stand for itself.
    assert!(passes("ctx.s == \"\\\"\\\\/\\b\\f\n\r\té😀\u{1}\"", ctx));
}

#[test]
fn blanks_are_those_of_unicode() {
    assert!(passes("\u{a0}ctx.a\u{2003}==\n\t1\u{3000}&&\u{85}true ", r#"{"a":1}"#));
}

#[test]
fn errors_show_the_place() {
    for (guard, expected) in [
        ("", "line 1, column 1: expected a value, found the end\n  \n  ^"),
        (
            "ctx.a foo",
            "line 1, column 7: expected an operator or the end, found \"foo\"\n  ctx.a foo\n        ^",
        ),
        (
            "ctx.a = 1",
            "line 1, column 7: a single `=` is no operator; write `==` to compare\n  ctx.a = 1\n        ^",
        ),
        (
            "ctx.a-b",
            "line 1, column 7: there is no name \"b\"; a member of the context is written ctx.b\n  ctx.a-b\n        ^",
        ),
        (
            "ctx",
            "line 1, column 1: ctx alone is no condition; name a member, like ctx.paid\n  ctx\n  ^",
        ),
        (
            "ctx == 1",
            "line 1, column 1: ctx alone is no condition; name a member, like ctx.paid\n  ctx == 1\n  ^",
        ),
        (
            "\"a\" in ctx + 1",
            "line 1, column 8: ctx alone is no condition; name a member, like ctx.paid\n  \"a\" in ctx + 1\n         ^",
        ),
        ("ctx.", "line 1, column 5: expected the name of a member after the dot\n  ctx.\n      ^"),
        (
            "ctx.a == truefoo",
            "line 1, column 10: there is no name \"truefoo\"; a member of the context is written ctx.truefoo\n  ctx.a == truefoo\n           ^",
        ),
        (
            "context.paid",
            "line 1, column 1: there is no name \"context.paid\"; did you mean \"ctx.paid\"?\n  context.paid\n  ^",
        ),
        (
            "ctx.é &&\n\tctx.b >",
            "line 2, column 9: expected a value, found the end\n   ctx.b >\n          ^",
        ),
        (
            "1 < ctx.a < 5",
            "line 1, column 11: comparisons don't chain; join two of them with `&&`\n  1 < ctx.a < 5\n            ^",
        ),
        (
            "ctx.a == !ctx.b",
            "line 1, column 10: put `!` and what it negates in parentheses here\n  ctx.a == !ctx.b\n           ^",
        ),
        (
            "(ctx.a && (ctx.b)",
            "line 1, column 1: the `(` is never closed\n  (ctx.a && (ctx.b)\n  ^",
        ),
        ("ctx.a)", "line 1, column 6: this `)` closes nothing\n  ctx.a)\n       ^"),
        (
            "ctx.a == \"x",
            "line 1, column 10: the string has no closing quote\n  ctx.a == \"x\n           ^",
        ),
        (
            "ctx.a == \"x\\",
            "line 1, column 10: the string has no closing quote\n  ctx.a == \"x\\\n           ^",
        ),
        (
            "ctx.a == 'x'",
            "line 1, column 10: strings are written in double quotes, like \"paid\"\n  ctx.a == 'x'\n           ^",
        ),
        (
            "\"a\\ud800\"",
            "line 1, column 3: \\u with half of a surrogate pair; write both halves, like \\ud83d\\ude00\n  \"a\\ud800\"\n    ^",
        ),
        (
            "\"\\u12g4\"",
            "line 1, column 2: \\u needs four hex digits, like \\u00e9\n  \"\\u12g4\"\n   ^",
        ),
        (
            "ctx.a == 12abc",
            "line 1, column 12: number 12 runs into what follows; separate the two\n  ctx.a == 12abc\n             ^",
        ),
        ("1e", "line 1, column 3: the exponent has no digits; write for example 1e3\n  1e\n    ^"),
        (
            "sise(ctx.a)",
            "line 1, column 1: there is no function \"sise\"; did you mean \"size\"?\n  sise(ctx.a)\n  ^",
        ),
        (
            "size(ctx.a, 1)",
            "line 1, column 1: function size takes 1 argument, found 2\n  size(ctx.a, 1)\n  ^",
        ),
        (
            "contains(ctx.a)",
            "line 1, column 1: function contains takes 2 arguments, found 1\n  contains(ctx.a)\n  ^",
        ),
        (
            "exists(1)",
            "line 1, column 1: function exists takes a path, like exists(ctx.coupon)\n  exists(1)\n  ^",
        ),
        (
            "ctx.items.size()",
            "line 1, column 15: functions are written before their argument, like size(ctx.items)\n  ctx.items.size()\n                ^",
        ),
        (
            "ctx.l[-1]",
            "line 1, column 7: an index is a whole number or a string, like [0] or [\"key\"]\n  ctx.l[-1]\n        ^",
        ),
        (
            "ctx.a and ctx.b",
            "line 1, column 7: expected an operator; write `&&` for and\n  ctx.a and ctx.b\n        ^",
        ),
        ("not ctx.b", "line 1, column 1: write `!` for not\n  not ctx.b\n  ^"),
        ("state.x", "line 1, column 1: \"state\" has no members\n  state.x\n  ^"),
        (
            "ctx.a # 1",
            "line 1, column 7: character '#' has no meaning here\n  ctx.a # 1\n        ^",
        ),
    ] {
        let error = Guard::parse(guard).unwrap_err();
        let expected = format!("guard does not parse at {expected}");
        assert_eq!(error.message(), expected, "{guard}");
        assert_eq!(error.reason(), Some("invalid_guard"));
        let place =
            format!("line {}, column {}:", error.context()["line"], error.context()["column"]);
        assert!(error.message().contains(&place));
    }
}

#[test]
fn an_integer_that_does_not_fit_is_refused_where_it_stands() {
    let fits = ["ctx.a == 18446744073709551615", "ctx.a > -9223372036854775808", "ctx.a < 1e20"];
    for guard in fits {
        Guard::parse(guard).unwrap();
    }
    for (guard, column) in [
        ("ctx.a == 18446744073709551616", 10),
        ("ctx.a > 1 && -9223372036854775809 < ctx.b", 15),
        ("(ctx.a + 99999999999999999999) * 2 > 1", 10),
        ("contains(ctx.l, 123456789012345678901234567890123456789012345)", 17),
    ] {
        let error = Guard::parse(guard).unwrap_err();
        assert_eq!(
            (error.reason(), &error.context()["column"]),
            (Some("invalid_guard"), &column.into())
        );
        assert!(error.message().contains("does not fit 64 bits; write it as a string"), "{error}");
    }
}

#[test]
fn stored_guards_keep_the_floats_that_large_integers_were() {
    let guard = "ctx.a == 18446744073709551616 && ctx.a > -9223372036854775809";
    let definition = Json::from_value(&serde_json::json!({
        "states": ["s"], "initial": "s",
        "transitions": [{"from": "s", "event": "E", "to": "s", "guard": guard}],
    }));
    let limits = Limits::default();
    let error = Machine::parse(&definition, &limits, false).unwrap_err();
    assert_eq!(error.context()["path"], "transitions[0].guard");
    let loaded = Machine::load(&definition, 1).unwrap();
    let (plain, _) = Machine::parse_by_plain_rules(&definition, &limits, false).unwrap();
    for machine in [loaded, plain] {
        for (ctx, passes) in [(r#"{"a":18446744073709551616.0}"#, true), (r#"{"a":1e20}"#, false)] {
            let ctx = Json::parse(ctx).unwrap();
            let situation = Situation {
                machine: "m",
                version: 1,
                instance_id: "i",
                state: machine.initial(),
                ctx: &ctx,
                payload: None,
                now_ms: 0,
                created_at_ms: 0,
                allowance: Allowance::default(),
            };
            assert_eq!(machine.decide(&situation, "E").is_ok(), passes);
        }
    }
}

#[test]
fn a_long_line_is_shown_in_part() {
    let guard = format!("{} = 1 {}", "ctx.é && ".repeat(50) + "ctx.a", "|| ctx.b".repeat(50));
    let error = Guard::parse(&guard).unwrap_err();
    let lines: Vec<&str> = error.message().lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[1].starts_with("  …") && lines[1].ends_with('…') && lines[1].len() < 150);
    let caret = lines[2].chars().count() - 1;
    assert_eq!(lines[1].chars().nth(caret), Some('='));
}
