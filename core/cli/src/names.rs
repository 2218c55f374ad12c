//! Lists of names in options: commas separate, `\,` is a comma of a name, and the option may be
//! repeated. Any other backslash is itself.

use std::convert::Infallible;

use crate::quote::option;

/// The names of one use of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameList(Vec<String>);

/// Reads what was given to an option; nothing is refused.
pub(crate) fn parse(text: &str) -> Result<NameList, Infallible> {
    let mut names = vec![String::new()];
    let mut rest = text;
    while let Some(at) = rest.find(',') {
        let (before, behind) = (rest.get(..at).unwrap_or_default(), rest.get(at + 1..));
        if let Some(name) = names.last_mut() {
            match before.strip_suffix('\\') {
                Some(escaped) => name.extend([escaped, ","]),
                None => name.push_str(before),
            }
        }
        if !before.ends_with('\\') {
            names.push(String::new());
        }
        rest = behind.unwrap_or_default();
    }
    if let Some(name) = names.last_mut() {
        name.push_str(rest);
    }
    Ok(NameList(names))
}

/// The names of all uses of an option.
pub(crate) fn all(lists: &[NameList]) -> impl Iterator<Item = &str> {
    lists.iter().flat_map(|list| &list.0).map(String::as_str)
}

/// A name as an element of such a list.
pub(crate) fn element(name: &str) -> String {
    name.replace(',', "\\,")
}

/// What stands before the last element, its comma included, and the name that the element is so far.
pub(crate) fn last_element(text: &str) -> (&str, String) {
    let is_comma = |at: &usize| !text.get(..*at).is_some_and(|before| before.ends_with('\\'));
    let start = text.rmatch_indices(',').map(|(at, _)| at).find(is_comma).map_or(0, |at| at + 1);
    let (kept, element) = text.split_at(start);
    (kept, element.replace("\\,", ","))
}

/// Whether a comma in these lists might be one of a name.
pub(crate) fn is_in_doubt(lists: &[NameList]) -> bool {
    lists.iter().any(|list| list.0.len() > 1)
}

/// What to write for a stored name that the commas of a list took apart.
pub(crate) fn hint<'a>(
    option_name: &str,
    lists: &[NameList],
    stored: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let is_apart = |name: &str| {
        let parts: Vec<&str> = name.split(',').collect();
        let in_list = |list: &NameList| {
            list.0.windows(parts.len()).any(|window| window.iter().eq(parts.iter()))
        };
        parts.len() > 1 && lists.iter().any(in_list)
    };
    let name = stored.into_iter().find(|name| is_apart(name))?;
    let meant = option(option_name, &element(name));
    Some(format!("commas separate the names of a list; for the stored name {name:?} write {meant}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        parse(text).unwrap().0
    }

    #[test]
    fn commas_separate_unless_a_backslash_stands_before() {
        assert_eq!(list("a,b"), ["a", "b"]);
        assert_eq!(list(r"k\,l"), ["k,l"]);
        assert_eq!(list(r"a,k\,l\,m,b"), ["a", "k,l,m", "b"]);
        assert_eq!(list(r"a\b,c\"), [r"a\b", r"c\"]);
        assert_eq!(list(r"a\\,b"), [r"a\,b"]);
        assert_eq!(list(""), [""]);
        assert_eq!(list("a,,"), ["a", "", ""]);
        for name in ["", ",", "k,l", r"a\,b", r"\\,", "a,,b"] {
            assert_eq!(list(&element(name)), [name]);
        }
    }

    #[test]
    fn the_element_that_is_typed_is_known() {
        assert_eq!(last_element("a"), ("", "a".to_owned()));
        assert_eq!(last_element(r"a,k\,l"), ("a,", "k,l".to_owned()));
        assert_eq!(last_element(r"k\,l,"), (r"k\,l,", String::new()));
    }

    #[test]
    fn a_stored_name_that_was_taken_apart_is_named() {
        let lists =
            |texts: &[&str]| texts.iter().map(|text| parse(text).unwrap()).collect::<Vec<_>>();
        let stored = ["a", "k,l", "x"];
        let hint = |texts: &[&str]| hint("--machines", &lists(texts), stored);
        assert_eq!(
            hint(&["a,k,l"]).unwrap(),
            r#"commas separate the names of a list; for the stored name "k,l" write --machines 'k\,l'"#
        );
        for texts in [&["a,x"] as &[&str], &[r"k\,l"], &["k", "l"], &["l,k"]] {
            assert_eq!(hint(texts), None, "{texts:?}");
        }
    }
}
