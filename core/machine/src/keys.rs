//! The members of definitions and of their transitions: what the reader works by and the reference lists.

/// A member of a definition or of a transition.
#[derive(Debug)]
pub struct DefinitionKey {
    /// Its name.
    pub name: &'static str,
    /// What its value is, as errors say it.
    pub value: &'static str,
    /// Whether it has to be there. One that need not be may also be null.
    pub required: bool,
    /// What it means.
    pub doc: &'static str,
}

macro_rules! keys {
    ($(#[doc = $list_doc:literal] $list:ident: $count:literal = [
        $($(#[doc = $doc:literal])+ $name:literal: $value:literal, $required:ident;)*
    ];)*) => {$(
        #[doc = $list_doc]
        pub static $list: [DefinitionKey; $count] = [$(DefinitionKey {
            name: $name,
            value: $value,
            required: keys!(@ $required),
            doc: concat!($($doc),+).trim_ascii(),
        },)*];
    )*};
    (@ required) => { true };
    (@ optional) => { false };
}

keys! {
    /// The members of a definition.
    DEFINITION_KEYS: 5 = [
        /// Every state that an instance may be in.
        "states": "a list of state names", required;
        /// The state of a new instance. It may be any of the states.
        "initial": "the name of the first state", required;
        /// What leads from state to state. The order matters where several transitions share a state and an event:
        /// they are tried from the first to the last.
        "transitions": "a list, which may be empty", required;
        /// The states in which an instance is completed: it takes no event any more. None when absent.
        "final": "a list of state names", optional;
        /// Whatever you want to keep with the machine, any JSON. It has no effect and is part of the checksum.
        "meta": "any JSON", optional;
    ];
    /// The members of a transition.
    TRANSITION_KEYS: 4 = [
        /// The states that it leaves. `"*"` stands for every state that has no transition of its own for the event.
        "from": "the name of a state or a list of them", required;
        /// The event that it answers. Any name; events are declared nowhere else.
        "event": "the name of the event", required;
        /// The state that it leads to, which may be the one it leaves.
        "to": "the name of a state", required;
        /// The condition under which it is taken. Always when absent.
        "guard": "a guard, which is a string", optional;
    ];
}
