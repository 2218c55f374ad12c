//! Errors on the wire: code, message and whether a retry may help; what else an error of ours knows
//! travels in `details`, which published clients pass on or ignore.

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

/// An error as it arrived, of any server.
///
/// A code that is not known becomes an internal error that names it in `context`, and a kind that is
/// not known the kind of the code. Whether to retry is as the server says.
#[derive(Debug, Clone, Deserialize)]
pub struct ReceivedError {
    code: String,
    message: String,
    #[serde(default)]
    retryable: bool,
    /// Other servers put in it what they like.
    #[serde(default)]
    details: Value,
}

impl From<ReceivedError> for Error {
    fn from(received: ReceivedError) -> Error {
        let ReceivedError { code: name, message, retryable, details } = received;
        let detail = |member: &str| details.get(member).and_then(Value::as_str);
        let mut error = match ErrorCode::from_name(&name) {
            Some(code) => Error::new(code, message),
            None => Error::new(ErrorCode::InternalError, format!("{name}: {message}"))
                .with("code", name),
        };
        if let Some(reason) = detail("reason") {
            error = error.with_reason(reason);
        }
        if let Some(operation) = detail("operation") {
            error = error.with_operation(operation);
        }
        for (key, value) in details.get("context").and_then(Value::as_object).into_iter().flatten()
        {
            error = error.with(key, value.clone());
        }
        let kind = detail("kind");
        let kind = ErrorKind::ALL.iter().find(|known| kind == Some(known.as_str()));
        let kind = kind.copied().unwrap_or_else(|| error.code().kind());
        error.as_sent(kind, retryable)
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
        assert_eq!(error.context()["code"], "TEAPOT");
        for details in [
            r#"{"kind":"soggy","reason":"too_soon","x":1,"context":{"limit":["a"]}}"#,
            r#"{"kind":7,"reason":"too_soon","operation":null,"context":{"limit":["a"]}}"#,
        ] {
            let text =
                format!(r#"{{"code":"CONFLICT","message":"no","x":{{}},"details":{details}}}"#);
            let error = Error::from(serde_json::from_str::<ReceivedError>(&text).unwrap());
            assert_eq!(
                (error.kind(), error.retryable()),
                (ErrorKind::Conflict, false),
                "{details}"
            );
            assert_eq!(error.reason(), Some("too_soon"));
            assert_eq!(error.context()["limit"], serde_json::json!(["a"]));
        }
        for details in ["null", "[]", "\"why\"", r#"{"context":3}"#] {
            let text = format!(r#"{{"code":"CONFLICT","message":"no","details":{details}}}"#);
            let error = Error::from(serde_json::from_str::<ReceivedError>(&text).unwrap());
            assert_eq!(error.code(), ErrorCode::Conflict, "{details}");
        }
    }
}
