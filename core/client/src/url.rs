//! What an `rstmdb://` URL says.
//!
//! A URL can hold a token, so no message ever repeats more of it than the name of a parameter or a
//! host.

use std::path::PathBuf;
use std::time::Duration;

use rstmdb_protocol::ReadMode;
use rstmdb_types::{Error, Result};

use crate::endpoint::split;
use crate::error::invalid_option;
use crate::options::{Endpoint, Options, TlsOptions};

const PARAMETERS: &str = "token, tls, ca, cert, key, server_name, insecure, connect_timeout, \
                          request_timeout, pool, read, zone, max_lag";

impl Options {
    /// Whether a URL names a server.
    pub fn is_server(url: &str) -> bool {
        url.starts_with("rstmdb://") || url.starts_with("rstmdbs://")
    }

    /// Reads `rstmdb://[TOKEN@]HOST[:PORT][,HOST[:PORT]…][?PARAMETER=VALUE&…]`; `rstmdbs://` is the
    /// same with TLS.
    ///
    /// The first host that answers says where the others are, and who takes writes. Parameters: `token`, `tls` (`true`, `false`), `ca`, `cert`, `key` (paths of PEM files),
    /// `server_name`, `insecure`, `connect_timeout`, `request_timeout` (`5s`, `500ms`, `1m`, `0` for
    /// ever), `pool`, `read` (`linearizable`, `lease`, `session`, `bounded`, `any`), `zone`, and `max_lag` with
    /// `read=bounded`. Any parameter of TLS switches it on. `%XX` stands for a byte.
    ///
    /// Errors: `BAD_REQUEST`, reason `invalid_option`, for anything else.
    ///
    /// ```
    /// use rstmdb_client::Options;
    /// let options = Options::from_url("rstmdb://s3cret@db-1,db-2:7402?request_timeout=2s")?;
    /// assert_eq!(options.endpoints[0].to_string(), "db-1:7401");
    /// assert_eq!(options.endpoints[1].to_string(), "db-2:7402");
    /// assert!(!format!("{options:?}").contains("s3cret"));
    /// # Ok::<(), rstmdb_types::Error>(())
    /// ```
    pub fn from_url(url: &str) -> Result<Options> {
        let (secure, rest) = if let Some(rest) = url.strip_prefix("rstmdbs://") {
            (true, rest)
        } else if let Some(rest) = url.strip_prefix("rstmdb://") {
            (false, rest)
        } else {
            return Err(invalid_option(
                "url",
                "a server's URL begins with rstmdb:// or rstmdbs://",
            ));
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A path can't hold an @ that is not part of a token, so the token goes first.
        let (token, hosts) = match place.rsplit_once('@') {
            Some((token, hosts)) => (Some(decode("token", token)?), hosts),
            None => (None, place),
        };
        let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
        let mut options = Options { endpoints: endpoints(hosts)?, ..Options::default() };
        options.token = token.filter(|token| !token.is_empty());
        let mut tls = Tls { wanted: secure.then_some(true), ..Tls::default() };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            parameter(&mut options, &mut tls, name, value)?;
        }
        options.tls = tls.options()?;
        options.check_reads()?;
        Ok(options)
    }
}

impl Options {
    /// What is said about reads fits together.
    pub(crate) fn check_reads(&self) -> Result<()> {
        match (self.read, self.max_lag) {
            (ReadMode::Bounded, None) => Err(invalid_option(
                "max_lag",
                "read=bounded needs to know how far behind is too far; add max_lag, such as 5s",
            )),
            (ReadMode::Bounded, Some(_)) | (_, None) => Ok(()),
            (_, Some(_)) => {
                let message = "max_lag is for read=bounded; add that, or leave max_lag out";
                Err(invalid_option("max_lag", message))
            }
        }
    }
}

/// What the parameters say about TLS.
#[derive(Default)]
struct Tls {
    wanted: Option<bool>,
    options: Option<TlsOptions>,
}

impl Tls {
    fn set(&mut self) -> &mut TlsOptions {
        self.options.get_or_insert_default()
    }

    fn options(self) -> Result<Option<TlsOptions>> {
        match (self.wanted, self.options) {
            (Some(false), Some(_)) => {
                Err(invalid_option("tls", "tls=false contradicts the other parameters of TLS"))
            }
            (Some(false) | None, None) => Ok(None),
            (_, options) => {
                let options = options.unwrap_or_default();
                if options.client_cert.is_some() != options.client_key.is_some() {
                    return Err(invalid_option("cert", "cert and key belong together; give both"));
                }
                Ok(Some(options))
            }
        }
    }
}

