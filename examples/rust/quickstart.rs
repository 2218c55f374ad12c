//! Define a machine, create an instance, apply events, read it back, be refused.

use rstmdb::blocking::Database;
use rstmdb::{
    ApplyEventRequest, CreateInstanceRequest, GetInstanceRequest, Json, PutMachineRequest,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "mem:".to_owned());
    let db = Database::open(&url)?;

    let lock = Json::parse(
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
    db.put_machine(PutMachineRequest::new("lock", 1, lock))?;

    // Without an id the instance gets a random one.
    let context = Json::parse(r#"{"has_key": false}"#)?;
    let created =
        db.create_instance(CreateInstanceRequest::unnamed("lock", 1).with_ctx(context))?;
    let id = created.instance_id;

    let closed = db.apply_event(ApplyEventRequest::new(id.clone(), "CLOSE"))?;
    println!("{} -> {} at offset {}", closed.from_state, closed.to_state, closed.wal_offset);

    if let Err(error) = db.apply_event(ApplyEventRequest::new(id.clone(), "LOCK")) {
        println!("refused: {error}");
    }

    let lock = db.get_instance(GetInstanceRequest { instance_id: id })?;
    println!("the lock is {}, its context {}", lock.state, lock.ctx);
    assert_eq!(lock.state, "closed");
    db.close()?;
    Ok(())
}
