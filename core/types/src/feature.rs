//! The table of features: what a server may lack, by the names that HELLO and INFO list.
//!
//! A client sends no operation whose feature the server did not list. Names that are not in the
//! table, those of a newer server, are passed on and mean nothing here.

use crate::Operation;

macro_rules! features {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, [$($operation:ident),*];)*) => {
        /// Something that a server may have or lack.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Feature {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Feature {
            /// Every feature, in the order in which they are listed.
            pub const ALL: &'static [Feature] = &[$(Feature::$name,)*];

            /// The name, such as `wal_read`.
            pub const fn name(self) -> &'static str {
                match self { $(Feature::$name => $text,)* }
            }

            /// The feature that an operation needs.
            pub const fn of(operation: Operation) -> Option<Feature> {
                match operation {
                    $($(Operation::$operation => Some(Feature::$name),)*)*
                    _ => None,
                }
            }
        }
    };
}

features! {
    /// A request that is repeated with its key is done once.
    Idempotency = "idempotency", [];
    /// Several operations in one request.
    Batch = "batch", [Batch];
    /// The log's entries can be read.
    WalRead = "wal_read", [WalRead];
    /// Events are sent as they happen.
    Watch = "watch", [WatchInstance, WatchAll];
    /// Places in the log are told and compared with the history they belong to.
    HistoryId = "history_id", [];
    /// Snapshots of instances can be listed and removed.
    Snapshots = "snapshots", [ListSnapshots, DropSnapshot];
    /// An open database can be backed up.
    Backup = "backup", [Backup];
    /// The files of an open database can be looked through.
    Verify = "verify", [Verify];
    /// A server can be told to take the writes, or to follow another one.
    Replicas = "replicas", [ReplicaPromote, ReplicaFollow];
    /// A server tells of its group, and takes orders about it.
    Cluster = "cluster", [
        ClusterStatus, ClusterInit, ClusterAdd, ClusterRemove, ClusterPromote, ClusterTransfer, ClusterDrain, ClusterVerify,
        ClusterUpgrade
    ];
    /// States and transitions of a definition do something, and guards are a part of the expression language.
    Actions = "actions", [];
}
