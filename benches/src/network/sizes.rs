//! The same with many more instances.

use super::durable::ours;
use super::site::{Ask, Site};
use super::{Contestant, Scale, rcp, take_turns};
use crate::Bench;
use crate::measure::{Goal, Row, Section, Unit};

/// Not slower than this by the number of instances.
const KEPT: f64 = 0.85;

pub fn run(bench: &Bench) -> Section {
    let scale = Scale::of(&bench.scale);
    let mut rows = Vec::new();
    for fsync in ["every_write", "never"] {
        let (folder_few, folder_many) = (bench.folder(), bench.folder());
        let mut many = ours(folder_many.path(), fsync, scale.many);
        let mut few = ours(folder_few.path(), fsync, scale.few);
        many.server.name = "500 thousand instances".to_owned();
        few.server.name = "1 thousand instances".to_owned();
        let mut race = |case: &str, in_flight: usize, load: &dyn Fn(&Site) -> super::load::Load| {
            let mut contestants: Vec<Contestant<'_>> = [&many, &few]
                .map(|site| Contestant { server: &site.server, load: load(site), in_flight })
                .into();
            let samples = take_turns(&scale, case, &mut contestants);
            let row = Row::new(
                format!("{case}, 500 thousand instances"),
                Unit::PerSecond,
                samples[0].clone(),
            );
            rows.push(
                row.against(few.server.name.as_str(), &samples[1]).goal(Goal::RatioAtLeast(KEPT)),
            );
        };
        if fsync == "every_write" {
            race("durable, 64 connections, 1 in flight each", 1, &|site| site.load(64, Ask::Apply));
            race("durable, 16 connections, 16 in flight each", 16, &|site| {
                site.load(16, Ask::Apply)
            });
        } else {
            race("`never`, 16 connections, 16 in flight each", 16, &|site| {
                site.load(16, Ask::Apply)
            });
            race("get, 16 connections, 16 in flight each", 16, &|site| site.load(16, Ask::Get));
            race("get, 64 connections, 1 in flight each", 1, &|site| site.load(64, Ask::Get));
            let list = rcp::request(0, "LIST_INSTANCES", r#"{"machine":"order","limit":100}"#);
            race("list of the first 100, 16 connections", 1, &|site| site.repeat(16, &list));
        }
    }
    Section { title: "Number of instances", rows }
}
