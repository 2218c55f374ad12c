//! The model against a few answers worked out by hand.

use rstmdb_types::*;
use serde_json::json;

use super::*;

fn model() -> Model {
    let mut model = Model::new(Settings::default(), 1000);
    let definition = json!({
        "states": ["a", "b"], "initial": "a",
        "transitions": [{"from": "*", "event": "GO", "to": "b"}],
    });
    model.put_machine(PutMachineRequest::new("m", 1, definition)).unwrap();
    model
}

fn create(id: &str) -> CreateInstanceRequest {
    CreateInstanceRequest::new(id, "m", 1)
}

fn delete(id: &str) -> DeleteInstanceRequest {
    DeleteInstanceRequest { instance_id: id.into(), idempotency_key: None }
}

#[test]
fn every_change_takes_one_offset() {
    let mut model = model();
    assert_eq!(model.create_instance(create("i")).unwrap().wal_offset, 2);
    assert_eq!(model.apply_event(ApplyEventRequest::new("i", "GO")).unwrap().wal_offset, 3);
    assert!(model.apply_event(ApplyEventRequest::new("i", "NO")).is_err());
    let batch = BatchRequest {
        mode: BatchMode::Atomic,
        ops: vec![BatchOperation::CreateInstance(create("j"))],
        idempotency_key: Some("k".into()),
    };
    model.batch(batch.clone()).unwrap();
    model.batch(batch).unwrap();
    assert_eq!(model.delete_instance(delete("i")).unwrap().wal_offset, 6);
    assert_eq!(model.delete_instance(delete("i")).unwrap().wal_offset, 6);
    assert_eq!(model.latest_offset(), 6);
}

#[test]
fn a_key_answers_again_until_its_window_ends() {
    let mut model = model();
    model.create_instance(create("i")).unwrap();
    let request = ApplyEventRequest::new("i", "GO").with_key("k");
    assert!(model.apply_event(request.clone()).unwrap().applied);
    model.now_ms += 24 * 3600 * 1000 - 1;
    assert!(!model.apply_event(request.clone()).unwrap().applied);
    let other = model.apply_event(ApplyEventRequest::new("i", "NO").with_key("k")).unwrap_err();
    assert_eq!(other.reason(), Some(reason::IDEMPOTENCY_KEY_REUSED));
    model.now_ms += 1;
    assert!(model.apply_event(request).unwrap().applied);
}

#[test]
fn a_failed_atomic_batch_leaves_nothing() {
    let mut model = model();
    let ops = vec![
        BatchOperation::CreateInstance(create("i")),
        BatchOperation::ApplyEvent(ApplyEventRequest::new("i", "NO")),
    ];
    let batch = BatchRequest { mode: BatchMode::Atomic, ops, idempotency_key: None };
    let error = model.batch(batch).unwrap_err();
    assert_eq!(
        (error.code(), error.context()["index"].as_u64()),
        (ErrorCode::InvalidTransition, Some(1))
    );
    assert_eq!(model.latest_offset(), 1);
    assert!(model.get_instance(GetInstanceRequest { instance_id: "i".into() }).is_err());
}

#[test]
fn a_new_life_answers_the_keys_of_the_former_ones() {
    let mut model = model();
    let first = model.create_instance(create("i").with_key("c")).unwrap();
    let event = || ApplyEventRequest::new("i", "GO").with_key("k");
    model.apply_event(event()).unwrap();
    model.delete_instance(delete("i")).unwrap();
    assert!(!model.apply_event(event()).unwrap().applied, "deleted or not");
    assert_eq!(model.create_instance(create("i").with_key("c")).unwrap(), first);
    model.create_instance(create("i").with_key("d")).unwrap();
    assert!(!model.apply_event(event()).unwrap().applied);
    assert_eq!(model.create_instance(create("i").with_key("c")).unwrap(), first);
}
