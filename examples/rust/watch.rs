//! Async, on any executor: follow events, stop, and resume where it stopped.

use futures_lite::future::block_on;
use rstmdb::{
    ApplyEventRequest, CreateInstanceRequest, Database, Json, PutMachineRequest,
    WatchInstanceRequest,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    block_on(async {
        let url = std::env::args().nth(1).unwrap_or_else(|| "mem:".to_owned());
        let db = Database::open(&url).await?;
        let lamp = Json::parse(
            r#"{"states": ["off", "on"], "initial": "off", "transitions": [
                {"from": "off", "event": "PRESS", "to": "on"},
                {"from": "on", "event": "PRESS", "to": "off"}]}"#,
        )?;
        db.put_machine(PutMachineRequest::new("lamp", 1, lamp)).await?;
        let lamp = db.create_instance(CreateInstanceRequest::unnamed("lamp", 1)).await?.instance_id;

        let (_, mut events) = db.watch_instance(WatchInstanceRequest::new(lamp.clone())).await?;
        for _ in 0..3 {
            db.apply_event(ApplyEventRequest::new(lamp.clone(), "PRESS")).await?;
        }
        let first = events.next().await.ok_or("the database was closed")??;
        println!("{} is {:?}", first.instance_id, first.to_state);

        // A worker that remembers this place misses nothing, whatever happens in between. With the offset
        // alone it would not notice that a copy of the data was put back, where offsets mean other changes.
        let (resume_at, history_id) = (events.resume_offset(), events.history_id());
        drop(events);

        let request = WatchInstanceRequest {
            from_offset: Some(resume_at),
            history_id,
            ..WatchInstanceRequest::new(lamp)
        };
        let (_, mut events) = db.watch_instance(request).await?;
        for expected in ["off", "on"] {
            let event = events.next().await.ok_or("the database was closed")??;
            println!("{} is {:?}", event.instance_id, event.to_state);
            assert_eq!(event.to_state.as_deref(), Some(expected));
        }
        db.close().await?;
        Ok(())
    })
}
