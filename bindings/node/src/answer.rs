//! How results and errors are told apart in a text.

use napi::bindgen_prelude::Either;
use napi::{Env, JsString};
use rstmdb_bridge as bridge;

use crate::{Given, TextOrTicket};
use bridge::types::{BatchResult, Error, ErrorCode, Operation, Result};

/// The text of an error.
pub(crate) fn failure(error: &Error) -> String {
    let mut text = bridge::error_json(error);
    text.insert(0, '!');
    text
}

/// Hands an outcome over.
pub(crate) fn given(env: &Env, outcome: TextOrTicket) -> napi::Result<Given<'_>> {
    match outcome {
        Either::A(text) => string(env, text).map(Either::A),
        Either::B(ticket) => Ok(Either::B(ticket)),
    }
}

/// Hands a text over. Most are ASCII, which JavaScript keeps as it is, without decoding it.
pub(crate) fn string(env: &Env, text: String) -> napi::Result<JsString<'_>> {
    if text.is_ascii() { env.create_string_latin1(text) } else { env.create_string(text) }
}

/// A JSON list of texts.
pub(crate) fn texts(texts: &[&str]) -> String {
    bridge::types::Json::from_serialize(texts)
        .map_or_else(|_| "[]".to_owned(), |json| json.to_string())
}

/// The error that a constructor throws.
pub(crate) fn thrown(error: Error) -> napi::Error {
    napi::Error::from_reason(failure(&error))
}

/// The operation of a number.
pub(crate) fn operation(number: u32) -> Result<Operation> {
    let found = Operation::ALL.iter().find(|operation| **operation as u32 == number);
    found.copied().ok_or_else(|| {
        let message = format!("there is no operation {number}; use one of the table of operations");
        Error::invalid("invalid_request", message)
    })
}

/// The text of the results of a batch.
pub(crate) fn of(result: &BatchResult) -> String {
    const RESULT_BYTES: usize = 256;
    let text = bridge::types::json_text(result, result.results.len().saturating_mul(RESULT_BYTES));
    text.map_or_else(
        |error| failure(&Error::new(ErrorCode::InternalError, format!("result: {error}"))),
        exact,
    )
}

/// A result, marked when it holds an integer that a JavaScript number would round.
pub(crate) fn exact(mut text: String) -> String {
    if may_round(text.as_bytes()) && rounds(text.as_bytes()) {
        text.insert(0, '#');
    }
    text
}

/// The digits of 2^53.
const DIGITS: usize = 16;

/// Whether there is a run of 16 digits anywhere. Looks at each sixteenth byte, as such a run can't
/// lie between two of them.
fn may_round(text: &[u8]) -> bool {
    let digits = |part: Option<&[u8]>| -> usize {
        part.map_or(0, |part| part.iter().take_while(|byte| byte.is_ascii_digit()).count())
    };
    text.iter().enumerate().skip(DIGITS - 1).step_by(DIGITS).any(|(at, byte)| {
        byte.is_ascii_digit() && {
            let before = text.get(..at).map_or(0, |part| {
                part.iter().rev().take_while(|byte| byte.is_ascii_digit()).count()
            });
            before + digits(text.get(at..)) >= DIGITS
        }
    })
}

/// Whether an integer of the JSON text is beyond 2^53.
fn rounds(text: &[u8]) -> bool {
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => drop(bytes.next()),
                        _ => {}
                    }
                }
            }
            b'0'..=b'9' => {
                let mut value = u128::from(byte - b'0');
                let mut integer = true;
                let part = |byte: &u8| byte.is_ascii_digit() || b".eE+-".contains(byte);
                while let Some(byte) = bytes.next_if(part) {
                    if byte.is_ascii_digit() {
                        value = value.saturating_mul(10).saturating_add(u128::from(byte - b'0'));
                    } else {
                        integer = false;
                    }
                }
                if integer && value > 1 << 53 {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}
