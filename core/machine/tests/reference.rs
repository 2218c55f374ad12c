//! Every example of the reference pages is so: definitions, what events do, guards and their errors.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

mod support;

use rstmdb_machine::{Guard, InstanceFacts, Machine, Scope};
use rstmdb_types::{Error, Json};
use support::{json, parse, situation};

fn page(name: &str) -> String {
    let path = format!("{}/../../docs/reference/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A part of a page.
#[derive(Debug)]
enum Part {
    /// A block of JSON.
    Block(String),
    /// A table, its head first.
    Table(Vec<Vec<String>>),
    Line(String),
}

fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if language == "json" {
                parts.push(Part::Block(block.join("\n")));
            }
        } else if line.starts_with('|') {
            let mut rows = vec![cells(line)];
            lines.next().filter(|rule| rule.starts_with("| ---")).expect("a rule below the head");
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                rows.push(cells(row));
                assert_eq!(rows[0].len(), rows.last().unwrap().len(), "{row}");
            }
            parts.push(Part::Table(rows));
        } else if !line.is_empty() {
            parts.push(Part::Line(line.to_owned()));
        }
    }
    parts
}

/// The cells of a row, as a reader sees them; code keeps its marks.
fn cells(row: &str) -> Vec<String> {
    let inner = row.trim().strip_prefix('|').and_then(|row| row.strip_suffix('|')).expect(row);
    let marked = inner.replace("\\|", "\0");
    marked.split('|').map(|cell| cell.trim().replace('\0', "|")).collect()
}

/// What stands between the marks of code.
fn code(cell: &str) -> &str {
    let marks = cell.len() - cell.trim_start_matches('`').len();
    let mark = &cell[..marks];
    let inner = cell.strip_prefix(mark).and_then(|cell| cell.strip_suffix(mark));
    let inner = inner.filter(|_| marks > 0).unwrap_or_else(|| panic!("{cell:?} is no code"));
    if marks > 1 { inner.trim() } else { inner }
}

/// What a guard sees in the examples below a block.
struct Seen {
    ctx: Json,
    payload: Option<Json>,
    state: String,
    now_ms: i64,
    event: String,
}

impl Seen {
    fn parse(block: &str) -> Seen {
        let block = json(block);
        let known = ["ctx", "payload", "state", "now", "event"];
        assert!(block.root().members().all(|member| known.contains(&member.raw_key)), "{block:?}");
        let member = |key| block.root().get(key).map(|value| json(&value.text()));
        let word = |key| member(key).map(|value| value.as_str().trim_matches('"').to_owned());
        Seen {
            ctx: member("ctx").expect("a ctx"),
            payload: member("payload"),
            state: word("state").unwrap_or_default(),
            now_ms: word("now").map_or(0, |now| now.parse().unwrap()),
            event: word("event").unwrap_or_default(),
        }
    }

    fn scope(&self) -> Scope<'_> {
        Scope {
            ctx: self.ctx.root(),
            payload: self.payload.as_ref().map(Json::root),
            state: &self.state,
            now_ms: self.now_ms,
            event: &self.event,
            instance: InstanceFacts {
                id: "o-1",
                machine: "order",
                version: 2,
                created_at_ms: 1_600_000_000_000,
            },
        }
    }
}

