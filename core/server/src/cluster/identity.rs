//! Who this node is, as its directory says: in the file `NODE`, beside the database.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use rstmdb_cluster::follow::NodeIdentity;
use rstmdb_engine::Location;
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Result};
use serde::{Deserialize, Serialize};

use crate::config::{ClusterConfig, refused};

const NODE: &str = "NODE";
const MANIFEST: &str = "MANIFEST";

/// What the file says.
#[derive(Debug, Serialize, Deserialize)]
struct NodeFile {
    cluster: String,
    /// 32 hex digits. Another directory has another one.
    uuid: String,
    /// 0 before it belongs to the group.
    node: u16,
    /// 32 hex digits.
    database: String,
}

/// Who this node is.
#[derive(Debug, Clone)]
pub(super) struct MemberIdentity {
    directory: PathBuf,
    cluster: String,
    pub uuid: [u8; 16],
    /// 0 before it belongs to the group.
    pub node: u16,
    pub database: [u8; 16],
    /// A database is there already.
    pub has_data: bool,
}

impl MemberIdentity {
    /// Reads who it is; a directory that does not say so gets a new uuid.
    pub(super) fn open(directory: &Path, config: &ClusterConfig) -> Result<MemberIdentity> {
        let has_data = directory.join(MANIFEST).exists();
        let found = match std::fs::read_to_string(directory.join(NODE)) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(failed(directory, "read", &error)),
        };
        let alone = || {
            let what = format!(
                "{} holds a database that belongs to no group: set cluster.bootstrap on this node to have it begin the group \
                 with what it has, or use an empty directory to have it join one",
                directory.display()
            );
            refused("cluster.bootstrap", what)
        };
        let may_join = !has_data || config.bootstrap;
        let Some(text) = found else {
            if !may_join {
                return Err(alone());
            }
            let uuid = Location::directory(directory.to_owned()).entropy.salt();
            let cluster = config.name.clone();
            let database = [0; 16];
            let directory = directory.to_owned();
            let identity = MemberIdentity { directory, cluster, uuid, node: 0, database, has_data };
            identity.save()?;
            return Ok(identity);
        };
        let damaged = || {
            let what = format!(
                "{} is damaged: move the directory away, remove the node from the group (rstmdb-cli cluster remove NODE), and start \
                 it with an empty one",
                directory.join(NODE).display()
            );
            Error::new(ErrorCode::InternalError, what).with_reason(reason::CORRUPT)
        };
        let file: NodeFile = serde_json::from_str(&text).map_err(|_| damaged())?;
        if file.cluster != config.name {
            let what = format!(
                "{} belongs to the group {:?}, and cluster.name is {:?}: use another directory, or the name of its group",
                directory.display(),
                file.cluster,
                config.name
            );
            return Err(refused("cluster.name", what));
        }
        if file.node == 0 && !may_join {
            return Err(alone());
        }
        Ok(MemberIdentity {
            directory: directory.to_owned(),
            cluster: file.cluster,
            uuid: bytes(&file.uuid).ok_or_else(damaged)?,
            node: file.node,
            database: bytes(&file.database).ok_or_else(damaged)?,
            has_data,
        })
    }

    /// It belongs to the group from now on.
    pub(super) fn joined(&mut self, node: u16, database: [u8; 16]) -> Result<()> {
        (self.node, self.database) = (node, database);
        self.save()
    }

    pub(super) fn named(&self, name: &str) -> NodeIdentity {
        NodeIdentity {
            cluster: self.cluster.clone(),
            node: self.node,
            uuid: self.uuid,
            name: name.to_owned(),
            address: String::new(),
        }
    }

    /// Replaces the file; it is on the disk when this returns.
    fn save(&self) -> Result<()> {
        let file = NodeFile {
            cluster: self.cluster.clone(),
            uuid: digits(&self.uuid),
            node: self.node,
            database: digits(&self.database),
        };
        let write = || -> std::io::Result<()> {
            let temporary = self.directory.join("NODE.tmp");
            let mut written = File::create(&temporary)?;
            written.write_all(serde_json::to_string(&file)?.as_bytes())?;
            written.sync_all()?;
            std::fs::rename(&temporary, self.directory.join(NODE))?;
            // Elsewhere a directory can't be opened to be synced.
            if cfg!(unix) { File::open(&self.directory)?.sync_all() } else { Ok(()) }
        };
        write().map_err(|error| failed(&self.directory, "write", &error))
    }
}

fn failed(directory: &Path, what: &str, error: &std::io::Error) -> Error {
    let message = format!("can't {what} {}: {error}", directory.join(NODE).display());
    Error::new(ErrorCode::InternalError, message).with_reason(reason::IO)
}

/// Bytes as hex digits.
pub(super) fn digits(bytes: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*bytes))
}

fn bytes(digits: &str) -> Option<[u8; 16]> {
    let is_whole = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let value = is_whole.then(|| u128::from_str_radix(digits, 16).ok()).flatten()?;
    Some(value.to_be_bytes())
}
