//! Stores, returns and lists machine definitions.

use rstmdb_machine::Machine;
use rstmdb_types::{
    DefinitionWarning, Error, ErrorCode, GetMachineRequest, GetMachineResult, ListMachinesRequest,
    ListMachinesResult, MachineVersions, Offset, PutMachineRequest, PutMachineResult, Result,
};

use super::Edge;
use crate::log::{Body, Effect, Ticket};
use crate::pending::Evaluated;
use crate::shared::{MachineUndo, Shared};
use crate::state::Machines;
use crate::state::machines::check_definition_size;

impl Shared {
    pub(crate) fn put_machine(
        &self,
        request: PutMachineRequest,
        edge: &Edge,
    ) -> Evaluated<PutMachineResult> {
        self.queue.admit();
        let (ticket, result) = self.store_machine(request, edge);
        self.queue.announce();
        Evaluated::new(ticket, result)
    }

    fn store_machine(
        &self,
        request: PutMachineRequest,
        edge: &Edge,
    ) -> (Ticket, Result<PutMachineResult>) {
        let parsed = self.parse_machine(&request);
        let mut machines = self.state.machines.write();
        let stored = parsed.and_then(|parsed| {
            // Again, now that nobody else can store one.
            self.check_version_limit(&machines, &request)?;
            self.insert_machine(&mut machines, request, parsed, edge)
        });
        match stored {
            Ok((offset, result)) => (self.queue.ticket(offset), Ok(result)),
            Err(error) => (self.queue.ticket(self.queue.appended()), Err(error)),
        }
    }

    fn parse_machine(
        &self,
        request: &PutMachineRequest,
    ) -> Result<(Machine, Vec<DefinitionWarning>)> {
        let limits = &self.options.limits;
        limits.check_name("machine", &request.machine)?;
        check_definition_size(&request.definition, limits)?;
        self.check_version_limit(&self.state.machines.read(), request)?;
        Machine::parse(&request.definition, limits, request.strict)
    }

    fn insert_machine(
        &self,
        machines: &mut Machines,
        request: PutMachineRequest,
        (machine, warnings): (Machine, Vec<DefinitionWarning>),
        edge: &Edge,
    ) -> Result<(Offset, PutMachineResult)> {
        let mut result = PutMachineResult {
            machine: request.machine.clone(),
            version: request.version,
            stored_checksum: machine.checksum().into(),
            created: false,
            warnings,
        };
        if let Some(stored) = machines.get(&request.machine, request.version) {
            if stored.machine.checksum() == machine.checksum() {
                return Ok((stored.offset, result));
            }
            return Err(Error::new(
                ErrorCode::MachineVersionExists,
                format!(
                    "machine {:?} version {} exists with another definition; definitions don't \
                     change, store it as a new version",
                    request.machine, request.version
                ),
            )
            .with("machine", request.machine.as_str())
            .with("version", request.version)
            .with("stored_checksum", stored.machine.checksum()));
        }
        let mut bytes = Vec::new();
        Effect {
            at: edge.at_ms,
            body: Body::PutMachine {
                number: machines.next_number(),
                machine: &request.machine,
                version: request.version,
                definition: request.definition.as_str(),
            },
        }
        .encode(&mut bytes);
        let offset = self.queue.append(1, &bytes)?;
        machines.insert(request.machine, request.version, machine, request.definition, offset);
        if let Some(durable) = self.undo_below() {
            self.state.push_machine_undo(offset, MachineUndo::Insert, durable);
        }
        result.created = true;
        Ok((offset, result))
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
            Err(error) => Evaluated::new(self.queue.ticket(self.queue.appended()), Err(error)),
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
