//! A database of some segments whose bytes a test damages, and what it must say.

use std::sync::Arc;

use rstmdb_engine::{Background, Engine, FsyncPolicy, Location, Options, Retention};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, Json, Operation, Result};
use serde_json::{Value, json};

use crate::calls::call;
use crate::clock::TestClock;
use crate::faulty::FaultyStorage;

/// A machine of one state, which the event `E` leads back to.
pub const LOOP: &str =
    r#"{"states":["s"],"initial":"s","transitions":[{"from":"s","event":"E","to":"s"}]}"#;

/// Small segments, no threads, the whole log kept.
pub fn options(fsync: FsyncPolicy) -> Options {
    Options {
        fsync,
        background: Background::Inline,
        partitions: 2,
        segment_bytes_max: 4096,
        checkpoint_log_bytes: 0,
        free_bytes_min: 0,
        retention: Retention::Forever,
        ..Options::default()
    }
}

/// The database on a disk, at a time that stands still.
pub fn location(disk: &FaultyStorage) -> Location {
    Location { clock: Arc::new(TestClock::new()), ..disk.location() }
}

/// Opens what is on a disk.
pub fn open(disk: &FaultyStorage, fsync: FsyncPolicy) -> Result<Engine> {
    Engine::open(location(disk), options(fsync))
}

/// Stores the machine and the instance that [`apply`] needs.
pub fn begin(engine: &Engine) {
    let definition = json!({
        "states": ["s", "t"], "initial": "s",
        "transitions": [
            {"from": "s", "event": "E", "to": "t"}, {"from": "t", "event": "E", "to": "s"}
        ],
    });
    let request = json!({"machine": "m", "version": 1, "definition": definition});
    call(engine, Operation::PutMachine, &request).unwrap();
    let request = json!({"instance_id": "a", "machine": "m", "version": 1});
    call(engine, Operation::CreateInstance, &request).unwrap();
}

/// One event; returns its offset.
pub fn apply(engine: &Engine, number: u64) -> Result<u64> {
    let request = json!({
        "instance_id": "a", "event": "E", "idempotency_key": format!("key-{number}"),
        "payload": {"n": number, "text": "x".repeat(90)},
    });
    let answer = call(engine, Operation::ApplyEvent, &request)?.to_value();
    Ok(answer["wal_offset"].as_u64().unwrap())
}

/// A database that was written with these events, still open.
pub fn database(events: u64, fsync: FsyncPolicy) -> (FaultyStorage, Engine) {
    let disk = FaultyStorage::new(1);
    let engine = open(&disk, fsync).unwrap();
    begin(&engine);
    for number in 0..events {
        apply(&engine, number).unwrap();
    }
    (disk, engine)
}

/// The machines and instances there are, as the operations show them.
pub fn state(call: &mut dyn FnMut(Operation, &Value) -> Result<Json>) -> Value {
    let mut call = |operation, request| match call(operation, &request) {
        Ok(answer) => answer.to_value(),
        Err(error) => panic!("{operation:?} {request}: {error}"),
    };
    let machines = call(Operation::ListMachines, json!({}));
    let list = call(Operation::ListInstances, json!({"limit": 1000}));
    let instances: Vec<Value> = list["instances"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| call(Operation::GetInstance, json!({"instance_id": item["id"]})))
        .collect();
    let counts = call(Operation::CountInstances, json!({}));
    json!({"machines": machines, "list": list, "instances": instances, "counts": counts})
}

/// All that a database says, the log included; an error when a part can't be read.
pub fn everything(engine: &Engine) -> Result<Value> {
    let mut failed = None;
    let state = state(&mut |operation, request| call(engine, operation, request));
    let mut log = Vec::new();
    let mut from = json!(1);
    loop {
        let page = match call(engine, Operation::WalRead, &json!({"from_offset": from})) {
            Ok(page) => page.to_value(),
            Err(error) => {
                failed = Some(error);
                break;
            }
        };
        let records = page["records"].as_array().unwrap();
        if records.is_empty() {
            break;
        }
        log.extend(records.iter().cloned());
        from = page["next_offset"].clone();
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(json!({"state": state, "log": log})),
    }
}

/// Opens a disk and says everything.
pub fn read(disk: &FaultyStorage) -> Result<Value> {
    let engine = open(disk, FsyncPolicy::EveryWrite)?;
    everything(&engine)
}

/// Asserts that an error names the damage: file and position.
pub fn assert_damage(error: &Error, file: &str) {
    assert_eq!(error.reason(), Some(reason::CORRUPT), "{error:?}");
    assert_eq!(error.context()["file"], file, "{error:?}");
    assert!(error.context()["position"].is_u64(), "{error:?}");
}

/// The bytes of a frame, and where it is in its segment.
#[derive(Debug, Clone)]
pub struct FrameAt {
    /// Where it begins.
    pub position: usize,
    /// Header, payload and checksum.
    pub bytes: Vec<u8>,
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Where the frames of a segment begin.
pub const SEGMENT_HEADER_BYTES: usize = 128;
/// What a frame has around its payload: its header, and a checksum behind it.
pub const FRAME_HEADER_BYTES: usize = 64;
const FRAME_TRAILER_BYTES: usize = 4;

impl FrameAt {
    /// The first offset in it.
    pub fn first(&self) -> u64 {
        u64_at(&self.bytes, 16)
    }

    /// What was known to be on the disk when it was written.
    pub fn mark(&self) -> u64 {
        u64_at(&self.bytes, 48)
    }
}

/// The frames of a segment.
pub fn frames(disk: &FaultyStorage, segment: u64) -> Vec<FrameAt> {
    let bytes = disk.contents(&segment_path(segment)).unwrap();
    let around = FRAME_HEADER_BYTES + FRAME_TRAILER_BYTES;
    let mut frames = Vec::new();
    let mut position = SEGMENT_HEADER_BYTES;
    while position + around <= bytes.len() && bytes[position..].starts_with(b"RFRM") {
        let end = position + around + u32_at(&bytes, position + 8) as usize;
        frames.push(FrameAt { position, bytes: bytes[position..end].to_vec() });
        position = end;
    }
    frames
}

/// The path of a segment.
pub fn segment_path(number: u64) -> String {
    format!("log/{number:012}.seg")
}

/// The numbers of the segments there are.
pub fn segments(disk: &FaultyStorage) -> Vec<u64> {
    let number = |path: String| path.strip_prefix("log/")?.strip_suffix(".seg")?.parse().ok();
    disk.paths().into_iter().filter_map(number).collect()
}

/// Changes the bytes of a file.
pub fn edit(disk: &FaultyStorage, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.contents(path).unwrap();
    change(&mut bytes);
    disk.put(path, &bytes);
}

/// Sets the checksum of a frame right, as one who means harm would.
pub fn seal_frame(frame: &mut [u8], database: &[u8]) {
    let end = frame.len() - 4;
    let checksum = crc32c::crc32c_append(crc32c::crc32c(database), &frame[..end]);
    frame[end..].copy_from_slice(&checksum.to_le_bytes());
}

/// Sets both checksums of the header of a segment or checkpoint right.
pub fn seal_header(bytes: &mut [u8]) {
    for end in [60, 124] {
        let checksum = crc32c::crc32c(&bytes[..end]);
        bytes[end..end + 4].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// The id of the database, as its segments have it.
pub fn database_id(disk: &FaultyStorage) -> Vec<u8> {
    disk.contents(&segment_path(segments(disk)[0])).unwrap()[16..32].to_vec()
}
