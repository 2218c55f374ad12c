//! Returns the events of one instance.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{InstanceEvent, Offset, Text};

/// Which part of an instance's history to return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRequest {
    /// The instance's id.
    pub instance_id: Text,
    /// Which end to begin at.
    #[serde(default)]
    pub order: HistoryOrder,
    /// The most events to return; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Continue after a page: its `next_cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Offset>,
}

impl HistoryRequest {
    /// The newest 100 events.
    pub fn new(instance_id: impl Into<Text>) -> Self {
        HistoryRequest {
            instance_id: instance_id.into(),
            order: HistoryOrder::default(),
            limit: None,
            cursor: None,
        }
    }
}

/// Which end of a history comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryOrder {
    /// The last event first.
    #[default]
    Newest,
    /// The creation first.
    Oldest,
}

impl<'de> Deserialize<'de> for HistoryOrder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "newest" => Ok(HistoryOrder::Newest),
            "oldest" => Ok(HistoryOrder::Oldest),
            other => Err(D::Error::custom(format!(
                "order is {other:?}, expected \"newest\" or \"oldest\""
            ))),
        }
    }
}

/// One page of a history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryResult {
    /// Creation, events and deletion, in the order asked for.
    pub events: Vec<InstanceEvent>,
    /// The cursor of the next page, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<Offset>,
    /// The first offset the log still has; older events of the instance are gone.
    pub first_offset: Offset,
    /// Whether events of this instance were lost to retention.
    pub truncated: bool,
}
