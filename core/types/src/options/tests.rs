//! Options from JSON, and the table against the structs that it makes.

use std::time::Duration;

use serde_json::json;

use super::*;

embedded_options! {
    /// As the engine's.
    #[derive(Debug)]
    pub struct Embedded {}
}

remote_options! {
    /// As the client's.
    #[derive(Debug)]
    pub struct Remote {}
}

fn embedded(given: Value) -> crate::Result<Embedded> {
    let mut options = Embedded::default();
    read(&mut options, Half::Embedded, given.as_object().unwrap()).map(|()| options)
}

fn remote(mut options: Remote, given: Value) -> crate::Result<Remote> {
    read(&mut options, Half::Remote, given.as_object().unwrap()).map(|()| options)
}

#[test]
fn rows_become_fields_and_values() {
    let options = embedded(json!({
        "fsync": "every_ms:5", "retention": {"age_ms": 7}, "limits": {"states_max": 3},
        "idempotency_window_ms": 4, "allow_flush_all": true, "create": null,
    }))
    .unwrap();
    assert_eq!(options.fsync, FsyncPolicy::EveryMs(5));
    assert_eq!(options.retention, Retention::Age(Duration::from_millis(7)));
    assert_eq!((options.limits.states_max, options.limits.name_bytes_max), (3, 1024));
    assert_eq!(options.idempotency_window, Duration::from_millis(4));
    assert!(options.allow_flush_all && options.create);
    let given = json!({"tls": {"insecure": true}, "pool_size": 2, "retry": {"attempts": 0}});
    let options = remote(Remote::default(), given).unwrap();
    assert!(options.tls.unwrap().insecure);
    assert_eq!((options.pool_size, options.retry.attempts), (2, 0));
    assert_eq!(options.retry.backoff_max, Duration::from_secs(1));
}

/// What the table says of an option is what a struct that nobody touched holds.
#[test]
fn every_row_can_be_read_and_shows_its_default() {
    fn check(rows: &[OptionRow], shown: &Value, set: &mut dyn FnMut(&str, &Value) -> bool) {
        for row in rows {
            let default = (row.default)();
            assert!(row.doc.ends_with('.'), "{}", row.name);
            if row.name == "manual_clock_ms" {
                continue;
            }
            assert_eq!(shown[row.name], default, "{}", row.name);
            assert!(default.is_null() || set(row.name, &default), "{}", row.name);
            if let OptionForm::Object { rows, .. } = row.form {
                assert!(rows.iter().all(|inner| default[inner.name] == (inner.default)()));
            }
        }
    }
    let mut options = Embedded::default();
    check(EMBEDDED, &options.show(), &mut |name, v| options.set(name, v).unwrap().is_ok());
    let mut options = Remote::default();
    check(REMOTE, &options.show(), &mut |name, v| options.set(name, v).unwrap().is_ok());
    assert_eq!(EMBEDDED.len(), Embedded::ROWS.len() + 1, "the clock is handed in, in Rust");
    assert!(EMBEDDED.iter().all(|row| REMOTE.iter().all(|other| other.name != row.name)));
    let units: Vec<_> = EMBEDDED.iter().filter(|row| row.unit() == "ms").collect();
    assert!(units.iter().all(|row| row.name.ends_with("_ms")), "{units:?}");
}

#[test]
fn what_does_not_fit_is_named() {
    for (given, option, words) in [
        (json!({"fsnyc": "never"}), "fsnyc", "did you mean \"fsync\"?"),
        (json!({"manual_clock_m": 1}), "manual_clock_m", "\"manual_clock_ms\""),
        (json!({"nonsense": 1}), "nonsense", "there are fsync, limits"),
        (json!({"fsync": 3}), "fsync", "string"),
        (json!({"fsync": "sometimes"}), "fsync", "sometimes"),
        (json!({"limits": {"states_max": "x"}}), "limits.states_max", "whole number"),
        (
            json!({"limits": {"machine_versions_max": 1_u64 << 40}}),
            "limits.machine_versions_max",
            "0",
        ),
        (json!({"limits": {"state_max": 1}}), "limits.state_max", "\"states_max\""),
        (json!({"limits": [1]}), "limits", "object"),
        (json!({"retention": {"bytes": 1, "age_ms": 1}}), "retention", "forever"),
        (json!({"create": 1}), "create", "true or false"),
        (json!({"segment_bytes_max": 1.5}), "segment_bytes_max", "whole number"),
        (json!({"token": "s3cret"}), "token", "for a server"),
    ] {
        let error = embedded(given.clone()).unwrap_err();
        assert_eq!(error.context()["option"], option, "{given}");
        assert!(error.message().contains(words), "{given}: {error}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
    for (given, option, words) in [
        (json!({"fsync": "never"}), "fsync", "a database of this process"),
        (json!({"token": 1_234_567}), "token", "must be a string"),
        (json!({"pool_size": -1}), "pool_size", "whole number"),
        (json!({"retry": [1]}), "retry", "object"),
        (json!({"retry": {"attempts": "x"}}), "retry.attempts", "whole number"),
        (json!({"tls": ["a"]}), "tls", "object"),
        (json!({"tls": {"client_cert": "c"}}), "tls", "client_key"),
        (json!({"tls": {"cert": "c"}}), "tls.cert", "there are ca"),
    ] {
        let error = remote(Remote::default(), given.clone()).unwrap_err();
        assert_eq!(error.context()["option"], option, "{given}");
        assert!(error.message().contains(words), "{given}: {error}");
        assert!(!format!("{error:?}").contains("1234567"), "{error:?}");
    }
}

#[test]
fn a_url_and_an_option_do_not_say_the_same() {
    let of_url = || Remote {
        token: Some("s3cret".into()),
        tls: Some(TlsOptions { insecure: true, ..TlsOptions::default() }),
        ..Remote::default()
    };
    for (given, words) in [
        (json!({"token": "t"}), "leave one out"),
        (json!({"tls": false}), "asks for TLS"),
        (json!({"tls": {"ca": "c"}}), "leave one out"),
    ] {
        let error = remote(of_url(), given).unwrap_err();
        assert!(error.message().contains(words), "{error}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
    assert!(remote(of_url(), json!({"tls": true})).unwrap().tls.unwrap().insecure);
}
