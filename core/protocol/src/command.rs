//! What a request may ask for: the operations of a database, and what only a connection needs.

use rstmdb_types::Operation;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WireCommand {
    /// An operation of the database.
    Database(Operation),
    /// Agrees on version, wire mode and features.
    Hello,
    /// Presents credentials.
    Auth,
    /// Ends the connection after the answer.
    Bye,
    /// Ends a subscription.
    Unwatch,
    /// Follows the log: the connection speaks the protocol of nodes from the answer on.
    Replicate,
}

/// What only a connection needs, with its wire name.
const CONNECTION: [(WireCommand, &str); 5] = [
    (WireCommand::Hello, "HELLO"),
    (WireCommand::Auth, "AUTH"),
    (WireCommand::Bye, "BYE"),
    (WireCommand::Unwatch, "UNWATCH"),
    (WireCommand::Replicate, "REPLICATE"),
];

impl WireCommand {
    /// How many commands there are.
    pub const COUNT: usize = Operation::ALL.len() + CONNECTION.len();

    /// Every command, in the order of [`WireCommand::index`].
    pub fn all() -> impl Iterator<Item = WireCommand> {
        let operations = Operation::ALL.iter().map(|operation| WireCommand::Database(*operation));
        operations.chain(CONNECTION.iter().map(|(command, _)| *command))
    }

    /// Finds a command by its wire name; other spellings are not known.
    pub fn from_wire_name(name: &str) -> Option<WireCommand> {
        if let Some(operation) = Operation::from_name(name) {
            return (operation.wire_name() == name).then_some(WireCommand::Database(operation));
        }
        CONNECTION.iter().find(|(_, known)| *known == name).map(|(command, _)| *command)
    }

    /// The name on the wire, such as `APPLY_EVENT`.
    pub fn wire_name(self) -> &'static str {
        match self {
            WireCommand::Database(operation) => operation.wire_name(),
            WireCommand::Hello => "HELLO",
            WireCommand::Auth => "AUTH",
            WireCommand::Bye => "BYE",
            WireCommand::Unwatch => "UNWATCH",
            WireCommand::Replicate => "REPLICATE",
        }
    }

    /// A number below [`WireCommand::COUNT`], for tables.
    pub fn index(self) -> usize {
        let after = Operation::ALL.len();
        match self {
            WireCommand::Database(operation) => operation as usize - 1,
            WireCommand::Hello => after,
            WireCommand::Auth => after + 1,
            WireCommand::Bye => after + 2,
            WireCommand::Unwatch => after + 3,
            WireCommand::Replicate => after + 4,
        }
    }

    /// Whether it is answered before authentication too, or asks for another one.
    pub fn is_open(self) -> bool {
        matches!(
            self,
            WireCommand::Hello
                | WireCommand::Auth
                | WireCommand::Bye
                | WireCommand::Replicate
                | WireCommand::Database(Operation::Ping)
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        for (index, command) in WireCommand::all().enumerate() {
            assert_eq!(command.index(), index);
            assert_eq!(WireCommand::from_wire_name(command.wire_name()), Some(command));
            assert_eq!(WireCommand::from_wire_name(&command.wire_name().to_lowercase()), None);
        }
        assert_eq!(WireCommand::all().count(), WireCommand::COUNT);
        assert_eq!(WireCommand::from_wire_name("REPLICATE_ALL"), None);
    }
}
