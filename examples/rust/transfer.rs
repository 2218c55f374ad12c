//! An atomic batch: both instances move, or neither does.

use rstmdb::blocking::Database;
use rstmdb::{
    ApplyEventRequest, BatchMode, BatchOperation, BatchRequest, CreateInstanceRequest,
    GetInstanceRequest, Json, PutMachineRequest,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = Database::open("mem:")?;
    let seat = Json::parse(
        r#"{"states": ["free", "taken"], "initial": "free", "transitions": [
            {"from": "free", "event": "TAKE", "to": "taken"},
            {"from": "taken", "event": "LEAVE", "to": "free"}]}"#,
    )?;
    db.put_machine(PutMachineRequest::new("seat", 1, seat))?;
    for id in ["12A", "12B"] {
        db.create_instance(CreateInstanceRequest::new(id, "seat", 1))?;
    }
    let take = |id: &str| BatchOperation::ApplyEvent(ApplyEventRequest::new(id, "TAKE"));
    let state = |id: &str| -> rstmdb::Result<rstmdb::Text> {
        Ok(db.get_instance(GetInstanceRequest { instance_id: id.into() })?.state)
    };
    let both = |ops| BatchRequest { mode: BatchMode::Atomic, ops, idempotency_key: None };

    db.batch(both(vec![take("12A"), take("12B")]))?;
    println!("12A is {}, 12B is {}", state("12A")?, state("12B")?);

    // 12B is taken: the batch fails as a whole and 12A stays as it was.
    let leave = BatchOperation::ApplyEvent(ApplyEventRequest::new("12A", "LEAVE"));
    match db.batch(both(vec![leave, take("12B")])) {
        Err(error) => println!("refused: {error}"),
        Ok(_) => return Err("a taken seat was taken again".into()),
    }
    assert_eq!(state("12A")?, "taken");
    Ok(())
}
