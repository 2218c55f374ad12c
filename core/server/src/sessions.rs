//! The sessions that are open, for who looks after the server: whose they are, and how one is ended.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::control::Order;
use crate::live::LiveSettings;

/// Of the name that a client gives itself, so many characters are shown.
const CLIENT_CHARACTERS: usize = 40;

/// All of them, by number.
#[derive(Debug)]
pub struct Sessions {
    open: Mutex<BTreeMap<u64, Arc<SessionEntry>>>,
    next: AtomicU64,
    settings: Arc<LiveSettings>,
}

/// What is known of one.
#[derive(Debug)]
struct SessionEntry {
    address: SocketAddr,
    began: Instant,
    who: Mutex<Who>,
    watches: AtomicUsize,
    is_to_end: AtomicBool,
}

/// Whose it is, as far as that was said.
#[derive(Debug, Default)]
struct Who {
    token: Option<Arc<str>>,
    client: Option<Box<str>>,
}

/// A session's own place in the list; dropping it takes it out.
#[derive(Debug)]
pub(crate) struct ListedSession {
    sessions: Arc<Sessions>,
    number: u64,
    entry: Arc<SessionEntry>,
}

impl Sessions {
    pub(crate) fn new(settings: Arc<LiveSettings>) -> Sessions {
        Sessions { open: Mutex::default(), next: AtomicU64::new(1), settings }
    }

    /// Lists a new one.
    pub(crate) fn begin(self: &Arc<Sessions>, address: SocketAddr) -> ListedSession {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = Arc::new(SessionEntry {
            address,
            began: Instant::now(),
            who: Mutex::default(),
            watches: AtomicUsize::new(0),
            is_to_end: AtomicBool::new(false),
        });
        self.open.lock().insert(number, entry.clone());
        ListedSession { sessions: self.clone(), number, entry }
    }

    /// Ends one, as a revoked token does: what was asked is answered, and watches are told where to resume.
    /// Says whether there is one of that number.
    pub fn end(&self, number: u64) -> bool {
        let found = self.open.lock().get(&number).cloned();
        let Some(entry) = found else { return false };
        entry.is_to_end.store(true, Ordering::Release);
        // All look; that costs little, and nobody asks often.
        self.settings.announce();
        true
    }

    /// The answer to an order that is about them.
    ///
    /// Fails when there is no such session.
    pub fn answer(&self, order: Order) -> Result<String, String> {
        match order {
            Order::End(number) if self.end(number) => Ok(format!("session {number} ends")),
            Order::End(number) => {
                Err(format!("there is no session {number}; rstmdb --sessions lists them"))
            }
            Order::Sessions | Order::Reload => Ok(self.table()),
        }
    }

    /// All of them as a table, the oldest first.
    pub fn table(&self) -> String {
        let open: Vec<_> =
            self.open.lock().iter().map(|(number, entry)| (*number, entry.clone())).collect();
        let mut rows = vec![
            ["SESSION", "ADDRESS", "SECONDS", "WATCHES", "TOKEN", "CLIENT"].map(str::to_owned),
        ];
        for (number, entry) in open {
            let who = entry.who.lock();
            rows.push([
                number.to_string(),
                entry.address.to_string(),
                entry.began.elapsed().as_secs().to_string(),
                entry.watches.load(Ordering::Relaxed).to_string(),
                who.token.as_deref().unwrap_or("-").to_owned(),
                who.client.as_deref().unwrap_or("-").to_owned(),
            ]);
        }
        aligned(&rows)
    }
}

impl ListedSession {
    /// Notes whose it is. What a client calls itself comes to a terminal: nothing of it may move the cursor.
    pub(crate) fn set_who(&self, token: Option<Arc<str>>, client: Option<&str>) {
        let shown = client.map(|client| {
            client.chars().take(CLIENT_CHARACTERS).flat_map(char::escape_debug).collect()
        });
        *self.entry.who.lock() = Who { token, client: shown };
    }

    pub(crate) fn set_watches(&self, watches: usize) {
        self.entry.watches.store(watches, Ordering::Relaxed);
    }

    /// Whether somebody ended it.
    pub(crate) fn is_to_end(&self) -> bool {
        self.entry.is_to_end.load(Ordering::Acquire)
    }
}

impl Drop for ListedSession {
    fn drop(&mut self) {
        self.sessions.open.lock().remove(&self.number);
    }
}

/// Columns as wide as what is in them, the last one but for spaces at its end.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a text does not fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
