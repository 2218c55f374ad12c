//! An atomic batch: both instances move, or neither does.

use rstmdb::blocking::Database;
use rstmdb::{
    ApplyEventRequest, BatchMode, BatchOperation, BatchRequest, CreateInstanceRequest,
    GetInstanceRequest, Json, PutMachineRequest,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "mem:".to_owned());
    let db = Database::open(&url)?;
    let seat = Json::parse(
        r#"{"states": ["free", "taken"], "initial": "free", "transitions": [
            {"from": "free", "event": "TAKE", "to": "taken"},
            {"from": "taken", "event": "LEAVE", "to": "free"}]}"#,
    )?;
    db.put_machine(PutMachineRequest::new("seat", 1, seat))?;
    let seat = || db.create_instance(CreateInstanceRequest::unnamed("seat", 1));
    let (window, aisle) = (seat()?.instance_id, seat()?.instance_id);
    let take = |id: &str| BatchOperation::ApplyEvent(ApplyEventRequest::new(id, "TAKE"));
    let state = |id: &str| -> rstmdb::Result<rstmdb::Text> {
        Ok(db.get_instance(GetInstanceRequest { instance_id: id.into() })?.state)
    };
    let both = |ops| BatchRequest { mode: BatchMode::Atomic, ops, idempotency_key: None };

    db.batch(both(vec![take(&window), take(&aisle)]))?;
    println!("the window is {}, the aisle is {}", state(&window)?, state(&aisle)?);

    // The aisle is taken: the batch fails as a whole and the window stays as it was.
    let leave = BatchOperation::ApplyEvent(ApplyEventRequest::new(window.clone(), "LEAVE"));
    match db.batch(both(vec![leave, take(&aisle)])) {
        Err(error) => println!("refused: {error}"),
        Ok(_) => return Err("a taken seat was taken again".into()),
    }
    assert_eq!(state(&window)?, "taken");
    Ok(())
}
