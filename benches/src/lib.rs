//! Measures rstmdb and what people would pick instead, side by side in one run.
//!
//! `cargo bench -p rstmdb-benches` runs everything, `-- durable reads` some groups, `-- --help` says
//! the rest. See docs/benchmarks.md for the table and for how to read it. They read what only Linux tells, so
//! elsewhere this crate is empty.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod cases;
mod languages;
mod measure;
mod network;
mod peers;
mod report;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use measure::{Scale, Section};

const HELP: &str = "\
usage: [GROUP]... [--quick] [--dir DIRECTORY] [--write FILE]

  GROUP            run only these groups: micro memory durable reads footprint recovery languages
                   network, or parts of the last: network:durable network:reads network:sizes
                   network:watches network:footprint network:start network:cluster
                   network:failover network:replicas
  --quick          tiny sizes and no verdicts, to see that everything runs; of network: shorter
                   turns
  --dir DIRECTORY  where the databases go; a real disk, by default in the build directory
  --write FILE     replace the measured part of FILE (from the workspace's root)";

/// A group's name and what runs it.
type Group = (&'static str, fn(&Bench) -> Section);

/// Those that need no server.
const GROUPS: [Group; 7] = [
    ("micro", cases::micro::run),
    ("memory", cases::memory::run),
    ("durable", cases::durable::run),
    ("reads", cases::reads::run),
    ("footprint", cases::footprint::run),
    ("recovery", cases::recovery::run),
    ("languages", languages::run),
];

fn groups() -> impl Iterator<Item = Group> {
    GROUPS.into_iter().chain(network::GROUPS)
}

/// What the cases need to know.
pub(crate) struct Bench {
    scale: Scale,
    directory: PathBuf,
}

impl Bench {
    /// An empty folder that goes away with the value.
    fn folder(&self) -> tempfile::TempDir {
        tempfile::tempdir_in(&self.directory).unwrap()
    }
}

struct Arguments {
    groups: Vec<Group>,
    quick: bool,
    directory: PathBuf,
    write: Option<PathBuf>,
}

/// The program: reads the arguments of the process, measures and prints.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, kind] = arguments.as_slice()
        && first == "--null-server"
    {
        network::null::serve(kind);
        return ExitCode::SUCCESS;
    }
    if let Some(("--child", rest)) =
        arguments.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        cases::footprint::child(rest);
        return ExitCode::SUCCESS;
    }
    match parse(arguments) {
        Ok(arguments) => run(&arguments),
        Err(text) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
    }
}

fn parse(arguments: Vec<String>) -> Result<Arguments, String> {
    let root = report::root();
    let mut parsed =
        Arguments { groups: Vec::new(), quick: false, directory: report::target(), write: None };
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value\n{HELP}"));
        match argument.as_str() {
            // Cargo adds it.
            "--bench" => {}
            "--quick" => parsed.quick = true,
            "--dir" => parsed.directory = PathBuf::from(value()?),
            "--write" => parsed.write = Some(root.join(value()?)),
            name => {
                let part_of = |group: &Group| group.0.split(':').next() == Some(name);
                let chosen = groups().filter(|group| group.0 == name || part_of(group));
                let before = parsed.groups.len();
                parsed.groups.extend(chosen);
                if parsed.groups.len() == before {
                    return Err(HELP.to_owned());
                }
            }
        }
    }
    if parsed.groups.is_empty() {
        parsed.groups = groups().collect();
    }
    Ok(parsed)
}

fn run(arguments: &Arguments) -> ExitCode {
    let scale = if arguments.quick { Scale::QUICK } else { Scale::FULL };
    std::fs::create_dir_all(&arguments.directory).unwrap();
    // Servers are started in other folders.
    let directory = arguments.directory.canonicalize().unwrap();
    let bench = Bench { scale, directory };
    let started = std::time::Instant::now();
    let mut text = report::conditions(&arguments.directory);
    println!("{text}");
    for (_, group) in &arguments.groups {
        let section = group(&bench).markdown(scale.quick);
        println!("{section}");
        text.push('\n');
        text.push_str(&section);
    }
    println!("took {} s", started.elapsed().as_secs());
    if let Some(path) = &arguments.write
        && let Err(problem) = report::write(path, &text)
    {
        eprintln!("{}: {problem}", path.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
