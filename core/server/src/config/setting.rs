//! One setting: its names, and the way from a value to its field and back.

use std::borrow::Cow;

use super::Config;
use super::forms::Shown;
use super::yaml::YamlNode;

/// When a changed setting takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// At once, when the configuration is read again.
    Live,
    /// At the next start.
    Restart,
}

/// One setting: a row of the table.
pub struct Setting {
    /// The name in YAML and for `--set`, such as `network.bind_addr`.
    pub key: &'static str,
    /// The environment variable, where it does not follow from the key.
    pub(super) environment: Option<&'static str>,
    /// Another accepted spelling of the key.
    pub also: Option<&'static str>,
    pub(super) doc: &'static str,
    /// When a change takes effect.
    pub reload: Reload,
    pub(super) kind: fn() -> &'static str,
    pub(super) set: fn(&mut Config, &YamlNode) -> Result<(), String>,
    pub(super) add: fn(&mut Config, &YamlNode) -> Result<(), String>,
    pub(super) show: fn(&Config) -> Shown,
    pub(crate) same: fn(&Config, &Config) -> bool,
    pub(crate) copy: fn(&mut Config, &Config),
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.key)
    }
}

impl Setting {
    /// The environment variable, such as `RSTMDB_BIND`.
    pub fn variable(&self) -> Cow<'static, str> {
        match self.environment {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(format!("RSTMDB_{}", self.key.replace('.', "_").to_uppercase())),
        }
    }

    /// The variable by which a package sets its default, below the file, such as `RSTMDB_DEFAULT_BIND`.
    pub fn packaged_variable(&self) -> String {
        let variable = self.variable();
        format!("RSTMDB_DEFAULT_{}", variable.strip_prefix("RSTMDB_").unwrap_or(&variable))
    }

    /// What it does, in one line.
    pub fn doc(&self) -> String {
        self.doc.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// What kind of value it takes, such as `a size in bytes`.
    pub fn kind(&self) -> &'static str {
        (self.kind)()
    }

    /// The section, such as `network`.
    pub fn section(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(section, _)| section)
    }

    /// The name within its section.
    pub fn name(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(_, name)| name)
    }
}
