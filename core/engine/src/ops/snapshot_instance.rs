//! Writes a snapshot of one instance.

use std::io;

use rstmdb_types::{
    Error, ErrorCode, GetInstanceRequest, Result, SnapshotInstanceRequest, SnapshotInstanceResult,
};

use super::Edge;
use crate::error::writing;
use crate::shared::Shared;

const SNAPSHOT_DIRECTORY: &str = "snapshots";

impl Shared {
    pub(crate) fn snapshot_instance(
        &self,
        request: SnapshotInstanceRequest,
        edge: &Edge<'_>,
    ) -> Result<SnapshotInstanceResult> {
        let read = self.get_instance(GetInstanceRequest { instance_id: request.instance_id });
        self.queue.wait(read.ticket)?;
        let instance = read.result?;
        let snapshot_id = format!("snap-{}", edge.id(0));
        let text = serde_json::to_string(&instance)
            .map_err(|error| Error::new(ErrorCode::InternalError, error.to_string()))?;
        // Closing waits for this lock, and nothing may be written after it.
        let _manifest = self.manifest.lock();
        self.check_open()?;
        self.check_writable()?;
        self.check_directory()?;
        self.check_free_space()?;
        let path = format!("{SNAPSHOT_DIRECTORY}/{snapshot_id}.json");
        let temporary = format!("{path}.tmp");
        let write = || -> io::Result<()> {
            self.storage.create_dir(SNAPSHOT_DIRECTORY)?;
            self.storage.sync_dir("")?;
            let file = self.storage.create(&temporary)?;
            file.write_all_at(text.as_bytes(), 0)?;
            file.sync_data()?;
            self.storage.rename(&temporary, &path)?;
            self.storage.sync_dir(SNAPSHOT_DIRECTORY)
        };
        write().map_err(|error| {
            // What is left of it has no name that anybody asks for.
            let _ = self.storage.remove(&temporary);
            writing("the snapshot", error)
        })?;
        Ok(SnapshotInstanceResult {
            instance_id: instance.instance_id,
            snapshot_id: snapshot_id.as_str().into(),
            wal_offset: instance.last_wal_offset,
            size_bytes: text.len() as u64,
            checksum: format!("{:08x}", crc32c::crc32c(text.as_bytes())).into(),
        })
    }
}
