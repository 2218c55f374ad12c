//! Texts that stand where a path is wanted and are hardly meant as one: habits of other programs, addresses, URLs.
//! Who wants a path refuses them and says what to write; `./` before it always makes it a path.

/// What a text looks like that is no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookalike {
    /// A database in memory: `:memory:`, `mem:`.
    Memory,
    /// A server or its address: `rstmdb://host`, `localhost:7401`.
    Server,
    /// Some other URL.
    Url,
    /// A path that begins with `~`, which only a shell knows.
    Home,
    /// A path that begins with a variable: `$HOME/x`, `${DATA}`, `%APPDATA%`.
    Variable,
    /// What programs write for a value that is not there: `undefined`, `None`.
    Nothing,
}

impl Lookalike {
    /// What a text looks like; none when it can be taken as a path.
    pub fn of(text: &str) -> Option<Lookalike> {
        if text.starts_with('~') {
            return Some(Lookalike::Home);
        }
        if cfg!(windows)
            && matches!(text.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic())
        {
            return None;
        }
        let (first, rest) = text.split_at(text.find(['/', '\\']).unwrap_or(text.len()));
        if is_variable(first.trim()) {
            return Some(Lookalike::Variable);
        }
        if matches!(first.trim(), "undefined" | "null" | "None" | "nil") {
            return Some(Lookalike::Nothing);
        }
        let lower = first.trim().to_ascii_lowercase();
        let scheme = lower.split_once(':').map(|(scheme, _)| scheme);
        let is_port = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let host = lower.rsplit_once(':').filter(|(_, port)| is_port(port)).map(|(host, _)| host);
        match scheme {
            Some("" | "mem" | "memory") if host.is_none() => Some(Lookalike::Memory),
            Some("rstmdb" | "rstmdbs") => Some(Lookalike::Server),
            None if matches!(&*lower, "rstmdb" | "rstmdbs") && rest.starts_with("//") => {
                Some(Lookalike::Server)
            }
            _ if host.is_some() || lower.contains('@') || lower == "localhost" => {
                Some(Lookalike::Server)
            }
            _ if lower.trim_matches(['[', ']']).parse::<core::net::IpAddr>().is_ok() => {
                Some(Lookalike::Server)
            }
            Some(_) => Some(Lookalike::Url),
            None => None,
        }
    }
}

/// Whether a shell, or a command interpreter of Windows, would put something else in its place.
fn is_variable(text: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    match text.strip_prefix('$') {
        Some(name) => name.starts_with(|c: char| is_first(c) || "{(".contains(c)),
        None => text.strip_prefix('%').and_then(|rest| rest.split_once('%')).is_some_and(
            |(name, behind)| {
                // `%ProgramFiles(x86)%` is one, too.
                let is_part = |c: char| c.is_ascii_alphanumeric() || "_()".contains(c);
                let is_name = name.starts_with(is_first) && name.chars().all(is_part);
                // In `%C3%A9` both stand for bytes.
                is_name && !is_byte(name) && !behind.get(..2).is_some_and(is_byte)
            },
        ),
    }
}

/// Whether it is what URLs write for a byte, behind its `%`.
fn is_byte(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_windows_is_a_whole_name_and_no_bytes_of_a_url() {
        for variable in [
            "%APPDATA%",
            "%APPDATA%\\x",
            "%TEMP%/x",
            " %HOME% ",
            "%DATA%-old/x",
            "%D2_x%",
            "%FACE%",
            "%_%",
            "%ProgramFiles(x86)%\\x",
            "%A%%B%",
        ] {
            assert_eq!(Lookalike::of(variable), Some(Lookalike::Variable), "{variable}");
        }
        for path in [
            "%C3%A9t%C3%A9",
            "%C3%A9t%C3%A9/x",
            "%c3%a9",
            "%e9t%e9",
            "%AB%",
            "%20x%20",
            "%3f",
            "100%",
            "%x",
            "%",
            "%%",
            "%a b%",
            "%a-b%",
            "%é%é",
            "x%APPDATA%",
        ] {
            assert_eq!(Lookalike::of(path), None, "{path}");
        }
    }
}
