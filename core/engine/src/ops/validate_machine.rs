//! Checks a machine definition without storing it.

use rstmdb_machine::Machine;
use rstmdb_types::{Result, ValidateMachineRequest, ValidateMachineResult};

use crate::pending::Evaluated;
use crate::shared::Shared;
use crate::state::machines::check_definition_size;

impl Shared {
    pub(crate) fn validate_machine(
        &self,
        request: ValidateMachineRequest,
    ) -> Evaluated<ValidateMachineResult> {
        let validated = self.check_open().and_then(|()| self.validate(&request));
        // It depends on nothing that was written.
        Evaluated::new(self.queue.ticket(0), validated)
    }

    fn validate(&self, request: &ValidateMachineRequest) -> Result<ValidateMachineResult> {
        let limits = &self.options.limits;
        check_definition_size(&request.definition, limits)?;
        let (machine, warnings) = Machine::parse(&request.definition, limits, request.strict)?;
        Ok(ValidateMachineResult {
            definition: machine.normal_form().clone(),
            checksum: machine.checksum().into(),
            warnings,
        })
    }
}
