//! The one instance that a command is about.

use clap::Args;
use rstmdb::Text;

/// Its id, as a word or behind `-i`, as in commands that have other words.
#[derive(Debug, Args)]
#[group(id = "one_instance", required = true, multiple = false)]
pub(crate) struct InstanceArg {
    /// The instance's id.
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// The same as an option; an id that begins with a dash is given as --instance=ID.
    #[arg(short, long, visible_alias = "id", value_name = "ID")]
    instance: Option<String>,
}

impl InstanceArg {
    pub(crate) fn as_str(&self) -> &str {
        self.id.as_deref().or(self.instance.as_deref()).unwrap_or_default()
    }
}

impl From<InstanceArg> for Text {
    fn from(target: InstanceArg) -> Text {
        target.as_str().into()
    }
}
