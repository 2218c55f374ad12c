//! What rstmdb is compared with: SQLite, a bare loop of writes, a hash map.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, params};

use crate::workload::{EVENT, Picks, STATES, context, id, payloads};

/// Orders in SQLite, in WAL mode.
///
/// The way that was the fastest of those tried: the guard and the merge are part of the statement,
/// and the program remembers the states, so that a transition needs no reading statement. Unlike
/// rstmdb's, its transition does not return the new context.
#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
    states: Vec<usize>,
    payloads: Vec<String>,
    picks: Picks,
}

const UPDATE: &str = "UPDATE instances SET state = ?1, ctx = json_patch(ctx, ?2), updated_at = ?3
    WHERE id = ?4 AND state = ?5
    AND json_extract(ctx, '$.total') >= 0 AND json_extract(ctx, '$.paid')";
const INSERT: &str = "INSERT INTO history (id, event, from_state, to_state, payload, at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

impl Sqlite {
    pub fn create(path: &Path, synchronous: &str, count: usize) -> Sqlite {
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.pragma_update(None, "synchronous", synchronous).unwrap();
        // All of it in memory, as rstmdb has it.
        connection.pragma_update(None, "cache_size", -1_000_000).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE instances (id TEXT PRIMARY KEY, state TEXT NOT NULL,
                     ctx TEXT NOT NULL, updated_at INTEGER NOT NULL) WITHOUT ROWID;
                 CREATE TABLE history (number INTEGER PRIMARY KEY, id TEXT NOT NULL,
                     event TEXT NOT NULL, from_state TEXT NOT NULL, to_state TEXT NOT NULL,
                     payload TEXT NOT NULL, at INTEGER NOT NULL);
                 BEGIN;",
            )
            .unwrap();
        let mut insert =
            connection.prepare("INSERT INTO instances VALUES (?1, ?2, ?3, ?4)").unwrap();
        for i in 0..count {
            insert.execute(params![id(i).as_str(), STATES[0], context(i), now_ms()]).unwrap();
        }
        drop(insert);
        connection.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
        Sqlite {
            connection,
            states: vec![0; count],
            payloads: payloads(),
            picks: Picks::new(0, count),
        }
    }

    /// One guarded transition and one row of history in a transaction of their own.
    pub fn apply(&mut self) {
        let i = self.picks.pick();
        let (from, to) = (self.states[i], (self.states[i] + 1) % STATES.len());
        let (id, payload) = (id(i), &self.payloads[i % self.payloads.len()]);
        let id = id.as_str();
        let now = now_ms();
        let prepared = |text: &str| self.connection.prepare_cached(text).unwrap();
        prepared("BEGIN IMMEDIATE").execute([]).unwrap();
        let values = params![STATES[to], payload, now, id, STATES[from]];
        assert_eq!(prepared(UPDATE).execute(values).unwrap(), 1);
        let values = params![id, EVENT, STATES[from], STATES[to], payload, now];
        prepared(INSERT).execute(values).unwrap();
        prepared("COMMIT").execute([]).unwrap();
        self.states[i] = to;
    }

    /// Reads an instance's state and context.
    pub fn get(&mut self) -> usize {
        let id = id(self.picks.pick());
        let mut select = self
            .connection
            .prepare_cached("SELECT state, ctx, updated_at FROM instances WHERE id = ?1")
            .unwrap();
        let row: (String, String, i64) = select
            .query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap();
        row.1.len()
    }

    /// Reads the 100 instances after `after`; returns the last id.
    pub fn page(&self, after: &str) -> Option<String> {
        let mut select = self
            .connection
            .prepare_cached(
                "SELECT id, state, updated_at FROM instances WHERE id > ?1 ORDER BY id LIMIT 100",
            )
            .unwrap();
        let rows = select
            .query_map([after], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
            })
            .unwrap();
        let rows: Vec<_> = rows.map(Result::unwrap).collect();
        rows.into_iter().next_back().map(|row| row.0)
    }
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A loop that appends records to a file which was written before, and syncs.
#[derive(Debug)]
pub struct BareLog {
    file: File,
    record: Vec<u8>,
    position: u64,
}

const BARE_BYTES: u64 = 64 << 20;

impl BareLog {
    pub fn create(path: &Path, record_bytes: usize) -> BareLog {
        let file = OpenOptions::new().write(true).create_new(true).open(path).unwrap();
        let zeros = vec![0; 1 << 20];
        for at in (0..BARE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at).unwrap();
        }
        file.sync_all().unwrap();
        BareLog { file, record: vec![0x5a; record_bytes], position: 0 }
    }

    /// Writes `records` records in one call and syncs.
    pub fn append(&mut self, records: usize) {
        let data = self.record.repeat(records);
        if self.position + data.len() as u64 > BARE_BYTES {
            self.position = 0;
        }
        self.file.write_all_at(&data, self.position).unwrap();
        self.position += data.len() as u64;
        self.file.sync_data().unwrap();
    }
}
