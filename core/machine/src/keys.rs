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
    /// The language level that it came with.
    pub level: u32,
}

/// Something that an action does.
#[derive(Debug)]
pub struct ActionKey {
    /// The member that says so.
    pub name: &'static str,
    /// What its value is.
    pub value: &'static str,
    /// The members that may stand beside it.
    pub parts: &'static [&'static str],
    /// What it does.
    pub doc: &'static str,
}

macro_rules! actions {
    ($($(#[doc = $doc:literal])+ $name:literal: $value:literal, $parts:expr;)*) => {
        /// What actions do.
        pub static ACTION_KEYS: &[ActionKey] = &[$(ActionKey {
            name: $name,
            value: $value,
            parts: &$parts,
            doc: concat!($($doc),+).trim_ascii(),
        },)*];
    };
}

actions! {
    /// Sets members of the context, making objects on the way; null is replaced like what is not there. Anything else on the
    /// way refuses the event. All values of one action see the context before it.
    "assign": "an object of paths, such as `customer.name`, and values", [];
    /// Removes members of the context; what is not there is no error.
    "unset": "a list of paths", [];
    /// Runs the actions of `then` when the expression counts as true, and else those of `else`.
    "if": "an expression", ["then", "else"];
    /// Raises an event in the machine itself, with a payload. It is handled before the step ends, and dropped when the state
    /// accepts it no more.
    "raise": "the name of an event", ["payload"];
    /// Says something to the outside: it stands as `emitted` with the event that watches and histories show, and changes nothing.
    "emit": "a type, which is a string", ["data"];
}

/// Actions of releases to come: they are refused by name, not half read.
pub(crate) const LATER_ACTIONS: [&str; 5] =
    ["set_timer", "cancel_timer", "send", "create", "expire"];

/// Members of releases to come, by where they stand.
pub(crate) const LATER_DEFINITION_KEYS: [&str; 3] = ["schemas", "properties", "ttl"];
pub(crate) const LATER_TRANSITION_KEYS: [&str; 11] =
    ["events", "after", "every", "at", "cron", "zone", "late", "missed", "as", "done", "reenter"];
pub(crate) const LATER_STATE_KEYS: [&str; 7] =
    ["states", "initial", "parallel", "history", "to", "ttl", "work"];

macro_rules! keys {
    ($(#[doc = $list_doc:literal] $list:ident: $count:literal = [
        $($(#[doc = $doc:literal])+ $name:literal: $value:literal, $required:ident $(, $level:literal)?;)*
    ];)*) => {$(
        #[doc = $list_doc]
        pub static $list: [DefinitionKey; $count] = [$(DefinitionKey {
            name: $name,
            value: $value,
            required: keys!(@ $required),
            doc: concat!($($doc),+).trim_ascii(),
            level: keys!(@ level $($level)?),
        },)*];
    )*};
    (@ level) => { 1 };
    (@ level $level:literal) => { $level };
    (@ required) => { true };
    (@ optional) => { false };
}

keys! {
    /// The members of a definition.
    DEFINITION_KEYS: 6 = [
        /// Every state that an instance may be in.
        /// One that does something is an object with its `name`.
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
        /// How the payload of an event is merged into the context: all of it, nothing, or the members with these names. A
        /// transition may say otherwise. All of it when absent.
        "merge": "true, false or a list of names", optional, 2;
    ];
    /// The members of a state that is an object.
    STATE_KEYS: 5 = [
        /// Its name.
        "name": "the name of the state", required;
        /// What is done when it is entered, also when an instance begins in it and when a transition leads from the state to itself.
        "entry": "a list of actions", optional;
        /// What is done when it is left, also when a transition leads from the state to itself.
        "exit": "a list of actions", optional;
        /// Whether an instance is completed in it, as if it stood in `final`.
        "final": "true or false", optional;
        /// Whatever you want to keep with the state.
        "meta": "any JSON", optional;
    ];
    /// The members of a transition.
    TRANSITION_KEYS: 7 = [
        /// The states that it leaves. `"*"` stands for every state that has no transition of its own for the event.
        "from": "the name of a state or a list of them", required;
        /// The event that it answers. Any name; events are declared nowhere else. A transition has this or `always`.
        "event": "the name of the event", optional;
        /// The state that it leads to, which may be the one it leaves: then that is left and entered again. When absent, nothing is
        /// left or entered.
        "to": "the name of a state", optional;
        /// The condition under which it is taken. Always when absent.
        "guard": "a guard, which is a string", optional;
        /// Answers no event: it is taken as soon as an instance rests in the state and the guard holds, in the same step.
        "always": "true", optional, 2;
        /// How the payload is merged, for this transition.
        "merge": "true, false or a list of names", optional, 2;
        /// What is done when it is taken, after `exit` of the state that is left and before `entry` of the one that is entered.
        "actions": "a list of actions", optional, 2;
    ];
}
