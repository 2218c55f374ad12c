//! What was ordered, such as a promotion: it holds over restarts, until the configuration says something else than it did then.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{ReplicationConfig, Role};

/// The file in the data directory, and what becomes it.
const FILE: &str = "part.json";
const TEMPORARY: &str = "part.json.tmp";

/// What a server is to others, in a few words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartName {
    pub role: String,
    pub upstream: Option<String>,
}

impl PartName {
    pub(super) fn new(role: Role, upstream: Option<&str>) -> PartName {
        PartName { role: role.to_string(), upstream: upstream.map(str::to_owned) }
    }

    fn of(config: &ReplicationConfig) -> PartName {
        let upstream = config.upstream.as_ref().map(|address| address.as_str());
        PartName::new(config.role, upstream)
    }

    pub(super) fn leads(&self) -> bool {
        self.role == Role::Primary.to_string()
    }
}

#[derive(Serialize, Deserialize)]
struct KeptPart {
    ordered: PartName,
    /// What the configuration said.
    configured: PartName,
}

/// What this server is: what was ordered last, or what the configuration says.
pub(super) fn part(directory: &Path, config: &ReplicationConfig) -> PartName {
    let configured = PartName::of(config);
    let path = directory.join(FILE);
    let kept = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice::<KeptPart>(&bytes).map_err(io::Error::from),
        Err(error) => Err(error),
    };
    match kept {
        Ok(kept) if kept.configured == configured && kept.ordered != configured => {
            let PartName { role, upstream } = &kept.ordered;
            tracing::warn!(
                role,
                upstream,
                "this server is what was ordered since the configuration was written; write it there, too"
            );
            kept.ordered
        }
        Ok(_) => configured,
        Err(error) if error.kind() == io::ErrorKind::NotFound => configured,
        Err(error) => {
            tracing::warn!("{} is not used: {error}", path.display());
            configured
        }
    }
}

/// Keeps what was ordered.
pub(super) fn keep(directory: &Path, config: &ReplicationConfig, ordered: PartName) {
    let kept = KeptPart { ordered, configured: PartName::of(config) };
    if let Err(error) = write(directory, &kept) {
        let place: PathBuf = directory.join(FILE);
        tracing::error!(
            "what was ordered holds until a restart only: {} can't be written: {error}",
            place.display()
        );
    }
}

fn write(directory: &Path, kept: &KeptPart) -> io::Result<()> {
    let temporary = directory.join(TEMPORARY);
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(kept)?)?;
    file.sync_all()?;
    std::fs::rename(&temporary, directory.join(FILE))?;
    // Whether the name is on the disk is known to the directory alone.
    if cfg!(unix) { std::fs::File::open(directory)?.sync_all() } else { Ok(()) }
}
