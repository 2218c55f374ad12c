//! The arguments, the preloaded libraries, and what is said in the end.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::client::Language;
use crate::faults::Kind;
use crate::run::{Plan, Report, run};
use crate::watching;
use crate::world::{self, Obstacle};

const USAGE: &str = "\
usage: rstmdb-chaos --server PROGRAM --client JSON [OPTIONS]; cargo xtask chaos calls it
  --client JSON      [\"NAME\", \"PROGRAM\", \"ARGUMENT\", …]: the runner of a language; Rust's first, may be repeated
  --faults COUNT     faults in all; 30 unless told
  --minutes COUNT    go on with other seeds until so many faults or minutes are over
  --only KINDS       these faults alone, such as Kill,Pause
  --nodes COUNTS     sizes of groups; 3,5 unless told
  --seed SEED        decides the rest; drawn unless told";

/// What the arguments say.
#[derive(Debug)]
struct Arguments {
    server: PathBuf,
    languages: Vec<Language>,
    faults: usize,
    minutes: Option<u64>,
    nodes: Vec<usize>,
    only: Vec<Kind>,
    seed: u64,
}

impl Arguments {
    fn read(arguments: &[String]) -> Result<Arguments, String> {
        let drawn = std::time::UNIX_EPOCH.elapsed().map_or(1, |time| time.as_secs() % 1_000_000);
        let mut found = Arguments {
            server: PathBuf::new(),
            languages: Vec::new(),
            faults: 30,
            minutes: None,
            nodes: vec![3, 5],
            only: Vec::new(),
            seed: drawn,
        };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = |text: &str| {
                text.parse::<u64>().map_err(|_| format!("{name} takes numbers, not {text:?}"))
            };
            match name.as_str() {
                "--server" => found.server = value.into(),
                "--client" => {
                    let words: Vec<String> =
                        serde_json::from_str(value).map_err(|error| error.to_string())?;
                    let (name, command) = words.split_first().ok_or("--client is empty")?;
                    let (name, command) = (name.clone(), command.to_vec());
                    found.languages.push(Language { name, command });
                }
                "--faults" => found.faults = number(value)? as usize,
                "--minutes" => found.minutes = Some(number(value)?),
                "--seed" => found.seed = number(value)?,
                "--only" => {
                    let kinds: Result<Vec<Kind>, String> =
                        value.split(',').map(str::parse).collect();
                    found.only = kinds?;
                }
                "--nodes" => {
                    let sizes: Result<Vec<u64>, String> = value.split(',').map(number).collect();
                    found.nodes = sizes?.into_iter().map(|size| size as usize).collect();
                }
                _ => return Err(format!("unknown argument {name:?}")),
            }
        }
        match found.languages.is_empty() || found.nodes.iter().any(|size| *size < 3) {
            true => Err("a client and groups of three nodes or more are needed".to_owned()),
            false => Ok(found),
        }
    }
}

/// Does what the arguments say.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, url] = arguments.as_slice()
        && word == watching::WORD
    {
        watching::watch(url);
        return ExitCode::SUCCESS;
    }
    let arguments = match Arguments::read(&arguments) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("chaos: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match world::obstacle() {
        None => {}
        Some(Obstacle::Forbidden(why)) => {
            println!("chaos: skipped: {why}");
            return ExitCode::SUCCESS;
        }
        Some(Obstacle::Missing(why)) => {
            println!("chaos: skipped: {why}");
            // What is missing is installed where everything counts.
            return if is_ci() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    }
    match all(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("chaos: FAILED: {why}");
            ExitCode::FAILURE
        }
    }
}

fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// Runs until there were as many faults as are asked for.
fn all(arguments: &Arguments) -> Result<(), String> {
    let begin = Instant::now();
    let tools = tempfile::tempdir().map_err(|error| error.to_string())?;
    let preload = match libraries(tools.path()) {
        Ok(preload) => preload,
        Err(why) if is_ci() => return Err(why),
        Err(why) => {
            println!("chaos: without faults of disks, power and clocks: {why}");
            String::new()
        }
    };
    let names: Vec<&str> = arguments.languages.iter().map(|language| &*language.name).collect();
    println!("chaos: seed {}, clients in {}", arguments.seed, names.join(", "));
    let is_late = |minutes: u64| begin.elapsed() > Duration::from_secs(60 * minutes);
    let (mut sum, mut round) = (Report::default(), 0);
    while sum.faults < arguments.faults && !arguments.minutes.is_some_and(is_late) {
        let left = arguments.faults - sum.faults;
        let nodes = arguments.nodes[round % arguments.nodes.len()];
        let share = match arguments.minutes {
            // A round ends soon enough that histories stay short.
            Some(_) => left.min(30),
            None => left.div_ceil(arguments.nodes.len() - round % arguments.nodes.len()),
        };
        let seed = arguments.seed + round as u64;
        let plan = Plan {
            nodes,
            faults: share,
            only: arguments.only.clone(),
            seed,
            server: arguments.server.clone(),
            preload: preload.clone(),
            languages: arguments.languages.clone(),
        };
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let report = run(&plan, folder.path());
        let wrong = match &report {
            Ok(report) => report.wrong.clone(),
            Err(why) => vec![why.clone()],
        };
        if !wrong.is_empty() {
            let kept = folder.keep();
            return Err(format!(
                "{}\nthe files of the nodes are in {}\nreplay: cargo xtask chaos --seed {seed} --nodes {nodes} --faults {share}",
                wrong.join("\n"),
                kept.display()
            ));
        }
        let report = report?;
        println!(
            "chaos: {nodes} nodes, seed {seed}: {} faults, {} writes, {} histories of {} steps explained, a write at most {} ms after each fault",
            report.faults,
            report.writes,
            report.histories,
            report.steps,
            report.longest.as_millis()
        );
        sum.faults += report.faults;
        sum.histories += report.histories;
        sum.writes += report.writes;
        round += 1;
        if report.faults == 0 {
            return Err("no fault could be brought about".to_owned());
        }
    }
    println!(
        "chaos: {} faults survived, {} writes, {} histories; nothing lost, doubled or out of order",
        sum.faults, sum.writes, sum.histories
    );
    Ok(())
}

/// Compiles what makes disks and clocks fail.
fn libraries(folder: &Path) -> Result<String, String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shim");
    let mut made = Vec::new();
    for name in ["disk_faults", "power", "clock"] {
        let library = folder.join(format!("{name}.so"));
        let output = Command::new("cc")
            .args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(sources.join(format!("{name}.c")))
            .arg("-ldl")
            .output();
        let output = output.map_err(|error| format!("cc: {error}; install a C compiler"))?;
        if !output.status.success() {
            return Err(format!("cc: {}", String::from_utf8_lossy(&output.stderr)));
        }
        made.push(library.display().to_string());
    }
    Ok(made.join(":"))
}
