//! From a definition to a machine.

use rstmdb_types::{DefinitionWarning, Json, Limits, Result};

use crate::definition::LANGUAGE_LEVEL;
use crate::expression::Integers;
use crate::machine::Machine;
use crate::{check, definition};

impl Machine {
    /// Parses and validates a definition as a user sent it.
    ///
    /// # Errors
    ///
    /// `BAD_REQUEST` with reason `invalid_definition`, `invalid_guard` or `limit_exceeded` and the
    /// place in context `path`. With `strict`, a warning is an error too.
    pub fn parse(
        definition: &Json,
        limits: &Limits,
        strict: bool,
    ) -> Result<(Machine, Vec<DefinitionWarning>)> {
        Machine::parse_with(definition, limits, strict, Integers::Exact)
    }

    /// As [`Machine::parse`] by the rules of RCP 0.3: an integer of a guard that does not fit 64 bits is a float.
    ///
    /// # Errors
    ///
    /// As [`Machine::parse`].
    pub fn parse_by_plain_rules(
        definition: &Json,
        limits: &Limits,
        strict: bool,
    ) -> Result<(Machine, Vec<DefinitionWarning>)> {
        Machine::parse_with(definition, limits, strict, Integers::OrFloats)
    }

    fn parse_with(
        definition: &Json,
        limits: &Limits,
        strict: bool,
        integers: Integers,
    ) -> Result<(Machine, Vec<DefinitionWarning>)> {
        let (definition, mut warnings) =
            definition::read(definition, Some(limits), integers, LANGUAGE_LEVEL)?;
        let machine = Machine::new(&definition);
        check::warn(&definition, &machine, &mut warnings);
        let warnings = warnings.finish(strict)?;
        Ok((machine.with_parsed(definition), warnings))
    }

    /// Loads a definition that was accepted before with this language level: no limits, no warnings, and what only
    /// later levels know means nothing in it.
    ///
    /// # Errors
    ///
    /// As [`Machine::parse`], when the definition was not accepted before after all.
    pub fn load(definition: &Json, level: u32) -> Result<Machine> {
        let (definition, _) = definition::read(definition, None, Integers::OrFloats, level)?;
        Ok(Machine::new(&definition).with_parsed(definition))
    }
}
