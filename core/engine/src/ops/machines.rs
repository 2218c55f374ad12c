//! Stores, returns and lists machine definitions.

use rstmdb_machine::Machine;
use rstmdb_types::error::reason;
use rstmdb_types::{
    DefinitionWarning, Error, ErrorCode, GetMachineRequest, GetMachineResult, ListMachinesRequest,
    ListMachinesResult, MachineVersions, Offset, PutMachineRequest, PutMachineResult, Result,
};

use super::Edge;
use super::decision::{AtOffset, Draft, Drafts};
use crate::log::Body;
use crate::log::kinds::PutMachine;
use crate::pending::Evaluated;
use crate::shared::Shared;
use crate::state::Machines;
use crate::state::locked::{Known, Locked, Needs};
use crate::state::machines::check_definition_size;

/// What storing a definition comes to.
enum Decided {
    /// It is stored already, at this offset.
    Known(Offset, PutMachineResult),
    /// It becomes the machine of this number.
    New(u32, Box<Machine>, PutMachineResult),
}

impl AtOffset for PutMachineResult {}

impl Shared {
    pub(crate) fn put_machine(
        &self,
        request: PutMachineRequest,
        edge: &Edge<'_>,
    ) -> Evaluated<PutMachineResult> {
        self.queue.spill();
        let evaluated = self.store_machine(request, edge);
        self.queue.announce();
        evaluated
    }

    fn store_machine(
        &self,
        request: PutMachineRequest,
        edge: &Edge<'_>,
    ) -> Evaluated<PutMachineResult> {
        let parsed = match self.parse_machine(&request, edge) {
            Ok(parsed) => parsed,
            Err(error) => return self.after_all(Err(error)),
        };
        let needs = Needs { machines: true, ..Needs::default() };
        let mut locked = Locked::of(&self.state, &needs).undoing(self.undo_below());
        if let Err(refusal) = self.queue.check_stands() {
            return self.ready(Err(refusal));
        }
        let decided = match locked.machines() {
            Ok(machines) => self.decide_machine(machines, &request, parsed),
            Err(misfit) => Err(self.fault(misfit.0).into()),
        };
        match decided {
            Ok(Decided::Known(offset, result)) => {
                Evaluated::new(self.queue.ticket(offset), Ok(result))
            }
            Ok(Decided::New(number, machine, result)) => {
                let definition = request.definition.clone();
                let body = Body::PutMachine(PutMachine {
                    number,
                    machine: &request.machine,
                    version: request.version,
                    definition: request.definition.as_str(),
                    level: machine.level(),
                });
                let known = Known::Machine(Box::new((*machine, definition)));
                self.log(&mut locked, edge.at_ms, Drafts::One(Draft { body, known }), result)
            }
            Err(error) => self.after_all(Err(error)),
        }
    }

    fn parse_machine(
        &self,
        request: &PutMachineRequest,
        edge: &Edge<'_>,
    ) -> Result<(Machine, Vec<DefinitionWarning>)> {
        let limits = &self.options.limits;
        limits.check_name("machine", &request.machine)?;
        check_definition_size(&request.definition, limits)?;
        let machines = self.state.machines.read();
        self.check_version_limit(&machines, request)?;
        let stored = machines.get(&request.machine, request.version).cloned();
        drop(machines);
        let parsed = edge.parse_machine(&request.definition, limits, request.strict);
        if let (Ok((machine, _)), None) = (&parsed, &stored) {
            self.check_language(machine.level())?;
        }
        // What is stored keeps the meaning that it was put with, so the same text is still the same machine.
        match stored.filter(|stored| !request.strict && stored.as_sent == request.definition) {
            Some(stored)
                if parsed.as_ref().map_or(0, |(parsed, _)| parsed.level()) != stored.level =>
            {
                Ok((Machine::load(&request.definition, stored.level)?, Vec::new()))
            }
            _ => parsed,
        }
    }

