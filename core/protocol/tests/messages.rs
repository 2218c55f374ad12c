//! Reading what a request asks for along with its message comes to the same as reading it alone.

use rstmdb_protocol::WireRequest;
use rstmdb_types::{Operation, Request};
use serde_json::value::RawValue;

fn alone(op: &str, params: Option<&RawValue>) -> Option<Request> {
    let is_wanted =
        |operation: &&Operation| operation.is_batchable() && operation.wire_name() == op;
    let operation = *Operation::ALL.iter().find(is_wanted)?;
    let params = params?.get();
    // A list of the members' values is nothing that anybody means.
    let mut from = serde_json::Deserializer::from_str(params);
    params.starts_with('{').then(|| Request::deserialize(operation, &mut from).ok()).flatten()
}

#[test]
fn a_request_read_along_is_the_one_that_is_read_alone() {
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let event = |payload: &str| format!(r#"{{"instance_id":"a","event":"E","payload":{payload}}}"#);
    let params = [
        r#"{"instance_id":"a"}"#.to_owned(),
        r#" { "instance_id" : "a", "more": [1, {"instance_id": 2}] } "#.to_owned(),
        r#"{"instance_id":"\u00e9\n","event":"E"}"#.to_owned(),
        r#"{"instance_id":"a","instance_id":"b"}"#.to_owned(),
        r#"{"instance_id":7}"#.to_owned(),
        r#"{"event":"E"}"#.to_owned(),
        r#"["a"]"#.to_owned(),
        "null".to_owned(),
        "{}".to_owned(),
        "1".to_owned(),
        r#"{"instance_id":"a","machine":"m","version":1,"initial_ctx":{"b":1,"a":{"c":[2]}}}"#
            .to_owned(),
        event("{\"n\":18446744073709551616}"),
        event("{\"n\":1,\"n\":2}"),
        event(&deep(60)),
        event(&deep(120)),
        event(&deep(124)),
        event(&deep(125)),
        event(&deep(126)),
        event(&deep(127)),
        event(&deep(200)),
    ];
    let mut along = 0;
    for op in ["GET_INSTANCE", "APPLY_EVENT", "CREATE_INSTANCE", "DELETE_INSTANCE", "PING", "X"] {
        for params in &params {
            let behind = format!(r#"{{"type":"request","id":"1","op":"{op}","params":{params}}}"#);
            let before = format!(r#"{{"params":{params},"type":"request","op":"{op}","id":"1"}}"#);
            let twice = format!(
                r#"{{"type":"request","id":"1","op":"{op}","params":{params},"params":{params}}}"#
            );
            let plain = WireRequest::parse(behind.as_bytes()).unwrap();
            let expected = alone(op, plain.params);
            let read =
                WireRequest::parse_along(behind.as_bytes(), Operation::is_batchable).unwrap();
            assert_eq!((&*read.id, &*read.op), ("1", op), "{behind}");
            match read.request {
                Some(request) => {
                    along += 1;
                    assert!(read.params.is_none());
                    assert_eq!(Some(*request), expected, "{behind}");
                }
                // Left for who says what is wrong with it. Near the deepest nesting there is, the message's own level
                // counts too.
                None => assert_eq!(read.params_text(), plain.params_text(), "{behind}"),
            }
            let early =
                WireRequest::parse_along(before.as_bytes(), Operation::is_batchable).unwrap();
            assert!(early.request.is_none());
            assert_eq!(early.params_text(), plain.params_text(), "{before}");
            let doubled = WireRequest::parse_along(twice.as_bytes(), Operation::is_batchable);
            assert_eq!(doubled.unwrap_err(), WireRequest::parse(twice.as_bytes()).unwrap_err());
        }
    }
    assert!(along >= 20, "{along} were read along");
}
