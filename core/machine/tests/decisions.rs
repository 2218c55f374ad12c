//! Which transition an event takes, and what a refused event is told.

mod support;

use rstmdb_types::{Error, ErrorCode, Json};
use serde_json::json as value;
use support::{abc, decide, json, machine, situation, target};

fn error(definition: &str, state: &str, event: &str, ctx: &str) -> Error {
    match decide(&machine(definition), state, event, ctx) {
        Ok(decision) => unreachable!("{event} leads to {decision:?}"),
        Err(error) => error,
    }
}

#[test]
fn the_first_choice_whose_guard_passes_wins() {
    let machine = machine(&abc(r#"[{"from":"a","event":"E","to":"b","guard":"ctx.n > 10"},
            {"from":"a","event":"E","to":"c","guard":"ctx.n > 5"},
            {"from":"a","event":"E","to":"a","guard":"ctx.n > 2"}]"#));
    assert_eq!(target(&machine, "a", "E", r#"{"n":20}"#), "b");
    assert_eq!(target(&machine, "a", "E", r#"{"n":7}"#), "c");
    assert_eq!(target(&machine, "a", "E", r#"{"n":3}"#), "a");
    let error = decide(&machine, "a", "E", r#"{"n":1}"#).unwrap_err();
    assert_eq!(error.code(), ErrorCode::GuardFailed);
    assert_eq!(
        error.message(),
        "all 3 guards refused event \"E\" in state \"a\": to \"b\" `ctx.n > 10` is false (ctx.n = 1); \
         to \"c\" `ctx.n > 5` is false (ctx.n = 1); to \"a\" `ctx.n > 2` is false (ctx.n = 1)"
    );
    let context = error.context();
    assert_eq!(context["guard"], "ctx.n > 10");
    assert_eq!(context["guards"].as_array().unwrap().len(), 3);
    assert_eq!(
        context["guards"][2],
        value!({"guard": "ctx.n > 2", "to": "a", "failed_term": "ctx.n > 2", "values": {"ctx.n": 1}})
    );
}

#[test]
fn a_wildcard_stands_for_states_without_a_transition_of_their_own() {
    let machine = machine(
        r#"{"states":["a","b","done"],"initial":"a","final":["done"],"transitions":[
            {"from":"*","event":"X","to":"done"},
            {"from":["a","*"],"event":"Y","to":"b"},
            {"from":"a","event":"X","to":"b","guard":"ctx.ok"}]}"#,
    );
    assert_eq!(target(&machine, "b", "X", "{}"), "done");
    // The explicit one loses its guard, and still hides the wildcard.
    assert_eq!(target(&machine, "a", "X", r#"{"ok":1}"#), "b");
    assert_eq!(decide(&machine, "a", "X", "{}").unwrap_err().code(), ErrorCode::GuardFailed);
    assert_eq!(target(&machine, "a", "Y", "{}"), "b");
    assert_eq!(target(&machine, "b", "Y", "{}"), "b");
    let error = decide(&machine, "done", "X", "{}").unwrap_err();
    assert_eq!(error.reason(), Some("instance_completed"));
}

#[test]
fn a_state_named_like_the_wildcard_is_only_a_state() {
    let machine = machine(
        r#"{"states":["*","b"],"initial":"*","transitions":[{"from":"*","event":"E","to":"b"}]}"#,
    );
    assert_eq!(target(&machine, "*", "E", "{}"), "b");
    assert_eq!(decide(&machine, "b", "E", "{}").unwrap_err().code(), ErrorCode::InvalidTransition);
}

#[test]
fn a_guard_sees_the_stored_context_the_payload_the_state_and_the_time() {
    let machine = machine(&abc(r#"[{"from":"a","event":"E","to":"b",
             "guard":"ctx.n == 1 && payload.n == 2 && state == \"a\" && now - ctx.since >= 1000"}]"#));
    let ctx = json(r#"{"n":1,"since":1699999999000}"#);
    let payload = json(r#"{"n":2}"#);
    let mut situation = situation(&machine, "a", &ctx);
    assert!(machine.decide(&situation, "E").is_err());
    situation.payload = Some(&payload);
    assert_eq!(machine.decide(&situation, "E").unwrap().to, 1);
    situation.now_ms -= 1;
    assert!(machine.decide(&situation, "E").is_err());
}

#[test]
fn a_refused_guard_says_which_term_failed_and_what_it_saw() {
    let definition = r#"{"states":["created","paid"],"initial":"created","transitions":[
        {"from":"created","event":"PAY","to":"paid","guard":"ctx.total > 100 && ctx.paid"}]}"#;
    let error = error(definition, "created", "PAY", r#"{"total":40,"paid":false}"#);
    assert_eq!(error.code(), ErrorCode::GuardFailed);
    assert_eq!(
        error.message(),
        "guard `ctx.total > 100 && ctx.paid` refused event \"PAY\" in state \"created\": \
         `ctx.total > 100` is false (ctx.total = 40)"
    );
    let context = serde_json::to_value(error.context()).unwrap();
    assert_eq!(
        context,
        value!({
            "machine": "order", "version": 2, "instance_id": "o-1", "event": "PAY",
            "state": "created", "guard": "ctx.total > 100 && ctx.paid",
            "failed_term": "ctx.total > 100", "values": {"ctx.total": 40},
        })
    );
}

#[test]
fn the_failed_term_is_looked_for_inside_and() {
    for (guard, ctx, expected) in [
        (
            "ctx.a && (ctx.b && (ctx.c || ctx.d))",
            r#"{"a":1,"b":2,"d":0}"#,
            "`(ctx.c || ctx.d)` is false (ctx.c is missing, ctx.d = 0)",
        ),
        ("!ctx.a", r#"{"a":[1]}"#, "`!ctx.a` is false (ctx.a = [1])"),
        (
            "ctx.a || ctx.b && ctx.c",
            "{}",
            "`ctx.a || ctx.b && ctx.c` is false (ctx.a is missing, ctx.b is missing, ctx.c is missing)",
        ),
        (" ( ctx.a == ctx.a ) ", r#"{"a":{}}"#, "`( ctx.a == ctx.a )` is false (ctx.a = {})"),
        ("false", "{}", "`false` is false"),
        (
            "size(ctx.l[0].x) > 2 && true",
            r#"{"l":[{"x":"é"}]}"#,
            "`size(ctx.l[0].x) > 2` is false (ctx.l[0].x = \"é\")",
        ),
        ("state == \"z\"", "{}", "`state == \"z\"` is false (state = \"a\")"),
    ] {
        let definition = abc(&format!(
            r#"[{{"from":"a","event":"E","to":"b","guard":{}}}]"#,
            serde_json::to_string(guard).unwrap()
        ));
        let error = error(&definition, "a", "E", ctx);
        assert!(error.message().ends_with(expected), "{}", error.message());
    }
}

#[test]
fn seen_values_are_cut() {
    let definition = abc(r#"[{"from":"a","event":"E","to":"b","guard":"ctx.x == 1"}]"#);
    let error = error(&definition, "a", "E", &format!(r#"{{"x":"{}"}}"#, "é".repeat(100_000)));
    assert!(error.message().len() < 400, "{}", error.message());
    let seen = error.context()["values"]["ctx.x"].as_str().unwrap();
    assert!(seen.len() < 1100 && seen.ends_with("… (200002 bytes)"), "{seen}");
}

#[test]
fn an_event_the_state_does_not_accept_is_told_which_it_does() {
    let definition =
        abc(r#"[{"from":"a","event":"PAY","to":"b"},{"from":"b","event":"SHIP","to":"c"},
            {"from":"*","event":"CANCEL","to":"c"}]"#);
    let wrong = error(&definition, "a", "SHIP", "{}");
    assert_eq!(wrong.code(), ErrorCode::InvalidTransition);
    assert_eq!(wrong.reason(), None);
    assert_eq!(
        wrong.message(),
        "state \"a\" does not accept event \"SHIP\"; it accepts \"PAY\", \"CANCEL\""
    );
    assert_eq!(wrong.context()["accepted_events"], value!(["PAY", "CANCEL"]));
    assert_eq!(wrong.context()["event"], "SHIP");

    let unknown = error(&definition, "b", "ship_", "{}");
    assert_eq!(
        unknown.message(),
        "machine \"order\" version 2 has no event \"ship_\"; did you mean \"SHIP\"? state \"b\" \
         accepts \"SHIP\", \"CANCEL\""
    );
    assert_eq!(unknown.context()["suggestion"], "SHIP");

    let nothing = error(&abc("[]"), "a", "GO", "{}");
    assert_eq!(
        nothing.message(),
        "machine \"order\" version 2 has no event \"GO\"; state \"a\" accepts no events"
    );
}

#[test]
fn a_completed_instance_says_so() {
    let definition = r#"{"states":["a","shipped"],"initial":"a","final":["shipped"],"transitions":[
        {"from":"*","event":"SHIP","to":"shipped"}]}"#;
    for event in ["SHIP", "NOPE"] {
        let error = error(definition, "shipped", event, "{}");
        assert_eq!(error.code(), ErrorCode::InvalidTransition);
        assert_eq!(error.reason(), Some("instance_completed"));
        assert_eq!(
            error.message(),
            format!(
                "instance \"o-1\" of machine \"order\" is completed: state \"shipped\" is final and \
                 accepts no events, so not \"{event}\""
            )
        );
    }
}

#[test]
fn permitted_lists_every_event_with_what_it_would_do() {
    let machine = machine(&abc(
        r#"[{"from":"b","event":"X","to":"c"},{"from":"a","event":"Y","to":"b","guard":"ctx.ok"},
            {"from":"*","event":"Z","to":"c"}]"#,
    ));
    let ctx = Json::empty_object();
    let permitted = machine.permitted(&situation(&machine, "a", &ctx));
    let short: Vec<_> = permitted
        .iter()
        .map(|p| (p.event.as_str(), p.permitted, p.to_state.as_deref(), p.code))
        .collect();
    assert_eq!(
        short,
        [
            ("X", false, None, Some(ErrorCode::InvalidTransition)),
            ("Y", false, None, Some(ErrorCode::GuardFailed)),
            ("Z", true, Some("c"), None),
        ]
    );
    assert!(permitted[1].message.as_deref().unwrap().contains("ctx.ok is missing"));
}

#[test]
fn an_unknown_state_number_is_an_error() {
    let machine = machine(&abc("[]"));
    let ctx = Json::null();
    let mut situation = situation(&machine, "a", &ctx);
    situation.state = 3;
    let error = machine.decide(&situation, "E").unwrap_err();
    assert_eq!((error.code(), error.reason()), (ErrorCode::InternalError, Some("corrupt")));
}

#[test]
fn machines_are_shared_between_threads() {
    fn shared<T: Send + Sync + std::fmt::Debug + 'static>() {}
    shared::<rstmdb_machine::Machine>();
    shared::<rstmdb_machine::Guard>();
}
