//! The options of `open`, as JSON.
//!
//! Some are for databases of this process and some for servers; one in the wrong place is refused
//! rather than ignored.

use std::path::PathBuf;
use std::time::Duration;

use rstmdb::{Error, Limits, ManualClock, Options, RemoteOptions, Result, Retention, TlsOptions};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::invalid_option;

/// What to open, and how.
#[derive(Debug)]
pub(crate) enum Place {
    Here { options: Box<Options>, clock: Option<ManualClock> },
    There(Box<RemoteOptions>),
}

/// Understands the options for the database at `url`.
pub(crate) fn place(url: &str, options: &str) -> Result<Place> {
    if url.starts_with("rstmdb://") || url.starts_with("rstmdbs://") {
        let given: There = parse(options, Here::NAMES, "a database of this process")?;
        return given.options(RemoteOptions::from_url(url)?).map(|all| Place::There(Box::new(all)));
    }
    let given: Here = parse(options, There::NAMES, "a server")?;
    let clock = given.manual_clock_ms.map(ManualClock::new);
    Ok(Place::Here { options: Box::new(given.options()?), clock })
}

fn parse<T: DeserializeOwned + Default>(
    text: &str,
    misplaced: &[&str],
    where_they_belong: &str,
) -> Result<T> {
    if text.trim().is_empty() {
        return Ok(T::default());
    }
    let given: Value = serde_json::from_str(text)
        .map_err(|error| invalid_option("options", format!("options: {error}")))?;
    let Some(members) = given.as_object() else {
        return Err(invalid_option("options", "the options must be a JSON object"));
    };
    if let Some(name) = misplaced.iter().find(|name| members.contains_key(**name)) {
        let message = format!("option {name:?} is for {where_they_belong}; leave it out here");
        return Err(invalid_option(name, message));
    }
    check_objects(members)?;
    serde_path_to_error::deserialize(&given).map_err(|error| {
        let (path, problem) = (error.path().to_string(), error.inner().to_string());
        match &*path {
            // A member that nobody knows is reported at its parent; its name is in the message.
            "." => invalid_option("options", format!("options: {problem}")),
            // What was given may be the secret, in another type.
            "token" => invalid_option("token", "option \"token\" must be a string"),
            path => invalid_option(path, format!("option {path:?}: {problem}")),
        }
    })
}

/// Deserialising would take a list of the members' values for an object, and any limit.
fn check_objects(members: &Map<String, Value>) -> Result<()> {
    for name in ["limits", "retry"] {
        if members.get(name).is_some_and(|value| !value.is_object() && !value.is_null()) {
            return Err(invalid_option(name, format!("option {name:?} must be an object")));
        }
    }
    if members.get("tls").is_some_and(Value::is_array) {
        return Err(invalid_option("tls", "option \"tls\" must be true, false or an object"));
    }
    let Some(limits) = members.get("limits").and_then(Value::as_object) else { return Ok(()) };
    let known = serde_json::to_value(Limits::default()).unwrap_or_default();
    match limits.keys().find(|name| known.get(name).is_none()) {
        None => Ok(()),
        Some(name) => {
            let path = format!("limits.{name}");
            let known = known.as_object().into_iter().flat_map(Map::keys);
            let known: Vec<&str> = known.map(String::as_str).collect();
            let known = known.join(", ");
            Err(invalid_option(&path, format!("there is no limit {name:?}; there are {known}")))
        }
    }
}

