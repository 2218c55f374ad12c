//! The benchmarks of another revision and of this one, in turns on one machine, and how their figures compare.
//!
//! The other revision gets a clone and a build directory of its own, which stay for the next time. Each group of
//! benchmarks runs on one side and right after on the other, the first one changing from turn to turn; a ratio is
//! made of two runs that followed each other, so that a machine that gets slower meanwhile slows both.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::tree;

const USAGE: &str = "\
usage: cargo xtask bench-compare REVISION [--turns 3] [--floor 0.97] [GROUP]...

  REVISION     what to compare with, as git names it: a commit, a tag, HEAD~3
  --turns N    how often each side runs each group
  --floor X    fail when a figure of this tree is below X of the other's; 0 only prints
  GROUP        as `cargo bench -p rstmdb-benches -- --help` lists them; without one, all but the languages";

/// What runs when nothing is asked for. The languages are built by both sides for many minutes.
const GROUPS: &[&str] =
    &["micro", "memory", "durable", "reads", "footprint", "recovery", "network"];

/// What the arguments ask for.
#[derive(Debug, PartialEq)]
struct Request {
    revision: String,
    turns: usize,
    floor: f64,
    groups: Vec<String>,
}

/// One of the two that are compared.
struct Side {
    name: String,
    source: PathBuf,
    target: PathBuf,
}

/// A figure of a run.
#[derive(Debug, Clone, PartialEq)]
struct Figure {
    /// Section and case.
    name: String,
    value: f64,
    unit: String,
}

/// What two sides had at one figure, pair by pair.
#[derive(Debug, Clone, PartialEq)]
struct Pairs {
    name: String,
    unit: String,
    values: Vec<(f64, f64)>,
}

/// Builds both and compares them.
pub fn run(arguments: &[&str]) -> ExitCode {
    let request = match parse(arguments) {
        Ok(request) => request,
        Err(problem) => {
            eprintln!("bench-compare: {problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match compare(&request) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("bench-compare: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[&str]) -> Result<Request, String> {
    let mut request =
        Request { revision: String::new(), turns: 3, floor: 0.97, groups: Vec::new() };
    let mut rest = arguments.iter();
    while let Some(&argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument {
            "--turns" => {
                request.turns = value()?
                    .parse()
                    .ok()
                    .filter(|turns| *turns > 0)
                    .ok_or("--turns must be a number from 1")?;
            }
            "--floor" => {
                request.floor =
                    value()?.parse().map_err(|_| "--floor must be a number such as 0.97")?;
            }
            option if option.starts_with('-') => {
                return Err(format!("there is no option {option}"));
            }
            _ if request.revision.is_empty() => argument.clone_into(&mut request.revision),
            group => request.groups.push(group.to_owned()),
        }
    }
    if request.revision.is_empty() {
        return Err("name the revision to compare with".to_owned());
    }
    if request.groups.is_empty() {
        request.groups = GROUPS.iter().map(|group| (*group).to_owned()).collect();
    }
    Ok(request)
}

fn compare(request: &Request) -> Result<bool, String> {
    let (other, ours) = sides(&request.revision)?;
    for side in [&other, &ours] {
        eprintln!("bench-compare: building {}", side.name);
        side.build()?;
    }
    let mut pairs: Vec<Pairs> = Vec::new();
    for turn in 0..request.turns {
        for group in &request.groups {
            let measure = |side: &Side| {
                eprintln!(
                    "bench-compare: turn {} of {}: {group} of {}",
                    turn + 1,
                    request.turns,
                    side.name
                );
                side.measure(group)
            };
            let (theirs, mine) = if turn % 2 == 0 {
                let theirs = measure(&other)?;
                (theirs, measure(&ours)?)
            } else {
                let mine = measure(&ours)?;
                (measure(&other)?, mine)
            };
            pair(&mut pairs, &theirs, &mine);
        }
    }
    let (table, is_fast) = table(&other.name, &pairs, request.floor);
    println!("{table}");
    Ok(is_fast)
}

/// The other revision's side, and that of this tree.
fn sides(revision: &str) -> Result<(Side, Side), String> {
    let root = tree::root();
    let commit = output(
        Command::new("git")
            .args(["rev-parse", "--verify", "--quiet", &format!("{revision}^{{commit}}")])
            .current_dir(&root),
    )
    .map_err(|_| format!("git knows no revision {revision}"))?;
    let short: String = commit.trim().chars().take(10).collect();
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let folder = target.join("compare").join(&short);
    let source = folder.join("source");
    if !source.join(".git").exists() {
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        output(
            Command::new("git")
                .args(["clone", "--quiet", "--shared", "--no-checkout"])
                .arg(&root)
                .arg(&source),
        )?;
    }
    output(
        Command::new("git")
            .args(["checkout", "--quiet", "--detach", commit.trim()])
            .current_dir(&source),
    )?;
    let other = Side { name: short, source, target: folder.join("target") };
    Ok((other, Side { name: "this tree".to_owned(), source: root, target }))
}

impl Side {
    /// A command in its source, which finds its build directory and not what cargo told this program.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&*name);
            }
        }
        command.current_dir(&self.source).env("CARGO_TARGET_DIR", &self.target);
        command
    }

    fn build(&self) -> Result<(), String> {
        let packages = ["rstmdb-server", "rstmdb-cli", "rstmdb-benches"];
        let mut command = self.command("cargo");
        command.args(["build", "--release", "--locked"]);
        command.args(packages.iter().flat_map(|package| ["--package", package]));
        let status = command.status().map_err(|error| format!("cargo: {error}"))?;
        if status.success() { Ok(()) } else { Err(format!("{} does not build", self.name)) }
    }

    fn measure(&self, group: &str) -> Result<Vec<Figure>, String> {
        let programs = self.target.join("release");
        let started = Instant::now();
        let mut command = self.command(programs.join("rstmdb-benches"));
        command.arg(group).env("RSTMDB_SERVER", programs.join("rstmdb"));
        if group.starts_with("network") {
            // Shorter turns, not smaller sizes.
            command.arg("--quick");
        }
        let text = output(&mut command)
            .map_err(|problem| format!("{group} of {}: {problem}", self.name))?;
        eprintln!("bench-compare: {} s", started.elapsed().as_secs());
        Ok(figures(&text))
    }
}

