//! What a copy tells at its end: counts, a comparison, and what stayed behind.

use std::collections::BTreeMap;
use std::time::Duration;

use rstmdb::blocking::Database;
use rstmdb::{CountInstancesRequest, ErrorKind, InstanceSummary, Result};
use serde::Serialize;

use super::source::PeerSource;
use crate::output::{number, rate};
use crate::screen::{Screen, fields, table};

/// What no protocol gives away.
const NOT_CARRIED: &str = "histories, offsets, event ids, idempotency keys, times of creation";

/// A machine, a version and a state.
type Cell = (String, u32, String);

/// The figures of a copy. Every instance is counted once.
#[derive(Debug, Default, Serialize)]
pub(super) struct CopyReport {
    from: String,
    to: String,
    pub(super) machines_stored: u64,
    pub(super) machines_existing: u64,
    pub(super) machines_refused: u64,
    pub(super) instances_created: u64,
    /// There before, and equal.
    pub(super) instances_existing: u64,
    pub(super) instances_replaced: u64,
    /// There before, and not equal.
    pub(super) instances_differing: u64,
    pub(super) instances_refused: u64,
    /// Their machine could not be stored.
    pub(super) without_machine: u64,
    /// Deleted there after they were listed.
    pub(super) gone_meanwhile: u64,
    /// Changed there after they were copied.
    pub(super) changed_meanwhile: u64,
    not_carried: &'static str,
    interrupted: bool,
    seconds: f64,
    instances_per_second: u64,
    counts: Vec<Compared>,
    #[serde(skip)]
    source: BTreeMap<Cell, u64>,
}

/// The instances of one state on both sides.
#[derive(Debug, Serialize)]
struct Compared {
    machine: String,
    version: u32,
    state: String,
    there: u64,
    here: u64,
}

impl CopyReport {
    pub(super) fn new(source: &PeerSource, to: String) -> CopyReport {
        let from = source.name.clone();
        CopyReport { from, to, not_carried: NOT_CARRIED, ..CopyReport::default() }
    }

    /// Counts an instance of the other server, once.
    pub(super) fn count_source(&mut self, item: &InstanceSummary) {
        let cell = (item.machine.to_string(), item.version, item.state.to_string());
        *self.source.entry(cell).or_default() += 1;
    }

    pub(super) fn looked_at(&self) -> u64 {
        self.source.values().sum()
    }

    /// Adds what is known at the end.
    pub(super) fn finish(
        &mut self,
        database: &Database,
        took: Duration,
        interrupted: bool,
    ) -> Result<()> {
        let here = database.count_instances(CountInstancesRequest::default())?;
        for (cell, there) in &self.source {
            let (machine, version, state) = cell.clone();
            let same = here.counts.iter().find(|entry| {
                *entry.machine == *machine && entry.version == version && *entry.state == *state
            });
            let here = same.map_or(0, |entry| entry.count);
            self.counts.push(Compared { machine, version, state, there: *there, here });
        }
        self.interrupted = interrupted;
        self.seconds = (took.as_secs_f64() * 1000.0).round() / 1000.0;
        self.instances_per_second = rate(self.looked_at(), took.as_secs_f64());
        Ok(())
    }

    /// 0 when all is here as it is there.
    pub(super) fn exit_code(&self) -> u8 {
        if self.machines_refused + self.instances_refused + self.without_machine > 0 {
            ErrorKind::Rejected.exit_code()
        } else if self.instances_differing + self.changed_meanwhile > 0 {
            ErrorKind::Conflict.exit_code()
        } else {
            0
        }
    }

    /// What to do about what is not as it should be.
    pub(super) fn advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        if self.interrupted {
            advice.push("interrupted; run it again to go on".to_owned());
        }
        if self.machines_refused > 0 {
            advice.push(
                "a refused definition leaves its instances out: correct it, store it with put-machine \
                 under the same version, and run it again"
                    .to_owned(),
            );
        }
        if self.changed_meanwhile > 0 {
            advice.push(format!(
                "{} instances changed there while they were copied; stop the writers and run it \
                 again with --replace",
                number(self.changed_meanwhile)
            ));
        }
        if self.instances_differing > 0 {
            advice.push(format!(
                "{} instances differ and were left alone; --replace takes them over unless they \
                 were changed here",
                number(self.instances_differing)
            ));
        }
        advice
    }

    /// The figures for people.
    pub(super) fn screen(&self) -> Screen {
        let mut lines = vec![("from", self.from.clone()), ("to", self.to.clone())];
        lines.push(("machine versions stored", number(self.machines_stored)));
        let counts =
            [("  there before", self.machines_existing), ("  refused", self.machines_refused)];
        lines.extend(some(&counts));
        lines.push(("instances created", number(self.instances_created)));
        let counts = [
            ("  there before, equal", self.instances_existing),
            ("  replaced", self.instances_replaced),
            ("  differing", self.instances_differing),
            ("  refused", self.instances_refused),
            ("  without their machine", self.without_machine),
            ("  deleted there meanwhile", self.gone_meanwhile),
            ("  changed there meanwhile", self.changed_meanwhile),
        ];
        lines.extend(some(&counts));
        lines.push(("left behind", self.not_carried.to_owned()));
        lines.push(("time", format!("{:.2} s", self.seconds)));
        lines.push(("rate", format!("{} instances/s", number(self.instances_per_second))));
        let rows = self.counts.iter().map(|entry| {
            let Compared { machine, version, state, there, here } = entry;
            let (there, here) = (number(*there), number(*here));
            vec![machine.clone(), version.to_string(), state.clone(), there, here]
        });
        let header = ["machine", "version#", "state", "there#", "here#"];
        fields(lines).then(table(&header, rows))
    }
}

/// The counts that are not zero.
fn some<'a>(counts: &[(&'a str, u64)]) -> Vec<(&'a str, String)> {
    let counted = counts.iter().filter(|(_, count)| *count > 0);
    counted.map(|(name, count)| (*name, number(*count))).collect()
}