macro_rules! options {
    ($(#[$doc:meta])* struct $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct $name { $($field: Option<$type>,)* }

        impl $name {
            const NAMES: &[&str] = &[$(stringify!($field),)*];
        }
    };
}

options! {
    /// Of a database of this process.
    struct Here {
        fsync: String,
        limits: Limits,
        retention: Kept,
        segment_bytes_max: u64,
        checkpoint_log_bytes: u64,
        free_bytes_min: u64,
        idempotency_window_ms: u64,
        idempotency_keys_max: usize,
        allow_instance_recreate: bool,
        allow_flush_all: bool,
        create: bool,
        manual_clock_ms: i64,
    }
}

options! {
    /// Of a database on a server.
    struct There {
        token: String,
        tls: Tls,
        connect_timeout_ms: u64,
        request_timeout_ms: u64,
        keep_alive_ms: u64,
        pool_size: usize,
        in_flight_max: usize,
        client_name: String,
        retry: Repeat,
    }
}

/// How much of the log is kept.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept {
    Forever,
    Bytes(u64),
    AgeMs(u64),
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected true, false, or an object with ca, client_cert, client_key, server_name, insecure"
)]
enum Tls {
    Wanted(bool),
    With(TlsMembers),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TlsMembers {
    ca: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    server_name: Option<String>,
    insecure: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Repeat {
    attempts: Option<u32>,
    backoff_min_ms: Option<u64>,
    backoff_max_ms: Option<u64>,
}

/// Puts what was given in the place of a default.
fn set<T>(place: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *place = given;
    }
}

impl Here {
    fn options(self) -> Result<Options> {
        let mut options = Options::default();
        if let Some(fsync) = self.fsync {
            options.fsync = fsync.parse()?;
        }
        set(&mut options.limits, self.limits);
        set(
            &mut options.retention,
            self.retention.map(|kept| match kept {
                Kept::Forever => Retention::Forever,
                Kept::Bytes(bytes) => Retention::Bytes(bytes),
                Kept::AgeMs(ms) => Retention::Age(Duration::from_millis(ms)),
            }),
        );
        set(&mut options.segment_bytes_max, self.segment_bytes_max);
        set(&mut options.checkpoint_log_bytes, self.checkpoint_log_bytes);
        set(&mut options.free_bytes_min, self.free_bytes_min);
        set(&mut options.idempotency_window, self.idempotency_window_ms.map(Duration::from_millis));
        set(&mut options.idempotency_keys_max, self.idempotency_keys_max);
        set(&mut options.allow_instance_recreate, self.allow_instance_recreate);
        set(&mut options.allow_flush_all, self.allow_flush_all);
        set(&mut options.create, self.create);
        Ok(options)
    }
}

impl There {
    fn options(self, mut options: RemoteOptions) -> Result<RemoteOptions> {
        if let Some(token) = self.token {
            if options.token.is_some() {
                return Err(twice("token"));
            }
            options.token = Some(token);
        }
        if let Some(tls) = self.tls {
            options.tls = tls.options(options.tls)?;
        }
        set(&mut options.connect_timeout, self.connect_timeout_ms.map(Duration::from_millis));
        set(&mut options.request_timeout, self.request_timeout_ms.map(Duration::from_millis));
        set(&mut options.keep_alive, self.keep_alive_ms.map(Duration::from_millis));
        set(&mut options.pool_size, self.pool_size);
        set(&mut options.in_flight_max, self.in_flight_max);
        set(&mut options.client_name, self.client_name);
        let retry = self.retry.unwrap_or_default();
        set(&mut options.retry.attempts, retry.attempts);
        set(&mut options.retry.backoff_min, retry.backoff_min_ms.map(Duration::from_millis));
        set(&mut options.retry.backoff_max, retry.backoff_max_ms.map(Duration::from_millis));
        Ok(options)
    }
}

impl Tls {
    fn options(self, of_url: Option<TlsOptions>) -> Result<Option<TlsOptions>> {
        let given = match self {
            Tls::Wanted(true) => return Ok(Some(of_url.unwrap_or_default())),
            Tls::Wanted(false) if of_url.is_some() => {
                let message = "option \"tls\" is false, and the URL asks for TLS; leave one out";
                return Err(invalid_option("tls", message));
            }
            Tls::Wanted(false) => return Ok(None),
            Tls::With(given) => given,
        };
        if of_url.is_some_and(|of_url| of_url != TlsOptions::default()) {
            return Err(twice("tls"));
        }
        if given.client_cert.is_some() != given.client_key.is_some() {
            let message = "client_cert and client_key belong together; give both";
            return Err(invalid_option("tls", message));
        }
        Ok(Some(TlsOptions {
            ca: given.ca,
            client_cert: given.client_cert,
            client_key: given.client_key,
            server_name: given.server_name,
            insecure: given.insecure,
        }))
    }
}

fn twice(name: &str) -> Error {
    invalid_option(name, format!("{name} is in the URL and among the options; leave one out"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn members_become_options() {
        let text = r#"{"fsync": "every_ms:5", "retention": {"age_ms": 7}, "limits": {"states_max": 3},
            "allow_flush_all": true, "create": false, "manual_clock_ms": 9}"#;
        let Place::Here { options, clock } = place("./d", text).unwrap() else { panic!() };
        assert_eq!(options.fsync, rstmdb::FsyncPolicy::EveryMs(5));
        assert_eq!(options.retention, Retention::Age(Duration::from_millis(7)));
        assert_eq!((options.limits.states_max, options.limits.name_bytes_max), (3, 1024));
        assert!(options.allow_flush_all && !options.create);
        assert_eq!(clock.unwrap().now_ms(), 9);
        let text = r#"{"token": "t", "tls": {"insecure": true}, "pool_size": 2, "retry": {"attempts": 0}}"#;
        let Place::There(options) = place("rstmdb://h", text).unwrap() else { panic!() };
        assert_eq!(options.token.as_deref(), Some("t"));
        assert!(options.tls.unwrap().insecure);
        assert_eq!((options.pool_size, options.retry.attempts), (2, 0));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (url, text, name) in [
            ("mem:", r#"{"fsink": "never"}"#, "fsink"),
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
