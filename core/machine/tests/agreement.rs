//! Random expressions on random contexts: the evaluator and the naive one agree, on refusals too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

#[path = "../../../fuzz/src/machine.rs"]
#[allow(dead_code, reason = "only the comparison is used here")]
mod targets;

use proptest::prelude::*;
use rstmdb_types::Json;
use serde_json::{Map, Value, json};

/// Keys that guards and contexts share, so that paths often lead somewhere.
const KEYS: [&str; 8] = ["a", "b", "c", "ä", "_x1", "", "first-name", "q\"\\"];

fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&KEYS[..])
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(&["", "a", "b", "ab", "created", "É", "é", "x\n\"\\\u{1}", "😀"][..])
            .prop_map(str::to_owned),
        "[a-cé😀\"\\\\\\PC]{0,4}",
    ]
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-3i64..4).prop_map(Value::from),
        prop::sample::select(vec![
            json!(0.0),
            json!(0.1),
            json!(0.30000000000000004),
            json!(0.3),
            json!(1e300),
            json!(-2.5),
            json!(9007199254740992i64),
            json!(9007199254740993i64),
            json!(9007199254740992.0),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(u64::MAX),
        ]),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            object(inner),
        ]
    })
}

fn object(member: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::vec((key(), member), 0..5).prop_map(|members| {
        let members = members.into_iter().map(|(key, value)| (key.to_owned(), value));
        Value::Object(members.collect::<Map<_, _>>())
    })
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn path() -> impl Strategy<Value = String> {
    let step = prop_oneof![
        6 => prop::sample::select(&[".a", ".b", ".c", ".ä", "._x1", ".a.b", "..a"][..])
            .prop_map(str::to_owned),
        2 => (0usize..3).prop_map(|index| format!("[{index}]")),
        2 => key().prop_map(|key| format!("[ {} ]", quoted(key))),
    ];
    let root = prop::sample::select(&["ctx", "ctx", "payload"][..]);
    (root, prop::collection::vec(step, 1..4)).prop_map(|(root, steps)| {
        // A dotted name right behind another one is the same name.
        format!("{root}{}", steps.concat())
    })
}

const LATER_ONE: [&str; 18] = [
    "sum", "first", "last", "sort", "keys", "trim", "abs", "floor", "ceil", "round", "int",
    "float", "string", "bool", "type", "min", "max", "concat",
];

/// A function that asks something of the elements of a list.
fn each(inner: impl Strategy<Value = String> + Clone) -> impl Strategy<Value = String> {
    let function = prop::sample::select(&["any", "all", "map", "filter"][..]);
    let list = prop_oneof![
        2 => inner.clone(),
        1 => prop::collection::vec(inner.clone(), 0..4)
            .prop_map(|items| format!("[{}]", items.join(","))),
    ];
    let operator = prop::sample::select(&["==", "<", "&&", "||", " in ", "+", "*"][..]);
    let name = prop::sample::select(&["x", "y", "_1"][..]);
    let way = prop::sample::select(&["", "", ".a", "[0]", "[\"b\"].c", " "][..]);
    (function, list, name, way, operator, inner, any::<bool>()).prop_map(
        |(function, list, name, way, operator, other, first)| {
            let (left, right) = (format!("{name}{way}"), format!("({other})"));
            let (left, right) = if first { (left, right) } else { (right, left) };
            format!("{function}({list}, {name}, {left} {operator} {right})")
        },
    )
}

/// An expression that is right by construction.
fn guard() -> impl Strategy<Value = String> {
    let literal = prop_oneof![
        prop::sample::select(&["null", "true", "false", "1e3", ".5", "5.", "007"][..])
            .prop_map(str::to_owned),
        number().prop_map(|number| number.to_string()),
        text().prop_map(|text| quoted(&text)),
    ];
    let leaf = prop_oneof![
        5 => path(),
        3 => literal,
        1 => prop::sample::select(&["state", "now", "payload"][..]).prop_map(str::to_owned),
        1 => path().prop_map(|path| format!("exists({path})")),
        1 => Just("size(ctx)".to_owned()),
        1 => prop::sample::select(&["event", "instance.id", "instance.version", "[]"][..])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 40, 2, |inner| {
        let operator = prop::sample::select(
            &["&&", "||", "==", "!=", "<", "<=", ">", ">=", " in ", "+", "-", "*", "/", "%"][..],
        );
        let one = prop::sample::select(&["size", "lower", "upper"][..]);
        let two = prop::sample::select(&["starts_with", "ends_with", "contains"][..]);
        let later_one = prop::sample::select(&LATER_ONE[..]);
        let later_two = prop::sample::select(
            &[
                "at", "append", "without", "get", "join", "split", "coalesce", "concat", "min",
                "max",
            ][..],
        );
        let three = prop::sample::select(&["replace", "substring", "coalesce", "max"][..]);
        prop_oneof![
            4 => (inner.clone(), operator.clone(), inner.clone(), any::<[bool; 2]>()).prop_map(
                |(left, operator, right, [open, close])| {
                    // Without parentheses some are refused, by both.
                    let left = if open { format!("({left})") } else { left };
                    let right = if close { format!("({right})") } else { right };
                    format!("{left}{operator}{right}")
                }
            ),
            4 => (inner.clone(), operator, inner.clone())
                .prop_map(|(left, operator, right)| format!("({left}) {operator} ({right})")),
            1 => inner.clone().prop_map(|inner| format!("!{inner}")),
            1 => inner.clone().prop_map(|inner| format!("(! {inner})")),
            1 => inner.clone().prop_map(|inner| format!("-({inner})")),
            1 => (one, inner.clone()).prop_map(|(name, inner)| format!("{name}({inner})")),
            1 => (two, inner.clone(), inner.clone())
                .prop_map(|(name, left, right)| format!("{name} ({left} , {right})")),
            1 => inner.clone().prop_map(|inner| format!("{inner} in ctx")),
            2 => (later_one, inner.clone()).prop_map(|(name, inner)| format!("{name}({inner})")),
            2 => (later_two, inner.clone(), inner.clone())
                .prop_map(|(name, left, right)| format!("{name}({left}, {right})")),
            1 => (three, inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(name, a, b, c)| format!("{name}({a}, {b}, {c})")),
            2 => prop::collection::vec(inner.clone(), 1..4)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            2 => (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            3 => each(inner),
        ]
    })
}

/// Tokens in any order, which is rarely right.
fn gibberish() -> impl Strategy<Value = String> {
    let token = prop::sample::select(
        &[
            "ctx", "ctx.a", "ctx.", "payload", ".b", "[", "]", "[0]", "[\"a\"]", "(", ")", ",",
            "!", "!=", "==", "=", "<", ">=", "&&", "&", "||", "+", "-", "*", "/", "%", "in", "1",
            "2.5", ".", "e3", "\"x\"", "\"", "\\", "size", "exists", "contains", "true", "null",
            "state", "now", "foo", " ", "?", ":", "[1]", "any(", "x", "x.a", "coalesce", "event",
            "\u{a0}", "ä", "😀", "'",
        ][..],
    );
    prop::collection::vec(token, 0..8).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn both_evaluators_agree(
        guard in guard(),
        ctx in object(value()),
        payload in prop::option::of(value()),
    ) {
        targets::compare(&guard, &Json::from(ctx), payload.map(Json::from).as_ref());
    }

    #[test]
    fn both_parsers_refuse_the_same(guard in gibberish(), ctx in value()) {
        targets::compare(&guard, &Json::from(ctx), None);
    }
}
