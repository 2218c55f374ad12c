//! The first messages of a connection: hello and credentials.

use std::borrow::Cow;

use rstmdb_types::{Feature, Offset, Text};
use serde::{Deserialize, Serialize};

use crate::frame::WireMode;
use crate::topology::{Cluster, lenient};

/// The features that clients of the plain dialect are told of.
pub const FEATURES: [&str; 4] = ["idempotency", "batch", "wal_read", "watch"];
/// The feature by which a client asks for [`Dialect::Extended`].
pub const EXTENDED: &str = "extended";
/// The feature by which a replica says that it comes to follow the log.
pub const REPLICATE: &str = "replicate";

/// How much of a result a client wants to see, and a few rules that changed since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// What clients of RCP 0.3 know: exactly their members; a batch has at most 100 operations; a
    /// known idempotency key answers with its first result, whatever the request.
    #[default]
    Plain,
    /// All members; the limits and rules of the database itself.
    Extended,
}

/// Asks to agree on how to talk.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HelloRequest<'a> {
    /// The protocol version, 1.
    pub protocol_version: u16,
    /// What the client calls itself.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub client_name: Option<Cow<'a, str>>,
    /// The wire modes the client knows.
    #[serde(borrow, default)]
    pub wire_modes: Vec<Cow<'a, str>>,
    /// The features the client would like.
    #[serde(borrow, default)]
    pub features: Vec<Cow<'a, str>>,
}

impl HelloRequest<'_> {
    /// The mode for the rest of the connection: frames, unless the client knows lines alone.
    pub fn wire_mode(&self) -> WireMode {
        let knows = |mode: WireMode| self.wire_modes.iter().any(|name| name == mode.name());
        if knows(WireMode::Lines) && !knows(WireMode::Frames) {
            WireMode::Lines
        } else {
            WireMode::Frames
        }
    }

    /// The dialect the client asks for.
    pub fn dialect(&self) -> Dialect {
        if self.features.iter().any(|name| name == EXTENDED) {
            Dialect::Extended
        } else {
            Dialect::Plain
        }
    }

    /// The features that were asked for and are here.
    pub fn features_in_common(&self) -> Vec<String> {
        let here: Vec<&str> = match self.dialect() {
            Dialect::Plain => FEATURES.to_vec(),
            Dialect::Extended => extended_features().chain([REPLICATE]).collect(),
        };
        let asked = |name: &&str| self.features.iter().any(|feature| feature == name);
        here.into_iter().filter(asked).map(str::to_owned).collect()
    }
}

/// What a client of the extended dialect asks for and is told of: the whole table, and the dialect.
pub fn extended_features() -> impl Iterator<Item = &'static str> {
    Feature::ALL.iter().map(|feature| feature.name()).chain([EXTENDED])
}

/// What was agreed on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HelloResult {
    /// The protocol version, 1.
    pub protocol_version: u16,
    /// The wire mode from this answer on.
    pub wire_mode: String,
    /// What the server calls itself.
    pub server_name: String,
    /// The server's version.
    pub server_version: String,
    /// The asked-for features that the server has.
    pub features: Vec<String>,
    /// The offset of the last change. Extended, and to those alone who may ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_offset: Option<Offset>,
    /// The history that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_id: Option<Text>,
    /// The nodes of the database.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
}

/// What credentials are answered with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuthResult {
    /// Always true.
    pub authenticated: bool,
    /// The nodes of the database. Extended.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
}

/// Presents credentials.
#[derive(Clone, Serialize, Deserialize)]
pub struct AuthRequest<'a> {
    /// `bearer`, also when absent.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Cow<'a, str>>,
    /// The token.
    #[serde(borrow)]
    pub token: Cow<'a, str>,
}

impl std::fmt::Debug for AuthRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthRequest").field("method", &self.method).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hello(json: &str) -> HelloRequest<'_> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn lines_are_for_clients_that_know_nothing_else() {
        let mode = |modes: &str| {
            hello(&format!(r#"{{"protocol_version":1,"wire_modes":{modes}}}"#)).wire_mode()
        };
        assert_eq!(mode(r#"["jsonl"]"#), WireMode::Lines);
        assert_eq!(mode(r#"["x","jsonl"]"#), WireMode::Lines);
        for frames in [r#"["jsonl","binary_json"]"#, "[]", r#"["x"]"#] {
            assert_eq!(mode(frames), WireMode::Frames, "{frames}");
        }
        let singular = hello(r#"{"protocol_version":1,"wire_mode":"jsonl"}"#);
        assert_eq!(singular.wire_mode(), WireMode::Frames);
        assert_eq!(singular.dialect(), Dialect::Plain);
    }

    #[test]
    fn features_are_agreed_on_by_name() {
        let agreed = |features: &str| {
            hello(&format!(r#"{{"protocol_version":1,"features":{features}}}"#))
                .features_in_common()
                .join(" ")
        };
        assert_eq!(agreed("[]"), "");
        assert_eq!(agreed(r#"["watch","moonbeams","batch"]"#), "batch watch");
        assert_eq!(agreed(r#"["extended","watch"]"#), "watch extended");
        // Whatever else comes: published clients were promised these four.
        assert_eq!(FEATURES.join(" "), "idempotency batch wal_read watch");
    }

    #[test]
    fn a_token_is_not_printed() {
        let auth: AuthRequest = serde_json::from_str(r#"{"token":"secret"}"#).unwrap();
        assert!(!format!("{auth:?}").contains("secret"));
    }
}
