//! Lines that hold a secret: they go into no history, neither the file nor the one of the arrow keys.

/// Whether a line gives a token: to `hash-token`, in an option, or in the address of a server.
pub(super) fn is_secret(words: &[String]) -> bool {
    let gives_token = words.first().is_some_and(|first| first == "hash-token") && words.len() > 1;
    gives_token || words.iter().any(|word| is_token_option(word) || is_address_with_token(word))
}

/// As clap reads it: the value may stand in the word itself or be the next one.
fn is_token_option(word: &str) -> bool {
    let name = word.split('=').next().unwrap_or_default();
    name == "--token" || name == "--from-token" || is_short(word, 't')
}

fn is_short(word: &str, letter: char) -> bool {
    word.strip_prefix('-').is_some_and(|rest| rest.starts_with(letter))
}

/// `TOKEN@HOST`, in a URL or without. An id that looks so is left out too, which does no harm.
fn is_address_with_token(word: &str) -> bool {
    let address = word.split_once('=').filter(|_| word.starts_with('-')).map_or(word, |(_, v)| v);
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split(['/', '?']).next().is_some_and(|hosts| hosts.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::words::split;

    #[test]
    fn lines_with_tokens_are_known() {
        for line in [
            "hash-token s3cret",
            "hash-token --name ci s3cret",
            "ping --token s3cret",
            "ping --token=s3cret",
            "ping -t s3cret",
            "ping -ts3cret",
            "import-peer --from h --from-token s3cret",
            "import-peer --from rstmdb://s3cret@h:1/?ca=x",
            "import-peer --from=s3cret@h",
            "import-peer --from h --to s3cret@h",
        ] {
            assert!(is_secret(&split(line).unwrap()), "{line}");
        }
        for line in [
            "hash-token",
            "list-machines",
            "import-peer --from rstmdb://h/?note=a@b",
            "apply-event -i o-1 -e PAY --event-id token",
            "",
        ] {
            assert!(!is_secret(&split(line).unwrap()), "{line}");
        }
    }
}
