//! What a URL means.

use rstmdb_engine::Location;
use rstmdb_types::error::reason;
use rstmdb_types::lookalike::Lookalike;
use rstmdb_types::{Error, Result};

use crate::clock::ManualClock;

/// Where a database is.
pub(crate) enum Target {
    /// In this process.
    Here(Location),
    /// On a server.
    #[cfg(feature = "remote")]
    There(Box<rstmdb_client::Options>),
}

/// Finds what `url` names: `mem:`, `file:PATH`, a bare path, or a server.
pub(crate) fn target(url: &str) -> Result<Target> {
    if !is_server(url) {
        return location(url).map(Target::Here);
    }
    #[cfg(feature = "remote")]
    return Ok(Target::There(Box::new(rstmdb_client::Options::from_url(url)?)));
    #[cfg(not(feature = "remote"))]
    Err(Error::invalid(
        reason::UNSUPPORTED,
        "this program was built without the part for servers (feature \"remote\" of rstmdb)",
    ))
}

/// Whether a database can be looked for at `url`; nothing is opened and nothing made.
///
/// Errors: `BAD_REQUEST`, reason `invalid_option`, for what looks like something else than a path, with
/// what to write instead.
///
/// ```
/// assert!(rstmdb::check_url("./data").is_ok());
/// assert!(rstmdb::check_url("localhost:7401").is_err());
/// ```
pub fn check_url(url: &str) -> Result<()> {
    target(url).map(drop)
}

/// Finds the directory that `url` names, for a database with a clock of its own.
pub(crate) fn with_clock(url: &str, clock: ManualClock) -> Result<Location> {
    if is_server(url) {
        let message = "a server has a clock of its own; a clock can be given to a database of this \
                       process alone";
        return Err(Error::invalid(reason::INVALID_OPTION, message).with("option", "clock"));
    }
    Ok(Location { clock: std::sync::Arc::new(clock), ..location(url)? })
}

fn is_server(url: &str) -> bool {
    url.starts_with("rstmdb://") || url.starts_with("rstmdbs://")
}

/// Finds the directory that `url` names. No message repeats a server's URL: it may hold a token.
pub(crate) fn location(url: &str) -> Result<Location> {
    if url == "mem:" {
        return Ok(Location::memory());
    }
    if is_server(url) {
        return Err(Error::invalid(
            reason::UNSUPPORTED,
            "a server keeps its own directory: name that one, where the server runs, while it is \
             stopped",
        ));
    }
    let path = directory(url).map_err(|way_out| {
        let shown = redacted(url);
        Error::invalid(reason::INVALID_OPTION, format!("can't open {shown:?}: {way_out}"))
            .with("url", shown)
    })?;
    Ok(Location::directory(path))
}

/// The path that `url` is; what looks like anything else is an error that says what to write, so that
/// a habit or a mistake makes no folder. `./` before it always makes it a path.
fn directory(url: &str) -> std::result::Result<&str, String> {
    let path = match url.strip_prefix("file:") {
        // `file:///data` is how other programs write an absolute path.
        Some(path) => match path.strip_prefix("//") {
            Some(rest) if rest.starts_with('/') => rest,
            Some(_) => return Err(FILE_HOST.to_owned()),
            None => path,
        },
        None => {
            if let Some(lookalike) = Lookalike::of(url) {
                return Err(way_out(lookalike).to_owned());
            }
            url
        }
    };
    match path {
        "" => Err(format!("there is no path; {USUAL}")),
        path => match Lookalike::of(path) {
            Some(other @ (Lookalike::Home | Lookalike::Variable | Lookalike::Nothing)) => {
                Err(way_out(other).to_owned())
            }
            _ => Ok(path),
        },
    }
}

const USUAL: &str = "use a path such as ./data, file:./data, mem:, or rstmdb://host";
const MEMORY: &str =
    "write mem: for a database in memory, or ./ before it for a folder of that name";
const SERVER: &str = "this looks like a server; write rstmdb:// before its address, or ./ before it for a \
                      folder of that name";
const SCHEME: &str = "a colon in the first part of a path looks like a URL; write ./ before it for a folder \
                      of that name; else use a path such as ./data, file:./data, mem:, or rstmdb://host";
const FILE_HOST: &str = "what stands between file:// and the next slash is a host; write file: before a \
                         relative path, file:/// before an absolute one";
const HOME: &str = "only a shell knows what ~ is; write the whole path, or ./ before it for a folder of that \
                    name";

const VARIABLE: &str = "only a shell knows variables; write the whole path, or ./ before it for a folder of that \
                        name";
const NOTHING: &str = "this is what programs write for a value that is not there; use a path such as ./data, or \
                       ./ before it for a folder of that name";

/// What to write in place of a text that was hardly meant as a path.
fn way_out(lookalike: Lookalike) -> &'static str {
    match lookalike {
        Lookalike::Memory => MEMORY,
        Lookalike::Server => SERVER,
        Lookalike::Url => SCHEME,
        Lookalike::Home => HOME,
        Lookalike::Variable => VARIABLE,
        Lookalike::Nothing => NOTHING,
    }
}

/// A URL as people may see it: a path is shown whole; of anything else, what stands before the last @, which may
/// be a token, and the parameters are left out.
///
/// ```
/// assert_eq!(rstmdb::shown_url("rstmdb://s3cret@host:7401?tls=true"), "rstmdb://…@host:7401");
/// assert_eq!(rstmdb::shown_url("./data@home"), "./data@home");
/// ```
pub fn shown_url(url: &str) -> String {
    match location(url) {
        Ok(_) => url.to_owned(),
        Err(_) => redacted(url),
    }
}

