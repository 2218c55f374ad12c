//! Words as a shell takes them, so that what is advised can be run: POSIX shells, and ours.

use crate::clean::is_hidden;

/// A word as a shell takes it.
///
/// What a terminal would obey or hide is written by its bytes, as `$'\033'`.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    if !word.chars().any(is_hidden) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    let mut out = String::from("$'");
    for c in word.chars() {
        match c {
            '\'' | '\\' => out.extend(['\\', c]),
            // Three octal digits are read as they stand, whatever follows them.
            c if is_hidden(c) => c
                .encode_utf8(&mut [0; 4])
                .bytes()
                .for_each(|byte| out.push_str(&format!("\\{byte:03o}"))),
            c => out.push(c),
        }
    }
    out + "'"
}

/// An argument without an option, the last of its line: it may begin with a dash.
pub(crate) fn argument(word: &str) -> String {
    let dashes = if word.starts_with('-') { "-- " } else { "" };
    format!("{dashes}{}", quote(word))
}

/// An option with its value, which may begin with a dash.
pub(crate) fn option(name: &str, value: &str) -> String {
    let between = if value.starts_with('-') { '=' } else { ' ' };
    format!("{name}{between}{}", quote(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::words::split;

    const WORDS: [&str; 13] = [
        "o-1",
        "",
        "o 1",
        "it's",
        "a\\",
        "$HOME `id` $(id) !! \"x\" & ; | > # ~ * ?",
        "-x",
        "--yes",
        "\u{1b}[31mred'\\",
        "two\nlines\t1",
        "\u{202e}evil\u{200b}7",
        "\u{9b}7",
        "é\u{301}日本",
    ];

    #[test]
    fn words_of_our_shell_come_back() {
        for word in WORDS {
            let quoted = quote(word);
            assert!(!quoted.chars().any(is_hidden), "{quoted:?}");
            assert_eq!(split(&quoted).unwrap(), [word], "{quoted}");
        }
        assert_eq!(argument("-x"), "-- -x");
        assert_eq!(option("--path", "-x y"), "--path='-x y'");
    }

    /// Needs a shell that knows `$'…'`; where there is none our own one is the test.
    #[test]
    #[cfg(unix)]
    fn words_of_a_shell_come_back() {
        let Ok(_) = std::process::Command::new("bash").arg("--version").output() else { return };
        for word in WORDS {
            let script = format!("printf %s {}", quote(word));
            let printed =
                std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(printed.stdout).unwrap(), word, "{script}");
        }
    }
}