/// Runs a command; what it printed.
fn output(command: &mut Command) -> Result<String, String> {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// Our figures of the tables that the benchmarks print; rows that show one again against another peer count once.
fn figures(text: &str) -> Vec<Figure> {
    let mut section = "";
    let mut figures: Vec<Figure> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("### ") {
            section = title;
        }
        let mut cells = line.strip_prefix("| ").into_iter().flat_map(|row| row.split(" | "));
        let (Some(case), Some(cell)) = (cells.next(), cells.next()) else { continue };
        let name = format!("{section}: {case}");
        if let Some((value, unit)) = figure(cell)
            && figures.iter().all(|figure| figure.name != name)
        {
            figures.push(Figure { name, value, unit });
        }
    }
    figures
}

/// The number and the unit of `**1,990,000/s** (1,760,000 to 2,170,000)`.
fn figure(cell: &str) -> Option<(f64, String)> {
    let median = cell.split(" (").next()?.trim_matches('*').trim();
    let end = median
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ','))
        .unwrap_or(median.len());
    let (number, unit) = median.split_at(end);
    Some((number.replace(',', "").parse().ok()?, unit.trim().to_owned()))
}

/// Puts the figures that both sides have beside each other.
fn pair(pairs: &mut Vec<Pairs>, theirs: &[Figure], ours: &[Figure]) {
    for Figure { name, value, unit } in ours {
        let same = theirs.iter().find(|figure| figure.name == *name && figure.unit == *unit);
        let Some(other) = same else { continue };
        let values = (other.value, *value);
        match pairs.iter_mut().find(|pairs| pairs.name == *name) {
            Some(known) => known.values.push(values),
            None => {
                pairs.push(Pairs { name: name.clone(), unit: unit.clone(), values: vec![values] });
            }
        }
    }
}