fn guard(text: &str) -> Guard {
    Guard::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

/// The message of a guard that does not parse, without the lines that show the place.
fn place_and_problem(error: &Error) -> &str {
    let message = error.message().strip_prefix("guard does not parse at ").unwrap();
    message.lines().next().unwrap()
}

#[test]
fn guards_come_to_what_the_page_says() {
    let mut seen = None;
    let mut run = [0; 3];
    for part in parts(&page("guards.md")) {
        match part {
            Part::Block(block) => seen = Some(Seen::parse(&block)),
            Part::Table(rows) => {
                let head: Vec<&str> = rows[0].iter().map(String::as_str).collect();
                for row in &rows[1..] {
                    match head.as_slice() {
                        ["guard", "result"] => {
                            let passes =
                                guard(code(&row[0])).evaluate(&seen.as_ref().unwrap().scope());
                            assert_eq!(passes.to_string(), row[1], "{}", row[0]);
                            run[0] += 1;
                        }
                        ["guard", "why it refuses"] => {
                            let why = guard(code(&row[0])).explain(&seen.as_ref().unwrap().scope());
                            assert_eq!(why.unwrap().to_string(), code(&row[1]), "{}", row[0]);
                            run[1] += 1;
                        }
                        ["guard", "error"] => {
                            let error = Guard::parse(code(&row[0])).unwrap_err();
                            assert_eq!(place_and_problem(&error), code(&row[1]), "{}", row[0]);
                            run[2] += 1;
                        }
                        _ => {}
                    }
                }
            }
            Part::Line(_) => {}
        }
    }
    assert!(run.iter().all(|&examples| examples >= 4), "{run:?}");
}

#[test]
fn guards_are_read_as_the_page_says() {
    let values = ["null", "0", "1", "2", "\"x\"", "true"];
    let mut contexts = Vec::new();
    for (a, b) in values.iter().flat_map(|a| values.map(|b| (a, b))) {
        for (c, d) in values.iter().flat_map(|c| values.map(|d| (c, d))) {
            contexts.push(json(&format!(r#"{{"a":{a},"b":{b},"c":{c},"d":{d}}}"#)));
        }
    }
    let mut run = 0;
    for part in parts(&page("guards.md")) {
        let Part::Table(rows) = part else { continue };
        if rows[0] != ["guard", "is read as"] {
            continue;
        }
        for row in &rows[1..] {
            run += 1;
            if let Some(problem) = row[1].strip_prefix("an error: ") {
                let error = Guard::parse(code(&row[0])).unwrap_err();
                assert!(place_and_problem(&error).ends_with(problem), "{error}");
                continue;
            }
            let (written, read) = (guard(code(&row[0])), guard(code(&row[1])));
            for ctx in &contexts {
                let scope = Scope { ctx: ctx.root(), ..Scope::default() };
                let [written, read] = [&written, &read].map(|guard| guard.evaluate(&scope));
                assert_eq!(written, read, "{row:?} on {ctx:?}");
            }
        }
    }
    assert!(run > 4);
}

#[test]
fn definitions_are_taken_or_refused_as_the_page_says() {
    let parts = parts(&page("definitions.md"));
    let mut definitions = 0;
    for (part, next) in parts.iter().zip(&parts[1..]) {
        let Part::Block(definition) = part else { continue };
        let Part::Line(verdict) = next else { panic!("nothing is said of {definition}") };
        let found = match parse(definition) {
            Ok((_, warnings)) if warnings.is_empty() => "Accepted.".to_owned(),
            Ok((_, warnings)) => {
                let listed: Vec<_> =
                    warnings.iter().map(|w| format!("`{}` at `{}`", w.reason, w.path)).collect();
                format!("Accepted, with {}.", listed.join(", "))
            }
            Err(error) => format!("Refused: ``{}``", error.message()),
        };
        assert_eq!(found, *verdict, "{definition}");
        definitions += 1;
    }
    assert!(definitions > 6);
}

#[test]
fn events_do_what_the_page_says() {
    let mut machine: Option<Machine> = None;
    let mut run = 0;
    for part in parts(&page("definitions.md")) {
        match part {
            Part::Block(definition) => {
                machine = parse(&definition).ok().map(|(machine, _)| machine)
            }
            Part::Table(rows) if rows[0][0] == "state" => {
                let machine = machine.as_ref().unwrap();
                for row in &rows[1..] {
                    let (ctx, payload) = (json(code(&row[2])), payload(&row[3]));
                    let situation = rstmdb_machine::Situation {
                        payload: payload.as_ref(),
                        ..situation(machine, code(&row[0]), &ctx)
                    };
                    let result = match machine.decide(&situation, code(&row[1])) {
                        Ok(decision) => format!("`{}`", machine.states()[decision.to as usize]),
                        Err(error) => match error.reason() {
                            Some(reason) => format!("`{}`, `{reason}`", error.code().as_str()),
                            None => format!("`{}`", error.code().as_str()),
                        },
                    };
                    assert_eq!(result, row[4], "{row:?}");
                    run += 1;
                }
            }
            _ => {}
        }
    }
    assert!(run > 8);
}

#[test]
fn actions_do_what_the_page_says() {
    let mut machine: Option<Machine> = None;
    let mut run = 0;
    for part in parts(&page("definitions.md")) {
        match part {
            Part::Block(definition) => {
                machine = parse(&definition).ok().map(|(machine, _)| machine)
            }
            Part::Table(rows) if rows[0][0] == "in state" => {
                let machine = machine.as_ref().unwrap();
                for row in &rows[1..] {
                    let (ctx, payload) = (json(code(&row[2])), payload(&row[3]));
                    let situation = rstmdb_machine::Situation {
                        payload: payload.as_ref(),
                        ..situation(machine, code(&row[0]), &ctx)
                    };
                    match machine.step(&situation, code(&row[1])) {
                        Ok(stepped) => {
                            let state = &machine.states()[stepped.rest.state as usize];
                            assert_eq!(format!("`{state}`"), row[4], "{row:?}");
                            assert_eq!(stepped.rest.ctx, json(code(&row[5])), "{row:?}");
                        }
                        Err(error) => {
                            let reason = error.reason().unwrap();
                            let shown = format!("`{}`, `{reason}`", error.code().as_str());
                            assert_eq!(shown, row[4], "{row:?}: {error}");
                        }
                    }
                    run += 1;
                }
            }
            _ => {}
        }
    }
    assert!(run > 6);
}

#[test]
fn every_action_has_an_example() {
    let page = page("definitions.md");
    for key in rstmdb_machine::language::ACTION_KEYS {
        assert!(page.contains(&format!("{{\"{}\":", key.name)), "{}", key.name);
    }
}

fn payload(cell: &str) -> Option<Json> {
    (!cell.is_empty()).then(|| json(code(cell)))
}

#[test]
fn every_word_operator_and_function_has_an_example() {
    use rstmdb_machine::language::{Function, GuardWord, OPERATORS};
    let mut guards = String::new();
    for part in parts(&page("guards.md")) {
        if let Part::Table(rows) = part
            && rows[0][0] == "guard"
        {
            guards.extend(rows[1..].iter().map(|row| format!(" {} ", code(&row[0]))));
        }
    }
    for name in GuardWord::ALL.iter().map(|word| word.name()) {
        assert!(guards.contains(name), "{name}");
    }
    for symbol in OPERATORS.iter().map(|operator| operator.symbol) {
        assert!(guards.contains(symbol), "{symbol}");
    }
    for name in Function::ALL.iter().map(|function| function.name()) {
        assert!(guards.contains(&format!("{name}(")), "{name}");
    }
}
