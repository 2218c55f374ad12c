//! A quick look at a message: whose it is. What it says is read by the one it is for.
//!
//! Messages as our server writes them are recognised by their first members; all others are parsed.

use std::borrow::Cow;
use std::ops::Range;

use rstmdb_types::{Offset, Text};
use serde::Deserialize;

/// Whose a message is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look<'a> {
    /// The answer to a request.
    Answer {
        id: u64,
        success: bool,
        /// Where the result stands, when that is known already.
        result: Option<Range<usize>>,
    },
    /// An event of a subscription.
    Event { subscription_id: Cow<'a, str>, offset: Offset, history_id: Option<Text> },
    /// How far a subscription has come.
    Progress,
    /// The end of a subscription.
    End,
    /// Which nodes there are.
    Topology,
    /// A message of no meaning to this client.
    Other,
}

/// Looks at the JSON text of a frame. An error says what is wrong with it.
pub(crate) fn look(payload: &[u8]) -> Result<Look<'_>, String> {
    match quick(payload) {
        Some(look) => Ok(look),
        None => slow(payload),
    }
}

fn quick(payload: &[u8]) -> Option<Look<'_>> {
    let mut cursor = Cursor(payload);
    if cursor.literal(b"{\"type\":\"response\",\"id\":\"").is_some() {
        let id = cursor.number()?;
        cursor.literal(b"\",\"status\":\"ok\",\"result\":")?;
        let begin = payload.len() - cursor.0.len();
        let end = payload.len().checked_sub(1).filter(|end| *end > begin)?;
        return Some(Look::Answer { id, success: true, result: Some(begin..end) });
    }
    cursor.literal(b"{\"type\":\"event\",\"subscription_id\":\"")?;
    let subscription_id = cursor.plain_string()?;
    cursor.literal(b",\"instance_id\":\"")?;
    cursor.skip_string()?;
    cursor.literal(b",\"machine\":\"")?;
    cursor.skip_string()?;
    cursor.literal(b",\"version\":")?;
    cursor.number()?;
    cursor.literal(b",\"wal_offset\":")?;
    let offset = cursor.number()?;
    let history_id = match cursor.literal(b",\"history_id\":\"") {
        Some(()) => Some(cursor.plain_string()?.into()),
        None => None,
    };
    Some(Look::Event { subscription_id: Cow::Borrowed(subscription_id), offset, history_id })
}

/// The subscription of an event of which there is only the front, or that can't be read.
pub(crate) fn subscription(front: &[u8]) -> Option<&str> {
    let mut cursor = Cursor(front);
    cursor.literal(b"{\"type\":\"event\",\"subscription_id\":\"")?;
    cursor.plain_string()
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn literal(&mut self, text: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    fn number(&mut self) -> Option<u64> {
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        std::str::from_utf8(number).ok()?.parse().ok()
    }

    /// A string without escapes, up to and with its closing quote.
    fn plain_string(&mut self) -> Option<&'a str> {
        let length = self.0.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest.strip_prefix(b"\"")?;
        std::str::from_utf8(text).ok()
    }

    fn skip_string(&mut self) -> Option<()> {
        loop {
            let length = self.0.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            let escaped = self.0.get(length) == Some(&b'\\');
            self.0 = self.0.get(length + 1 + usize::from(escaped)..)?;
            if !escaped {
                return Some(());
            }
        }
    }
}

fn slow(payload: &[u8]) -> Result<Look<'_>, String> {
    #[derive(Deserialize)]
    struct Members<'a> {
        #[serde(borrow)]
        r#type: Cow<'a, str>,
        #[serde(default)]
        id: Option<String>,
        #[serde(default)]
        status: Option<String>,
        #[serde(default)]
        subscription_id: Option<String>,
        #[serde(default)]
        wal_offset: Option<Offset>,
        #[serde(default)]
        history_id: Option<Text>,
    }
    let members: Members<'_> =
        serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    match &*members.r#type {
        "response" => {
            let Some(id) = members.id.and_then(|id| id.parse().ok()) else {
                return Ok(Look::Other);
            };
            let success = match members.status.as_deref() {
                Some("ok") => true,
                Some("error") => false,
                _ => return Err("status must be ok or error".to_owned()),
            };
            Ok(Look::Answer { id, success, result: None })
        }
        "event" => match (members.subscription_id, members.wal_offset) {
            (Some(id), Some(offset)) => Ok(Look::Event {
                subscription_id: Cow::Owned(id),
                offset,
                history_id: members.history_id,
            }),
            _ => Err("an event needs subscription_id and wal_offset".to_owned()),
        },
        "progress" => Ok(Look::Progress),
        "end" => Ok(Look::End),
        "topology" => Ok(Look::Topology),
        _ => Ok(Look::Other),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn answers_are_found_in_any_order_of_members() {
        let text = br#"{"type":"response","id":"17","status":"ok","result":{"pong":true}}"#;
        let Look::Answer { id: 17, success: true, result: Some(range) } = look(text).unwrap()
        else {
            panic!()
        };
        assert_eq!(&text[range], br#"{"pong":true}"#);
        for (text, success) in [
            (r#"{"id":"17","type":"response","status":"ok","result":{}}"#, true),
            (r#" {"type":"response","id":"17","status":"ok"}"#, true),
            (r#"{"type":"response","id":"17","status":"error","error":{}}"#, false),
        ] {
            let found = look(text.as_bytes()).unwrap();
            assert_eq!(found, Look::Answer { id: 17, success, result: None }, "{text}");
        }
    }

    #[test]
    fn events_are_found_whatever_their_texts_hold() {
        for (text, history_id) in [
            r#"{"type":"event","subscription_id":"s","instance_id":"a","machine":"m","version":1,"wal_offset":7}"#,
            r#"{"type":"event","subscription_id":"s","instance_id":"a\\\"","machine":"\u00e4","version":1,"wal_offset":7}"#,
            r#"{"type":"event","subscription_id":"\u0073","instance_id":"a","machine":"m","version":1,"wal_offset":7}"#,
            r#"{"ctx":{"wal_offset":9},"type":"event","subscription_id":"s","wal_offset":7}"#,
        ]
        .into_iter()
        .map(|text| (text, None))
        .chain([
            (
                r#"{"type":"event","subscription_id":"s","instance_id":"a","machine":"m","version":1,"wal_offset":7,"history_id":"0f","payload":1}"#,
                Some("0f".into()),
            ),
            (
                r#"{"history_id":"0f","type":"event","subscription_id":"s","wal_offset":7}"#,
                Some("0f".into()),
            ),
        ]) {
            let found = look(text.as_bytes()).unwrap();
            let expected = Look::Event { subscription_id: "s".into(), offset: 7, history_id };
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn the_rest_is_told_apart_from_what_is_wrong() {
        for text in [r#"{"type":"news"}"#, r#"{"type":"response","id":"x","status":"ok"}"#] {
            assert_eq!(look(text.as_bytes()).unwrap(), Look::Other, "{text}");
        }
        assert_eq!(look(br#"{"type":"end","subscription_id":"s"}"#).unwrap(), Look::End);
        assert_eq!(look(br#"{"type":"progress","subscription_id":"s"}"#).unwrap(), Look::Progress);
        for text in ["", "{", "[]", r#"{"type":"event"}"#, r#"{"type":"response","id":"1"}"#] {
            assert!(look(text.as_bytes()).is_err(), "{text}");
        }
    }
}
