//! The options of `open`, as JSON: the two halves of the table.

use rstmdb::options::{Half, OptionType, read};
use rstmdb::{ManualClock, Options, RemoteOptions, Result};
use serde_json::{Map, Value};

use crate::error::invalid_option;

/// The one option that is no part of the options in Rust, where a clock is handed in.
const CLOCK: &str = "manual_clock_ms";

/// What to open, and how.
#[derive(Debug)]
pub(crate) enum Target {
    Here { options: Box<Options>, clock: Option<ManualClock> },
    There(Box<RemoteOptions>),
}

/// Understands the options for the database at `url`.
pub(crate) fn place(url: &str, options: &str) -> Result<Target> {
    let mut given = members(options)?;
    if RemoteOptions::is_server(url) {
        let mut options = RemoteOptions::from_url(url)?;
        read(&mut options, Half::Remote, &given)?;
        return Ok(Target::There(Box::new(options)));
    }
    let mut start_ms: Option<i64> = None;
    if let Some(given) = given.remove(CLOCK).filter(|given| !given.is_null()) {
        start_ms.read(&given).map_err(|problem| problem.of(CLOCK))?;
    }
    let mut options = Options::default();
    read(&mut options, Half::Embedded, &given)?;
    Ok(Target::Here { options: Box::new(options), clock: start_ms.map(ManualClock::new) })
}

fn members(text: &str) -> Result<Map<String, Value>> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(given)) => Ok(given),
        Ok(_) => Err(invalid_option("options", "the options must be a JSON object")),
        Err(error) => Err(invalid_option("options", format!("options: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use rstmdb::options::{EMBEDDED, OptionRow, REMOTE};

    use super::*;

    #[test]
    fn every_row_of_the_table_is_taken() {
        let defaults = |rows: &[OptionRow]| -> String {
            let given = rows.iter().map(|row| (row.name.to_owned(), (row.default)()));
            Value::Object(given.collect()).to_string()
        };
        place("mem:", &defaults(EMBEDDED)).unwrap();
        place("rstmdb://h", &defaults(REMOTE)).unwrap();
    }

    #[test]
    fn members_become_options() {
        let text = r#"{"fsync": "every_ms:5", "retention": {"age_ms": 7}, "limits": {"states_max": 3},
            "allow_flush_all": true, "create": false, "manual_clock_ms": 9}"#;
        let Target::Here { options, clock } = place("./d", text).unwrap() else { panic!() };
        assert_eq!(options.fsync, rstmdb::FsyncPolicy::EveryMs(5));
        assert_eq!(options.limits.states_max, 3);
        assert!(options.allow_flush_all && !options.create);
        assert_eq!(clock.unwrap().now_ms(), 9);
        let text = r#"{"token": "t", "tls": {"insecure": true}, "pool_size": 2, "retry": {"attempts": 0}}"#;
        let Target::There(options) = place("rstmdb://h", text).unwrap() else { panic!() };
        assert_eq!(options.token.as_deref(), Some("t"));
        assert!(options.tls.unwrap().insecure);
        assert_eq!((options.pool_size, options.retry.attempts), (2, 0));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (url, text, name) in [
            ("mem:", r#"{"fsink": "never"}"#, "fsink"),
            ("mem:", r#"{"manual_clock_ms": "x"}"#, "manual_clock_ms"),
            ("mem:", r#"{"fsync": 3}"#, "fsync"),
            ("mem:", r#"{"fsync": "sometimes"}"#, "sometimes"),
            ("mem:", r#"{"limits": {"states_max": "x"}}"#, "limits.states_max"),
            ("mem:", r#"{"limits": {"nope": 1}}"#, "nope"),
            ("mem:", r#"{"limits": [1]}"#, "limits"),
            ("rstmdb://h", r#"{"retry": [1]}"#, "retry"),
            ("rstmdb://h", r#"{"tls": ["a"]}"#, "tls"),
            ("mem:", r#"{"token": "s3cret"}"#, "token"),
            ("mem:", "[]", "object"),
            ("mem:", "{} {}", "options"),
            ("mem:", r#"{"fsync": "nev"#, "options: EOF"),
            ("rstmdb://h", r#"{"token": 1234567}"#, "must be a string"),
            ("rstmdb://h", r#"{"fsync": "never"}"#, "fsync"),
            ("rstmdb://t@h", r#"{"token": "s3cret"}"#, "token"),
            ("rstmdbs://h", r#"{"tls": false}"#, "tls"),
            ("rstmdb://h", r#"{"tls": {"client_cert": "c"}}"#, "client_key"),
            ("rstmdb://h", r#"{"pool_size": -1}"#, "pool_size"),
        ] {
            let error = place(url, text).unwrap_err();
            assert_eq!(error.reason(), Some("invalid_option"), "{url} {text}");
            assert!(error.message().contains(name), "{url} {text}: {error}");
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
            assert!(!format!("{error:?}").contains("1234567"), "{error:?}");
        }
    }
}