fn parameter(options: &mut Options, tls: &mut Tls, name: &str, value: &str) -> Result<()> {
    let text = || decode(name, value);
    let path = || text().map(PathBuf::from);
    match name {
        "token" if options.token.is_some() => {
            return Err(invalid_option("token", "the URL has two tokens; leave one out"));
        }
        "token" => options.token = Some(text()?),
        "tls" => {
            let wanted = boolean(name, &text()?)?;
            if tls.wanted == Some(true) && !wanted {
                return Err(invalid_option("tls", "rstmdbs:// means TLS; use rstmdb:// without"));
            }
            tls.wanted = Some(wanted);
        }
        "ca" => tls.set().ca = Some(path()?),
        "cert" => tls.set().client_cert = Some(path()?),
        "key" => tls.set().client_key = Some(path()?),
        "server_name" => tls.set().server_name = Some(text()?),
        "insecure" => {
            if boolean(name, &text()?)? {
                tls.set().insecure = true;
            }
        }
        "connect_timeout" => options.connect_timeout = duration(name, &text()?)?,
        "request_timeout" => options.request_timeout = duration(name, &text()?)?,
        "pool" => {
            let size = text()?.parse().ok().filter(|size| (1..=64).contains(size));
            options.pool_size =
                size.ok_or_else(|| invalid_option(name, "pool must be a number from 1 to 64"))?;
        }
        "read" => {
            let known =
                || ReadMode::ALL.iter().map(|mode| mode.name()).collect::<Vec<_>>().join(", ");
            options.read = ReadMode::from_name(&text()?)
                .ok_or_else(|| invalid_option(name, format!("read must be one of {}", known())))?;
        }
        "zone" => {
            let zone = text()?;
            if zone.is_empty() {
                return Err(invalid_option(name, "zone is empty; name the zone of this client"));
            }
            options.zone = Some(zone);
        }
        "max_lag" => {
            let lag = duration(name, &text()?)?;
            if lag.is_zero() {
                let message = "max_lag must be above 0; who must not be behind reads linearizable";
                return Err(invalid_option(name, message));
            }
            options.max_lag = Some(lag);
        }
        // The name of a misspelt token parameter is shown, its value never.
        _ => {
            let message =
                format!("unknown parameter {name:?} in the server's URL; known are {PARAMETERS}");
            return Err(invalid_option("url", message));
        }
    }
    Ok(())
}

fn endpoints(hosts: &str) -> Result<Vec<Endpoint>> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for endpoint in hosts.split(',').map(endpoint) {
        let endpoint = endpoint?;
        if endpoints.contains(&endpoint) {
            let message = format!("{endpoint} stands twice in the server's URL; leave one out");
            return Err(invalid_option("url", message));
        }
        endpoints.push(endpoint);
    }
    Ok(endpoints)
}

fn endpoint(text: &str) -> Result<Endpoint> {
    let (host, port) = split(text).map_err(|what| {
        let message = format!("{what} in the server's URL; write HOST, HOST:PORT or [IPv6]:PORT");
        invalid_option("url", message)
    })?;
    Ok(Endpoint { host: decode("url", host)?, port })
}

fn boolean(name: &str, text: &str) -> Result<bool> {
    match text {
        "true" | "1" | "" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(invalid_option(name, format!("{name} must be true or false"))),
    }
}

fn duration(name: &str, text: &str) -> Result<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let bad = || invalid_option(name, format!("{name} must be like 5s, 500ms, 1m, or 0 for ever"));
    let number: u64 = number.parse().map_err(|_| bad())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "M" => {
            let message = format!(
                "{name} has two readings: {text} can mean minutes or months; write {number}m for \
                 minutes"
            );
            return Err(invalid_option(name, message));
        }
        "" if number == 0 => 0,
        _ => return Err(bad()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(bad)
}