impl Pairs {
    /// How good ours is against theirs, pair by pair: a rate wants to be high, everything else low.
    fn ratios(&self) -> Vec<f64> {
        let is_rate = self.unit.ends_with("/s");
        let ratio =
            |(theirs, ours): &(f64, f64)| if is_rate { ours / theirs } else { theirs / ours };
        let mut ratios: Vec<f64> = self.values.iter().map(ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }
}

fn median(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// The table, and whether nothing is below the floor.
fn table(other: &str, pairs: &[Pairs], floor: f64) -> (String, bool) {
    let mut text = format!("| Case | {other} | this tree | Ratio | |\n|---|---|---|---|---|\n");
    let mut below = 0;
    for row in pairs {
        let ratios = row.ratios();
        let ratio = median(&ratios);
        let side = |pick: fn(&(f64, f64)) -> f64| {
            let mut values: Vec<f64> = row.values.iter().map(pick).collect();
            values.sort_by(f64::total_cmp);
            format!(
                "{}{}{}",
                median(&values),
                if row.unit.starts_with('/') { "" } else { " " },
                row.unit
            )
        };
        let is_below = ratio < floor;
        below += usize::from(is_below);
        let (least, most) =
            (ratios.first().unwrap_or(&f64::NAN), ratios.last().unwrap_or(&f64::NAN));
        text.push_str(&format!(
            "| {} | {} | {} | **{ratio:.2}** ({least:.2} to {most:.2}) | {} |\n",
            row.name,
            side(|values| values.0),
            side(|values| values.1),
            if is_below { "**below**" } else { "" },
        ));
    }
    text.push_str(&format!("\n{} figures in both, {below} below {floor}", pairs.len()));
    (text, below == 0 && !pairs.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
Measured 2026-01-01 on 2 cores

### Reads

| Case | rstmdb | Peer | Ratio | Goal | |
|---|---|---|---|---|---|
| `get_instance`, 1 thread | **1,990,000/s** (1,760,000 to 2,170,000) | hash map: **2,590,000/s** (2 to 3) | 0.77x | - | - |
| `get_instance`, 1 thread | **1,990,000/s** (1,760,000 to 2,170,000) | SQLite: **272,000/s** (2 to 3) | 7.14x | - | - |
| page by cursor | **36.6 us** (34.2 to 38.5) | - | - | at most 100.0 us | met |
| watchers, missed | 0 | - | - | - | - |
";

    fn printed(rate: &str, time: &str) -> Vec<Figure> {
        figures(&PRINTED.replace("**1,990,000/s**", rate).replace("**36.6 us**", time))
    }

    #[test]
    fn figures_are_read_from_the_tables() {
        let figures = figures(PRINTED);
        let names: Vec<&str> = figures.iter().map(|figure| figure.name.as_str()).collect();
        assert_eq!(
            names,
            ["Reads: `get_instance`, 1 thread", "Reads: page by cursor", "Reads: watchers, missed"]
        );
        assert_eq!((figures[0].value, figures[0].unit.as_str()), (1_990_000.0, "/s"));
        assert_eq!((figures[1].value, figures[1].unit.as_str()), (36.6, "us"));
    }

    #[test]
    fn a_rate_wants_to_be_high_and_a_time_low() {
        let mut pairs = Vec::new();
        for (theirs, ours) in
            [("**100/s**", "**98/s**"), ("**100/s**", "**90/s**"), ("**100/s**", "**96/s**")]
        {
            pair(&mut pairs, &printed(theirs, "**10.0 us**"), &printed(ours, "**8.0 us**"));
        }
        assert_eq!(pairs[0].ratios(), [0.90, 0.96, 0.98]);
        assert_eq!(pairs[1].ratios(), [1.25, 1.25, 1.25]);
        let (text, is_fast) = table("abc", &pairs, 0.97);
        assert!(!is_fast);
        assert!(text.contains("| 100/s | 96/s | **0.96** (0.90 to 0.98) | **below** |"), "{text}");
        assert!(text.contains("| 10 us | 8 us | **1.25** (1.25 to 1.25) |  |"), "{text}");
        assert!(table("abc", &pairs, 0.0).1);
    }

    #[test]
    fn what_only_one_side_has_is_left_out_and_nothing_in_common_is_a_failure() {
        let mut pairs = Vec::new();
        pair(&mut pairs, &[], &printed("**100/s**", "**8.0 us**"));
        assert!(pairs.is_empty());
        assert!(!table("abc", &pairs, 0.97).1);
    }

    #[test]
    fn arguments_are_named_when_they_can_not_be_used() {
        let request = parse(&["HEAD~1", "--turns", "5", "durable"]).unwrap();
        let groups = vec!["durable".to_owned()];
        assert_eq!(
            request,
            Request { revision: "HEAD~1".to_owned(), turns: 5, floor: 0.97, groups }
        );
        for (arguments, problem) in [
            (&[][..], "name the revision"),
            (&["HEAD", "--turns"], "--turns needs a value"),
            (&["HEAD", "--turns", "0"], "--turns must be"),
            (&["HEAD", "--floor", "x"], "--floor must be"),
            (&["HEAD", "--fast"], "no option --fast"),
        ] {
            assert!(parse(arguments).unwrap_err().contains(problem), "{arguments:?}");
        }
    }
}
