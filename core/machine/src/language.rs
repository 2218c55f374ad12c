//! The tables that the readers of definitions and guards work by, for whoever lists what there is: the reference
//! pages are made of them.

pub use crate::guard::functions::Function;
pub use crate::guard::operators::{Binding, OPERATORS, Operator};
pub use crate::guard::words::GuardWord;
pub use crate::keys::{DEFINITION_KEYS, DefinitionKey, TRANSITION_KEYS};
pub use crate::warnings::DefinitionDoubt;