/// Undoes `%XX`. The value is not repeated in the error: it may be a token.
fn decode(name: &str, text: &str) -> Result<String> {
    let bad = || -> Error {
        invalid_option(name, format!("{name} has a % that is not followed by two hex digits"))
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(bad()) };
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| bad())?);
    }
    String::from_utf8(bytes).map_err(|_| invalid_option(name, format!("{name} is not UTF-8")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rstmdb_types::error::reason;

    use super::*;

    fn hosts(url: &str) -> String {
        let endpoints = Options::from_url(url).unwrap().endpoints;
        endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn hosts_have_ports_and_friends() {
        assert_eq!(hosts("rstmdb://localhost"), "localhost:7401");
        assert_eq!(hosts("rstmdb://a:1,b,[::1]:2,[fe80::1]/"), "a:1 b:7401 [::1]:2 [fe80::1]:7401");
        assert_eq!(hosts("rstmdbs://x%2dy"), "x-y:7401");
    }

    #[test]
    fn a_token_may_stand_in_two_places() {
        let token = |url: &str| Options::from_url(url).unwrap().token;
        assert_eq!(token("rstmdb://host"), None);
        assert_eq!(token("rstmdb://@host"), None);
        assert_eq!(token("rstmdb://a%40b:c@host").as_deref(), Some("a@b:c"));
        assert_eq!(token("rstmdb://p@ss@host").as_deref(), Some("p@ss"));
        assert_eq!(token("rstmdb://host?token=x%26y%3D").as_deref(), Some("x&y="));
    }

    #[test]
    fn parameters_are_read() {
        let url = "rstmdb://h?connect_timeout=500ms&request_timeout=0&pool=4&ca=/a%20b&cert=c&key=k\
                   &server_name=n&insecure=true&tls=true";
        let options = Options::from_url(url).unwrap();
        assert_eq!(options.connect_timeout, Duration::from_millis(500));
        assert_eq!(options.request_timeout, Duration::ZERO);
        assert_eq!(options.pool_size, 4);
        let tls = options.tls.unwrap();
        assert_eq!(tls.ca, Some(PathBuf::from("/a b")));
        assert_eq!(tls.server_name.as_deref(), Some("n"));
        assert!(tls.insecure && tls.client_cert.is_some() && tls.client_key.is_some());
        assert!(Options::from_url("rstmdb://h").unwrap().tls.is_none());
        assert!(Options::from_url("rstmdb://h?insecure=false").unwrap().tls.is_none());
        assert!(Options::from_url("rstmdb://h?tls=true").unwrap().tls.is_some());
        assert!(Options::from_url("rstmdbs://h").unwrap().tls.is_some());
    }

    #[test]
    fn reads_are_as_fresh_as_the_url_says() {
        let options =
            Options::from_url("rstmdb://a:1,b,c/?read=bounded&max_lag=5s&zone=eu%2d1").unwrap();
        assert_eq!(
            (options.read, options.max_lag),
            (ReadMode::Bounded, Some(Duration::from_secs(5)))
        );
        assert_eq!(options.zone.as_deref(), Some("eu-1"));
        for mode in ReadMode::ALL.iter().filter(|mode| **mode != ReadMode::Bounded) {
            let url = format!("rstmdb://a,b?read={}", mode.name());
            assert_eq!(Options::from_url(&url).unwrap().read, *mode);
        }
        assert_eq!(Options::from_url("rstmdb://a,b").unwrap().read, ReadMode::Linearizable);
    }

    #[test]
    fn what_is_not_understood_is_refused_and_secrets_are_not_repeated() {
        for (url, expected) in [
            ("http://h", "rstmdb://"),
            ("rstmdb://", "no host"),
            ("rstmdb://a,,b", "no host"),
            ("rstmdb://a:0", "port"),
            ("rstmdb://a:70000", "port"),
            ("rstmdb://a:b", "port"),
            ("rstmdb://s3cret@a:b", "port"),
            ("rstmdb://[::1", "bracket"),
            ("rstmdb://[::1]x", "bracket"),
            ("rstmdb://h/db", "path"),
            ("rstmdb://h?tokn=s3cret", "tokn"),
            ("rstmdb://s3cret@h?token=s3cret", "two tokens"),
            ("rstmdb://s3cret%zz@h", "token"),
            ("rstmdb://h?token=s3cret%f", "token"),
            ("rstmdb://h?token=%ff", "token"),
            ("rstmdb://h?pool=0", "pool"),
            ("rstmdb://h?connect_timeout=5", "connect_timeout"),
            ("rstmdb://h?connect_timeout=s", "connect_timeout"),
            ("rstmdb://h?connect_timeout=5M", "can mean minutes or months; write 5m"),
            ("rstmdb://h?request_timeout=99999999999999999999s", "request_timeout"),
            ("rstmdb://h?tls=maybe", "tls"),
            ("rstmdb://a,b,a:7401", "a:7401 stands twice"),
            ("rstmdb://a,b:x", "port"),
            ("rstmdb://a, b", "path"),
            ("rstmdb://,a", "no host"),
            ("rstmdb://a,", "no host"),
            (
                "rstmdb://a,b?read=",
                "read must be one of linearizable, lease, session, bounded, any",
            ),
            ("rstmdb://a,b?read=Any", "read must be one of"),
            ("rstmdb://a,b?read=bounded", "add max_lag"),
            ("rstmdb://a,b?max_lag=5s", "max_lag is for read=bounded"),
            ("rstmdb://a,b?read=any&max_lag=5s", "max_lag is for read=bounded"),
            ("rstmdb://a,b?read=bounded&max_lag=0", "max_lag must be above 0"),
            ("rstmdb://a,b?read=bounded&max_lag=5", "max_lag must be like"),
            ("rstmdb://a,b?zone=", "zone is empty"),
            ("rstmdb://a,b?zones=x", "unknown parameter \"zones\""),
            ("rstmdb://h?tls=false&ca=x", "tls"),
            ("rstmdbs://h?tls=false", "rstmdbs"),
            ("rstmdbs://h?cert=x", "cert and key"),
        ] {
            let error = Options::from_url(url).unwrap_err();
            assert_eq!(error.reason(), Some(reason::INVALID_OPTION), "{url}");
            assert!(error.message().contains(expected), "{url}: {error}");
            assert!(!format!("{error:?}").contains("s3cret"), "{url}: {error:?}");
        }
    }
}
