//! Idempotency keys: a request that is repeated after a lost answer happens once.

use rstmdb::blocking::Database;
use rstmdb::{ApplyEventRequest, CreateInstanceRequest, Json, PutMachineRequest, error::reason};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "mem:".to_owned());
    let db = Database::open(&url)?;
    let counter = Json::parse(
        r#"{"states": ["counting"], "initial": "counting", "transitions": [
            {"from": "counting", "event": "COUNT", "to": "counting"}]}"#,
    )?;
    db.put_machine(PutMachineRequest::new("counter", 1, counter))?;
    let visits = db.create_instance(CreateInstanceRequest::unnamed("counter", 1))?.instance_id;

    let count = ApplyEventRequest::new(visits.clone(), "COUNT")
        .with_payload(Json::parse(r#"{"visitors": 1}"#)?)
        .with_key("visit-2026-11-23");
    let first = db.apply_event(count.clone())?;
    let again = db.apply_event(count)?;
    println!("first at offset {}, again: applied = {}", first.wal_offset, again.applied);
    assert_eq!(first.wal_offset, again.wal_offset);
    assert!(!again.applied);

    // The key stands for that request, not for any other.
    let other = ApplyEventRequest::new(visits, "COUNT")
        .with_payload(Json::parse(r#"{"visitors": 2}"#)?)
        .with_key("visit-2026-11-23");
    match db.apply_event(other) {
        Err(error) => {
            println!("refused: {error}");
            assert_eq!(error.reason(), Some(reason::IDEMPOTENCY_KEY_REUSED));
        }
        Ok(_) => return Err("the key was accepted for another request".into()),
    }
    db.close()?;
    Ok(())
}