    fn decide_machine(
        &self,
        machines: &Machines,
        request: &PutMachineRequest,
        (machine, warnings): (Machine, Vec<DefinitionWarning>),
    ) -> Result<Decided> {
        // Again, now that nobody else can store one.
        self.check_version_limit(machines, request)?;
        let result = PutMachineResult {
            machine: request.machine.clone(),
            version: request.version,
            stored_checksum: machine.checksum().into(),
            created: false,
            warnings,
        };
        let Some(stored) = machines.get(&request.machine, request.version) else {
            self.check_definitions(machines, request)?;
            let result = PutMachineResult { created: true, ..result };
            return Ok(Decided::New(machines.next_number(), Box::new(machine), result));
        };
        if stored.machine.checksum() == machine.checksum() {
            return Ok(Decided::Known(stored.offset, result));
        }
        Err(Error::new(
            ErrorCode::MachineVersionExists,
            format!(
                "machine {:?} version {} exists with another definition; definitions don't \
                 change, store it as a new version",
                request.machine, request.version
            ),
        )
        .with("machine", request.machine.as_str())
        .with("version", request.version)
        .with("stored_checksum", stored.machine.checksum()))
    }

    fn check_version_limit(&self, machines: &Machines, request: &PutMachineRequest) -> Result<()> {
        let most = self.options.limits.machine_versions_max;
        let versions = machines.versions(&request.machine);
        let is_new = machines.get(&request.machine, request.version).is_none();
        if most == 0 || !is_new || versions < most as usize {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::MachineVersionLimitExceeded,
            format!(
                "machine {:?} has {versions} versions, the limit machine_versions_max is {most}",
                request.machine
            ),
        )
        .with("machine", request.machine.as_str())
        .with("limit", "machine_versions_max")
        .with("limit_value", most))
    }

    /// Whether all who take part know the level of a definition; they never know less later.
    fn check_language(&self, level: u32) -> Result<()> {
        if level == 1 {
            return Ok(());
        }
        let proposer = self.queue.with_writer(|sink| sink.group.as_ref()?.proposer());
        let Some(proposer) = proposer else { return Ok(()) };
        let members = self.files.members.lock().clone();
        proposer.admit_language(level, members.as_ref())
    }

    fn check_definitions(&self, machines: &Machines, request: &PutMachineRequest) -> Result<()> {
        let (setting, limit) = ("machine_bytes_max", self.options.limits.machine_bytes_max);
        let size = machines.definition_bytes() + request.definition.as_str().len();
        if size <= limit {
            return Ok(());
        }
        let message = format!(
            "all definitions would have {size} bytes, more than the limit {setting} = {limit}; \
             definitions are kept for ever, so raise the limit if there is memory for them"
        );
        Err(Error::invalid(reason::LIMIT_EXCEEDED, message)
            .with("field", "definition")
            .with("limit", setting)
            .with("size", size)
            .with("limit_value", limit))
    }

    pub(crate) fn get_machine(&self, request: GetMachineRequest) -> Evaluated<GetMachineResult> {
        let machines = self.state.machines.read();
        let found =
            self.check_open().and_then(|()| machines.find(&request.machine, request.version));
        match found {
            Ok(entry) => {
                let result = GetMachineResult {
                    definition: entry.machine.normal_form().clone(),
                    checksum: entry.machine.checksum().into(),
                };
                Evaluated::new(self.queue.ticket(entry.offset), Ok(result))
            }
            Err(error) => Evaluated::new(self.queue.ticket_of_all(), Err(error)),
        }
    }

    pub(crate) fn list_machines(
        &self,
        _request: ListMachinesRequest,
    ) -> Evaluated<ListMachinesResult> {
        self.observe(|| self.check_open().map(|()| self.machine_versions()))
    }

    fn machine_versions(&self) -> ListMachinesResult {
        let machines = self.state.machines.read();
        let mut items: Vec<MachineVersions> = Vec::new();
        for entry in machines.iter() {
            match items.last_mut().filter(|item| item.machine == entry.name) {
                Some(item) => item.versions.push(entry.version),
                None => items.push(MachineVersions {
                    machine: entry.name.clone(),
                    versions: vec![entry.version],
                }),
            }
        }
        ListMachinesResult { items }
    }
}
