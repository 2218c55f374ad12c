//! What a URL means.

use rstmdb_engine::Location;
use rstmdb_types::error::reason;
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
    let path = url.strip_prefix("file:").unwrap_or(url);
    // `file:///data` is how other programs write an absolute path.
    let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    if path.is_empty() || scheme.is_some_and(|scheme| scheme != "file") {
        let shown = redacted(url);
        let message = format!(
            "can't open {shown:?}; use a path such as ./data, file:./data, mem:, or rstmdb://host"
        );
        return Err(Error::invalid(reason::INVALID_OPTION, message).with("url", shown));
    }
    Ok(Location::directory(path))
}

/// A URL without what stands before the last @ of its host, and without its parameters.
fn redacted(url: &str) -> String {
    let plain = url.split_once('?').map_or(url, |(plain, _)| plain);
    match (plain.split_once("://"), plain.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => plain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_places() {
        assert_eq!(location("./data").unwrap().name, "./data");
        assert_eq!(location("file:./data").unwrap().name, "./data");
        assert_eq!(location("file:///var/data").unwrap().name, "/var/data");
        assert_eq!(location("mem:").unwrap().name, "mem:");
        for url in ["", "file:", "http://x"] {
            assert_eq!(location(url).unwrap_err().reason(), Some(reason::INVALID_OPTION), "{url}");
        }
        assert!(matches!(target("mem:"), Ok(Target::Here(_))));
        let error = location("rstmdb://s3cret@host:7401").unwrap_err();
        assert_eq!(error.reason(), Some(reason::UNSUPPORTED));
        assert!(!format!("{error:?}").contains("s3cret"));
        let error = location("redis://s3cret@host?token=s3cret").unwrap_err();
        assert!(error.message().contains("redis://…@host"), "{error}");
        assert!(!format!("{error:?}").contains("s3cret"));
    }
}
