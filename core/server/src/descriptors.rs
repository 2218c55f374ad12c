//! How many connections the open files of the process allow. Some are kept back: without them the
//! database could neither begin a segment nor write a checkpoint.

use std::path::Path;

/// So many files are kept back for the database, where there are that many.
const KEPT_BACK: usize = 64;
/// What is taken to be open where that can't be told.
const OPEN_ASSUMED: usize = 64;

/// How many connections may be open at once, whatever the settings say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenFiles {
    /// Of clients.
    pub clients: usize,
    /// For metrics and health.
    pub health: usize,
}

impl OpenFiles {
    /// What is left now, when everything but connections is open.
    pub(crate) fn left(health_max: usize) -> OpenFiles {
        let limit = usize::try_from(limit()).unwrap_or(usize::MAX);
        let open = std::fs::read_dir(Path::new("/dev/fd")).map_or(OPEN_ASSUMED, Iterator::count);
        OpenFiles::of(limit.saturating_sub(open), health_max)
    }

    fn of(free: usize, health_max: usize) -> OpenFiles {
        let left = free - (free / 2).min(KEPT_BACK);
        let health = (left / 4).clamp(1, health_max);
        OpenFiles { clients: left.saturating_sub(health).max(1), health }
    }
}

#[cfg(unix)]
fn limit() -> u64 {
    rlimit::Resource::NOFILE.get_soft().unwrap_or(rlimit::INFINITY)
}

/// Windows counts no sockets.
#[cfg(not(unix))]
fn limit() -> u64 {
    u64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_keeps_half_of_few_files_and_enough_of_many() {
        let of = |free| {
            let OpenFiles { clients, health } = OpenFiles::of(free, 64);
            (clients, health, free - (clients + health).min(free))
        };
        assert_eq!(of(10), (4, 1, 5));
        assert_eq!(of(100), (38, 12, 50));
        assert_eq!(of(1000), (872, 64, 64));
        assert_eq!(of(0), (1, 1, 0), "somebody must be able to ask");
        let OpenFiles { clients, .. } = OpenFiles::of(usize::MAX, 64);
        assert!(clients > 1 << 60);
    }
}
