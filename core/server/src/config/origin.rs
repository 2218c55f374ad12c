//! Where the values of settings come from, and which of them gave way to another.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::setting::Setting;
use super::yaml::YamlNode;
use super::{Config, table};

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// By whoever made the package, in this variable: a default, only of another kind.
    Package(String),
    /// In the file, here.
    File(String),
    /// In this environment variable.
    Environment(String),
    /// On the command line.
    Flag,
}

impl Origin {
    pub(super) fn file(path: &Path, line: usize) -> Origin {
        Origin::File(format!("{}, line {line}", path.display()))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Package(name) | Origin::Environment(name) => {
                write!(f, "the environment variable {name}")
            }
            Origin::File(place) => f.write_str(place),
            Origin::Flag => f.write_str("the command line"),
        }
    }
}

/// The origins of all values that are not built in.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins {
    values: BTreeMap<&'static str, Origin>,
    overridden: Vec<String>,
}

impl Origins {
    /// Gives a setting the value that is written at `origin`, and remembers what gave way to it. Lists of
    /// the environment grow instead.
    pub(super) fn set(
        &mut self,
        config: &mut Config,
        setting: &'static Setting,
        node: &YamlNode,
        origin: Origin,
    ) -> Result<(), String> {
        let before = config.clone();
        (setting.set)(config, node)?;
        let replaced = config.clone();
        if matches!(origin, Origin::Environment(_)) {
            config.clone_from(&before);
            (setting.add)(config, node)?;
        }
        let gives_way = (setting.same)(config, &replaced) && !(setting.same)(config, &before);
        match self.values.insert(setting.key, origin.clone()) {
            // That is what a default is for.
            None | Some(Origin::Package(_)) => {}
            Some(loser) if gives_way && loser != origin => self
                .overridden
                .push(format!("{loser}: {} has no effect, {origin} wins", setting.key)),
            Some(_) => {}
        }
        Ok(())
    }

    /// What was written and has no effect, each in a sentence that says what wins.
    pub(super) fn overridden(self) -> Vec<String> {
        self.overridden
    }

    /// The settings that somebody chose: whose values are no defaults, neither built in nor of a package.
    pub(super) fn chosen(&self) -> Vec<&'static str> {
        let is_chosen = |key: &&'static str| {
            self.values.get(key).is_some_and(|origin| !matches!(origin, Origin::Package(_)))
        };
        table::all().map(|setting| setting.key).filter(is_chosen).collect()
    }
}
