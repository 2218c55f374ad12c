//! Who answers: what a server says of itself in its hello.

use rstmdb_types::{Feature, Operation};

use crate::options::Endpoint;

/// What is known about a server since it said hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// What it calls itself.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether it has all operations and members of this client. An older one, such as 0.3.0, lacks
    /// some; asking for them is an error of reason `unsupported`.
    pub extended: bool,
    /// What it says it has. Names that are not in the table of [`Feature`]s are those of a newer one.
    pub features: Vec<String>,
    /// Where it was reached.
    pub endpoint: Endpoint,
    /// The number of the node that it is; an older one does not tell.
    pub node: Option<u64>,
}

impl ServerInfo {
    /// The feature it lacks for an operation. An older one lists none of what it has.
    pub(crate) fn lacks_for(&self, operation: Operation) -> Option<Feature> {
        let listed = |feature: Feature| self.features.iter().any(|name| name == feature.name());
        Feature::of(operation).filter(|feature| self.extended && !listed(*feature))
    }
}
