//! From the start of the process to its first answer, with a million instances.

use std::path::Path;

use rstmdb::{CompactRequest, Options};

use super::server::{Server, as_it_comes, data};
use super::{Scale, programs, rcp};
use crate::Bench;
use crate::cases::memory::never;
use crate::measure::{Goal, Row, Samples, Section, Unit, seconds};
use crate::workload::{Orders, id, url};

const START_SECONDS_MAX: f64 = 3.0;

pub fn run(bench: &Bench) -> Section {
    let scale = Scale::of(&bench.scale);
    let (with_checkpoint, log_alone) = (bench.folder(), bench.folder());
    for (folder, checkpoint) in [(&with_checkpoint, true), (&log_alone, false)] {
        let options = Options { checkpoint_log_bytes: 0, ..never() };
        let orders = Orders::create(&url(&data(folder.path())), options, scale.million);
        if checkpoint {
            orders.db.compact(CompactRequest { force_snapshot: true }).unwrap();
        }
        orders.db.close().unwrap();
    }
    let case = |from: &str| format!("from start to first answer, 1 million instances, {from}");
    let first_answers = |folder: &Path| {
        Samples((0..scale.rounds).map(|_| first_answer(folder, scale.million)).collect())
    };
    let mut rows = vec![
        Row::new(case("checkpoint"), Unit::Seconds, first_answers(with_checkpoint.path()))
            .goal(Goal::AtMost(START_SECONDS_MAX)),
        Row::new(case("log alone"), Unit::Seconds, first_answers(log_alone.path()))
            .goal(Goal::AtMost(START_SECONDS_MAX)),
    ];
    let server = start(with_checkpoint.path());
    rows.push(Row::new("stop after that", Unit::Seconds, server.stop()));
    Section { title: "Start of the server", rows }
}

fn start(folder: &Path) -> Server {
    Server::rcp(&programs().ours, folder, &as_it_comes("rstmdb", "every_write"))
}

fn first_answer(folder: &Path, count: usize) -> f64 {
    let (took, server) = seconds(|| {
        let server = start(folder);
        let mut session = rcp::Session::open(server.address).unwrap();
        let params = format!(r#"{{"instance_id":"{}"}}"#, id(count - 1));
        session.call("GET_INSTANCE", &params);
        server
    });
    // So that the next start finds what this one found.
    server.kill();
    took
}
