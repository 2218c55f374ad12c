//! The limits every request is held to before anything is evaluated.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, reason};
use crate::json::Json;

/// How deeply a context or a payload may nest: a little less than JSON as such, so that results and
/// messages that wrap one stay readable.
pub const DEPTH_MAX: usize = 120;

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr;)+) => {
        crate::options_struct! {
            [$($(#[doc = $doc])+ $field: $type = $default;)+]
            []
            /// Sizes and counts that requests may not exceed. All can be set when a database is opened.
            #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
            #[serde(default)]
            pub struct Limits {}
        }

        /// The limits in force, as far as they are told: an older server tells few, and a newer one may
        /// have others.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct KnownLimits {
            $(
                $(#[doc = $doc])+
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )+
        }

        impl From<&Limits> for KnownLimits {
            fn from(limits: &Limits) -> KnownLimits {
                KnownLimits { $($field: Some(limits.$field),)+ }
            }
        }
    };
}

limits! {
    /// The longest instance id, machine name, event name, event id or idempotency key, in bytes.
    name_bytes_max: usize = 1024;
    /// How deeply a context or a payload may nest; more than 120 means 120.
    json_depth_max: usize = DEPTH_MAX;
    /// The largest context of an instance, in bytes of canonical JSON.
    context_bytes_max: usize = 4 << 20;
    /// The largest payload of an event, in bytes of canonical JSON.
    payload_bytes_max: usize = 4 << 20;
    /// The largest machine definition, in bytes of canonical JSON.
    definition_bytes_max: usize = 4 << 20;
    /// The most bytes of all machine definitions together. Each byte takes up to 6 bytes of
    /// memory, and each definition up to 16 KiB for its guards.
    machine_bytes_max: usize = 128 << 20;
    /// The most states of a machine.
    states_max: usize = 10_000;
    /// The most transitions of a machine, counted per source state.
    transitions_max: usize = 100_000;
    /// The longest guard, and the longest expression of an action, in bytes.
    guard_bytes_max: usize = 16 << 10;
    /// The most steps that the expressions of one event may take, each operand and operator being one and each element
    /// of a list counting anew.
    evaluation_steps_max: usize = 100_000;
    /// The most bytes of texts and lists that the expressions of one event may make; a byte that is only looked at counts a
    /// sixteenth.
    evaluation_bytes_max: usize = 8 << 20;
    /// The most transitions that an event may set off in the machine itself, without an event of its own.
    steps_max: usize = 1_000;
    /// The most actions in one list.
    actions_max: usize = 100;
    /// The most versions of one machine; 0 means no limit.
    machine_versions_max: u32 = 0;
    /// The most operations in one batch.
    batch_operations_max: usize = 10_000;
    /// The most bytes of contexts and payloads in one batch.
    batch_bytes_max: usize = 64 << 20;
    /// The most bytes of the results of one batch, as JSON. A batch of more is refused before anything
    /// of it happens.
    answer_bytes_max: usize = 15 << 20;
    /// The most entries of one page of a list, a history or a log read.
    page_entries_max: u32 = 10_000;
    /// The most snapshots of one instance; 0 means no limit.
    snapshots_max: u32 = 16;
}

impl Limits {
    /// Refuses a name that is too long; `field` is named in the error.
    pub fn check_name(&self, field: &str, name: &str) -> Result<()> {
        check(field, name.len(), "name_bytes_max", self.name_bytes_max)
    }

    /// Refuses a context to begin with that is too large or nests too deeply.
    pub fn check_initial_context(&self, context: &Json) -> Result<()> {
        self.check_context("initial_ctx", context)?;
        self.check_depth("initial_ctx", context)
    }

    /// Refuses a context that is too large.
    pub fn check_context(&self, field: &str, context: &Json) -> Result<()> {
        check(field, context.as_str().len(), "context_bytes_max", self.context_bytes_max)
    }

    /// Refuses a payload that is too large.
    pub fn check_payload(&self, payload: &Json) -> Result<()> {
        check("payload", payload.as_str().len(), "payload_bytes_max", self.payload_bytes_max)?;
        self.check_depth("payload", payload)
    }

    fn check_depth(&self, field: &str, json: &Json) -> Result<()> {
        check(field, json.depth(), "json_depth_max", self.json_depth_max.min(DEPTH_MAX))
    }
}

/// Refuses `size` above `limit`, naming the field and the setting.
pub fn check(field: &str, size: usize, setting: &str, limit: usize) -> Result<()> {
    if size <= limit {
        return Ok(());
    }
    Err(Error::invalid(
        reason::LIMIT_EXCEEDED,
        format!("{field} has size {size}, more than the limit {setting} = {limit}"),
    )
    .with("field", field)
    .with("limit", setting)
    .with("size", size)
    .with("limit_value", limit))
}
