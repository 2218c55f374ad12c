//! The tables that the readers of definitions and guards work by, for whoever lists what there is: the reference
//! pages are made of them.

pub use crate::expression::functions::Function;
pub use crate::expression::operators::{Binding, OPERATORS, Operator};
pub use crate::expression::words::GuardWord;
pub use crate::keys::{
    ACTION_KEYS, ActionKey, DEFINITION_KEYS, DefinitionKey, STATE_KEYS, TRANSITION_KEYS,
};
pub use crate::warnings::DefinitionDoubt;