fn redacted(url: &str) -> String {
    let scheme = url.split_once("://").map(|(scheme, _)| format!("{scheme}://"));
    let scheme = scheme.unwrap_or_default();
    match url.split_once('?') {
        // A token with a ? that is not escaped: nobody can tell where it ends.
        Some((_, parameters)) if parameters.contains('@') => format!("{scheme}…"),
        parts => {
            let plain = parts.map_or(url, |(plain, _)| plain);
            match plain.rsplit_once('@') {
                Some((_, host)) => format!("{scheme}…@{host}"),
                None => plain.to_owned(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_shown() {
        for (url, shown) in [
            ("mem:", "mem:"),
            ("./data@home?x", "./data@home?x"),
            ("file:/srv/a@b", "file:/srv/a@b"),
            ("rstmdb://host:7401", "rstmdb://host:7401"),
            ("rstmdb://s3cret@host,other:1", "rstmdb://…@host,other:1"),
            ("rstmdbs://u:s3cret@h@host/", "rstmdbs://…@host/"),
            ("rstmdb://host?token=s3cret", "rstmdb://host"),
            ("rstmdb://s3?cret@host", "rstmdb://…"),
            ("rstmdb://host?token=s3@cret", "rstmdb://…"),
            ("rstmdb:s3cret@host", "…@host"),
            ("s3cret@host:7401", "…@host:7401"),
            ("redis://:s3cret@host/0", "redis://…@host/0"),
        ] {
            assert_eq!(shown_url(url), shown, "{url}");
            assert!(!shown_url(url).contains("cret"), "{url}");
        }
    }

    #[test]
    fn what_looks_like_something_else_is_no_path() {
        for (url, way_out) in [
            ("", "there is no path"),
            ("file:", "there is no path"),
            ("http://x", "looks like a URL"),
            ("sqlite:x.db", "looks like a URL"),
            ("backup-10:30:00x", "looks like a URL"),
            (":memory:", "write mem:"),
            (":mem", "write mem:"),
            ("mem:x", "write mem:"),
            ("MEM:", "write mem:"),
            (" mem:", "write mem:"),
            ("memory:", "write mem:"),
            ("localhost:7401", "write rstmdb://"),
            ("127.0.0.1:7401", "write rstmdb://"),
            ("[::1]:7401", "write rstmdb://"),
            ("::1", "write rstmdb://"),
            ("10.0.0.7", "write rstmdb://"),
            ("localhost", "write rstmdb://"),
            ("db-1.example.com:7401/x", "write rstmdb://"),
            ("rstmdb:host", "write rstmdb://"),
            ("RSTMDBS://host", "write rstmdb://"),
            ("rstmdb:/host", "write rstmdb://"),
            ("s3cret@host", "write rstmdb://"),
            ("rstmdb:s3cret@host:1?token=s3cret", "write rstmdb://"),
            ("~", "only a shell"),
            ("~/x", "only a shell"),
            ("~me/x", "only a shell"),
            ("file:~/x", "only a shell"),
            ("$HOME/x", "only a shell knows variables"),
            ("${DATA}", "only a shell knows variables"),
            ("$(pwd)/x", "only a shell knows variables"),
            ("%APPDATA%\\x", "only a shell knows variables"),
            ("file:$HOME/x", "only a shell knows variables"),
            ("undefined", "value that is not there"),
            ("undefined/orders", "value that is not there"),
            ("file:None", "value that is not there"),
            ("rstmdb//host", "write rstmdb://"),
            ("file://f3", "is a host"),
            ("file://~/x", "is a host"),
            ("FILE:x", "looks like a URL"),
        ] {
            let error = location(url).unwrap_err();
            assert_eq!(error.reason(), Some(reason::INVALID_OPTION), "{url}");
            assert!(error.message().contains(way_out), "{url}: {error}");
            assert!(!format!("{error:?}").contains("s3cret"), "{url}: {error:?}");
            if !url.is_empty() && !url.starts_with("file:") {
                // The way out leads somewhere.
                assert!(location(&format!("./{url}")).is_ok(), "{url}");
            }
        }
    }

    #[test]
    fn urls_name_places() {
        assert_eq!(location("./data").unwrap().name, "./data");
        assert_eq!(location("file:./data").unwrap().name, "./data");
        assert_eq!(location("file:///var/data").unwrap().name, "/var/data");
        assert_eq!(location("mem:").unwrap().name, "mem:");
        for path in [
            "./localhost:7401",
            "./~",
            "./:memory:",
            "/a:b",
            "a/b:c",
            "data.db",
            "a/~",
            "-x",
            "a$b",
            "$5",
            "100%",
            "%x",
            "./undefined",
            "nullable",
            "rstmdb",
            "rstmdb/x",
        ] {
            assert_eq!(location(path).unwrap().name, path);
        }
        assert_eq!(location("file:localhost:7401").unwrap().name, "localhost:7401");
        assert!(matches!(target("mem:"), Ok(Target::Here(_))));
        let error = location("rstmdb://s3cret@host:7401").unwrap_err();
        assert_eq!(error.reason(), Some(reason::UNSUPPORTED));
        assert!(!format!("{error:?}").contains("s3cret"));
        let error = location("redis://s3cret@host?token=s3cret").unwrap_err();
        assert!(error.message().contains("redis://…@host"), "{error}");
        assert!(!format!("{error:?}").contains("s3cret"));
    }
}
