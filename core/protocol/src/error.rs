//! Errors on the wire: code, message and whether a retry may help; what else an error of ours knows
//! travels in `details`, which published clients pass on or ignore.

use std::collections::BTreeMap;

use rstmdb_types::{Error, ErrorCode, ErrorKind};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// Longer texts, which quote what a request held, are cut or left out.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// The front of a text, as far as it may be sent.
fn shortened(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or(text)
}

/// An error as it travels.
#[derive(Debug)]
pub struct WireError<'a>(pub &'a Error);

struct Details<'a>(&'a Error);

impl Serialize for WireError<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", self.0.code().as_str())?;
        map.serialize_entry("message", shortened(self.0.message()))?;
        map.serialize_entry("retryable", &self.0.retryable())?;
        map.serialize_entry("details", &Details(self.0))?;
        map.end()
    }
}

impl Serialize for Details<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", self.0.kind().as_str())?;
        if let Some(reason) = self.0.reason() {
            map.serialize_entry("reason", reason)?;
        }
        if let Some(operation) = self.0.operation() {
            map.serialize_entry("operation", operation)?;
        }
        let context = self.0.context();
        let long = |value: &Value| value.as_str().is_some_and(|text| text.len() > TEXT_BYTES_MAX);
        if !context.is_empty() && !context.values().any(long) {
            map.serialize_entry("context", context)?;
        }
        map.end()
    }
}

/// An error as it arrived, of any server: codes that are not known are kept as internal errors.
#[derive(Debug, Clone, Deserialize)]
pub struct ReceivedError {
    code: String,
    message: String,
    #[serde(default)]
    retryable: bool,
    #[serde(default)]
    details: Option<ReceivedDetails>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ReceivedDetails {
    kind: Option<ErrorKind>,
    reason: Option<String>,
    operation: Option<String>,
    context: BTreeMap<String, Value>,
}

impl From<ReceivedError> for Error {
    fn from(received: ReceivedError) -> Error {
        let known = ErrorCode::ALL.iter().find(|code| code.as_str() == received.code);
        let (code, message) = match known {
            Some(code) => (*code, received.message),
            None => (ErrorCode::InternalError, format!("{}: {}", received.code, received.message)),
        };
        let details = received.details.unwrap_or_default();
        let mut error = Error::new(code, message);
        if let Some(reason) = &details.reason {
            error = error.with_reason(reason);
        }
        for (key, value) in details.context {
            error = error.with(&key, value);
        }
        if let Some(operation) = &details.operation {
            error = error.with_operation(operation);
        }
        error.as_sent(details.kind.unwrap_or_else(|| code.kind()), received.retryable)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rstmdb_types::error::reason;

    use super::*;

    #[test]
    fn an_error_arrives_as_it_was_sent() {
        let sent = Error::new(ErrorCode::WalIoError, "the disk is gone")
            .with_reason(reason::OUTCOME_UNKNOWN)
            .with("file", "000001.log")
            .with_operation("APPLY_EVENT");
        let text = serde_json::to_string(&WireError(&sent)).unwrap();
        let back = Error::from(serde_json::from_str::<ReceivedError>(&text).unwrap());
        assert_eq!(format!("{back:?}"), format!("{sent:?}"));
        assert_eq!((back.kind(), back.retryable()), (sent.kind(), sent.retryable()));
    }

    #[test]
    fn codes_of_the_future_and_bare_errors_are_understood() {
        let text = r#"{"code":"TEAPOT","message":"short","retryable":true}"#;
        let error = Error::from(serde_json::from_str::<ReceivedError>(text).unwrap());
        assert_eq!(error.code(), ErrorCode::InternalError);
        assert_eq!((error.message(), error.retryable()), ("TEAPOT: short", true));
    }
}
