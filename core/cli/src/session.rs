//! The database a command works on: opened when it is first needed, once.

use std::io::Read;

use rstmdb::blocking::{Database, Subscription};
use rstmdb::text::decode;
use rstmdb::{
    Error, ErrorCode, FsyncPolicy, Json, ListMachinesRequest, Options, Purpose, PutMachineRequest,
    Result, Text,
};

use crate::clean::is_hidden;
use crate::error::{self, CommandResult};
use crate::output::Output;
use crate::place::Target;
use crate::progress;

/// What the program understands, handed in by whoever knows all commands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grammar {
    /// The commands and their options.
    pub(crate) commands: fn() -> clap::Command,
    /// Does what a line of the shell asks for.
    pub(crate) run: fn(&clap::ArgMatches, &mut CliSession) -> CommandResult,
}

/// Where and how to work, and the open database once there is one.
#[derive(Debug)]
pub(crate) struct CliSession {
    pub(crate) place: Target,
    /// Whether the place stands on the command line (the environment does not count).
    pub(crate) place_given: bool,
    pub(crate) fsync: FsyncPolicy,
    pub(crate) output: Output,
    pub(crate) grammar: Grammar,
    /// In the shell: what it watches. None for a one-shot command.
    pub(crate) watches: Option<Vec<Subscription>>,
    /// Whether a person types the commands.
    pub(crate) interactive: bool,
    database: Option<Database>,
}

impl CliSession {
    pub(crate) fn new(
        place: Target,
        place_given: bool,
        fsync: FsyncPolicy,
        output: Output,
        grammar: Grammar,
    ) -> CliSession {
        CliSession {
            place,
            place_given,
            fsync,
            output,
            grammar,
            watches: None,
            interactive: false,
            database: None,
        }
    }

    /// The database; a missing one is an error: what is not there can be read and changed by nothing.
    pub(crate) fn open_existing(&mut self) -> Result<Database> {
        self.open_with(false)
    }

    /// The database that is to hold a definition. A missing one is created, unless it would refuse
    /// the definition: a mistake leaves no folder behind.
    pub(crate) fn open_or_create_for(&mut self, request: &PutMachineRequest) -> Result<Database> {
        match self.open_existing() {
            Err(error) if error.code() == ErrorCode::NotFound => {
                let rehearsal = Database::open("mem:")?;
                let outcome = rehearsal.put_machine(request.clone());
                rehearsal.close()?;
                outcome?;
                self.open_or_create()
            }
            other => other,
        }
    }

    /// The database; a missing one is created.
    pub(crate) fn open_or_create(&mut self) -> Result<Database> {
        self.open_with(true)
    }

    fn open_with(&mut self, create: bool) -> Result<Database> {
        if let Some(database) = &self.database {
            return Ok(database.clone());
        }
        let database = match &self.place {
            Target::Here(path) => Database::open_with(path, self.options(create)),
            Target::There(options) => Database::connect((**options).clone()),
        }?;
        self.database = Some(database.clone());
        Ok(database)
    }

    /// The options of a database in a directory.
    pub(crate) fn options(&self, create: bool) -> Options {
        let in_memory = matches!(&self.place, Target::Here(path) if path == "mem:");
        Options {
            fsync: self.fsync,
            create: create || in_memory,
            // Who only reads need not be able to write.
            purpose: if create { Purpose::Write } else { Purpose::Read },
            // The command asks for --yes itself.
            allow_flush_all: true,
            progress: progress::of_recovery(),
            ..Options::default()
        }
    }

    /// The database if it is open.
    pub(crate) fn database(&self) -> Option<Database> {
        self.database.clone()
    }

    /// Syncs and releases the directory, or leaves the server.
    pub(crate) fn close(&mut self) -> Result<()> {
        if let Some(watches) = &mut self.watches {
            watches.clear();
        }
        match self.database.take() {
            Some(database) => database.close(),
            None => Ok(()),
        }
    }

    /// `version`, or the latest one of `machine`.
    pub(crate) fn version(database: &Database, machine: &str, version: Option<u32>) -> Result<u32> {
        match version {
            Some(version) => Ok(version),
            None => versions(database, machine)?.last().copied().ok_or_else(|| {
                Error::new(ErrorCode::MachineNotFound, format!("machine {machine:?} not found"))
                    .with("machine", machine)
            }),
        }
    }
}

/// The versions of a machine, ascending; none when it is unknown.
pub(crate) fn versions(database: &Database, machine: &str) -> Result<Vec<u32>> {
    let machines = database.list_machines(ListMachinesRequest {})?.items;
    let found = machines.into_iter().find(|item| item.machine == machine);
    Ok(found.map(|item| item.versions).unwrap_or_default())
}

/// A JSON argument: the text itself, `@FILE`, or `@-` (also `-`) for standard input.
pub(crate) fn json_argument(what: &str, argument: &str) -> Result<Json> {
    let text = match argument.strip_prefix('@') {
        Some("-") => read_stdin()?,
        Some(path) => read_text(path, std::fs::read(path))?,
        None if argument == "-" => read_stdin()?,
        None => argument.to_owned(),
    };
    Json::parse(text.trim())
        .map_err(|refused| refused.into_error(&format!("{what} as JSON")).with("argument", what))
}

/// All of standard input, as text.
pub(crate) fn read_stdin() -> Result<String> {
    let mut bytes = Vec::new();
    read_text("-", std::io::stdin().read_to_end(&mut bytes).map(|_| bytes))
}

/// The text in the bytes that came from `path`.
fn read_text(path: &str, bytes: std::io::Result<Vec<u8>>) -> Result<String> {
    let text = bytes.and_then(|bytes| Ok(decode(&bytes)?.to_owned()));
    text.map_err(|problem| error::file(path, &problem))
}

/// An optional JSON argument.
pub(crate) fn optional_json(what: &str, argument: Option<&str>) -> Result<Option<Json>> {
    argument.map(|argument| json_argument(what, argument)).transpose()
}

/// An optional name.
pub(crate) fn optional_text(name: Option<String>) -> Option<Text> {
    name.map(Text::from)
}

/// Says that a name can't be seen; it is taken all the same.
pub(crate) fn warn_if_blank(output: Output, what: &str, name: &str) {
    if name.chars().all(|c| c.is_whitespace() || is_hidden(c)) {
        let kind = if name.is_empty() { "is empty" } else { "has nothing that can be seen" };
        output.note(&format!("warning: {what} {kind} ({name:?}); was a variable not set?"));
    }
}
