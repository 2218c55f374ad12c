//! Define a machine, create an instance, apply events, read it back, be refused.

use rstmdb::blocking::Database;
use rstmdb::{
    ApplyEventRequest, CreateInstanceRequest, GetInstanceRequest, Json, PutMachineRequest,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "mem:".to_owned());
    let db = Database::open(&url)?;

    let door = Json::parse(
        r#"{
            "states": ["open", "closed", "locked"],
            "initial": "open",
            "transitions": [
                {"from": "open", "event": "CLOSE", "to": "closed"},
                {"from": "closed", "event": "OPEN", "to": "open"},
                {"from": "closed", "event": "LOCK", "to": "locked", "guard": "ctx.has_key"},
                {"from": "locked", "event": "UNLOCK", "to": "closed", "guard": "ctx.has_key"}
            ]
        }"#,
    )?;
    db.put_machine(PutMachineRequest::new("door", 1, door))?;

    // Without an id the instance gets a random one.
    let created = db.create_instance(CreateInstanceRequest {
        instance_id: None,
        machine: "door".into(),
        version: 1,
        initial_ctx: Some(Json::parse(r#"{"has_key": false}"#)?),
        initial_state: None,
        idempotency_key: None,
    })?;
    let id = created.instance_id;

    let closed = db.apply_event(ApplyEventRequest::new(id.clone(), "CLOSE"))?;
    println!("{} -> {} at offset {}", closed.from_state, closed.to_state, closed.wal_offset);

    if let Err(error) = db.apply_event(ApplyEventRequest::new(id.clone(), "LOCK")) {
        println!("refused: {error}");
    }

    let door = db.get_instance(GetInstanceRequest { instance_id: id })?;
    println!("the door is {}, its context {}", door.state, door.ctx);
    assert_eq!(door.state, "closed");
    db.close()?;
    Ok(())
}
