//! What a URL means.

use std::sync::Arc;

use rstmdb_engine::{Engine, Location, Options};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, Result};

/// Opens what `url` names: `mem:`, `file:PATH` or a bare path.
pub(crate) fn open(url: &str, options: Options) -> Result<Arc<Engine>> {
    Ok(Arc::new(Engine::open(location(url)?, options)?))
}

pub(crate) fn location(url: &str) -> Result<Location> {
    if url == "mem:" {
        return Ok(Location::memory());
    }
    if url.starts_with("rstmdb://") || url.starts_with("rstmdbs://") {
        return Err(Error::invalid(
            reason::UNSUPPORTED,
            "the client for servers comes with the next release; open a directory or \"mem:\"",
        )
        .with("url", url));
    }
    let path = url.strip_prefix("file:").unwrap_or(url);
    // `file:///data` is how other programs write an absolute path.
    let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    if path.is_empty() || scheme.is_some_and(|scheme| scheme != "file") {
        return Err(Error::invalid(
            reason::INVALID_OPTION,
            format!("can't open {url:?}; use a path such as ./data, file:./data, or mem:"),
        )
        .with("url", url));
    }
    Ok(Location::directory(path))
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
        let error = location("rstmdb://host:7401").unwrap_err();
        assert_eq!(error.reason(), Some(reason::UNSUPPORTED));
    }
}
