//! The filter of the server's messages, as text.

use tracing_subscriber::EnvFilter;

const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// Parses a filter: a level, or `target=level` pairs with commas.
pub(crate) fn parse(text: &str) -> Result<EnvFilter, String> {
    for directive in text.split(',').map(str::trim) {
        let word = directive.to_ascii_lowercase();
        // A bare word is a target to the parser: a misspelt level would silence everything else.
        let slip = LEVELS.iter().find(|level| {
            word.starts_with(**level) || strsim::damerau_levenshtein(&word, level) <= 1
        });
        if let (false, false, Some(level)) =
            (word.contains(['=', '[']), LEVELS.contains(&word.as_str()), slip)
        {
            return Err(format!("{directive:?} is not a level; did you mean {level}?"));
        }
    }
    EnvFilter::try_new(with_library(text)).map_err(|error| error.to_string())
}

/// The library by which members agree says each heartbeat that is missed: what counts of that the server says itself.
fn with_library(text: &str) -> String {
    let is_off = text.split(',').any(|directive| directive.trim().eq_ignore_ascii_case("off"));
    match is_off || text.contains("openraft") {
        true => text.to_owned(),
        false => format!("openraft=error,{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_target() {
        for good in ["info", "WARN", "off", "info,rstmdb_server=debug", "hyper=off,trace", "rustls"]
        {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["infoo", "warning", "inf", "info,debgu", "a=loud", "=,="] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse("warning").unwrap_err().contains("did you mean warn?"));
    }
}
