//! Checks a machine definition without storing it.

use rstmdb_types::{Result, ValidateMachineRequest, ValidateMachineResult};

use crate::ops::Edge;
use crate::pending::Evaluated;
use crate::shared::Shared;
use crate::state::machines::check_definition_size;

impl Shared {
    pub(crate) fn validate_machine(
        &self,
        request: ValidateMachineRequest,
        edge: &Edge<'_>,
    ) -> Evaluated<ValidateMachineResult> {
        let validated = self.check_open().and_then(|()| self.validate(&request, edge));
        // It depends on nothing that was written.
        self.ready(validated)
    }

    fn validate(
        &self,
        request: &ValidateMachineRequest,
        edge: &Edge<'_>,
    ) -> Result<ValidateMachineResult> {
        let limits = &self.options.limits;
        check_definition_size(&request.definition, limits)?;
        let (machine, warnings) =
            edge.parse_machine(&request.definition, limits, request.strict)?;
        Ok(ValidateMachineResult {
            definition: machine.normal_form().clone(),
            checksum: machine.checksum().into(),
            warnings,
        })
    }
}
