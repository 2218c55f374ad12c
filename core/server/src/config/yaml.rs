//! A YAML document as texts, lists and mappings.
//!
//! Scalars keep their spelling: a hash that looks like a number stays what was written. A key that
//! occurs twice is an error, and every error says where.

use rstmdb_types::error::reason;
use rstmdb_types::{Error, Result};
use saphyr::{MarkedYaml, YamlData, YamlLoader};
use saphyr_parser::{Parser, ScalarStyle, Tag};

/// A node of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct YamlNode {
    /// The tag without `!`, as in `!every_n 100`.
    pub tag: Option<String>,
    pub value: YamlValue,
    /// The line it is on; 0 when it comes from elsewhere.
    pub line: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum YamlValue {
    /// Nothing, `~` or `null`.
    Null,
    Text(String),
    List(Vec<YamlNode>),
    Mapping(Vec<(YamlNode, YamlNode)>),
}

impl YamlNode {
    /// A text that does not come from a document.
    pub fn text(text: impl Into<String>) -> YamlNode {
        YamlNode { tag: None, value: YamlValue::Text(text.into()), line: 0 }
    }

    /// Reads a document; an empty one is `Null`.
    pub fn parse(text: &str) -> Result<YamlNode> {
        let mut loader = YamlLoader::<MarkedYaml<'_>>::default();
        loader.early_parse(false);
        let mut parser = Parser::new_from_str(text);
        let scanned = parser.load(&mut loader, true);
        if let Some(error) = scanned.as_ref().err().or(loader.error()) {
            let line = error.marker().line();
            let message = format!("line {line}: {}", error.info());
            return Err(Error::invalid(reason::INVALID_OPTION, message));
        }
        let mut documents = loader.into_documents();
        match (documents.pop(), documents.is_empty()) {
            (None, _) => Ok(YamlNode { tag: None, value: YamlValue::Null, line: 1 }),
            (Some(document), true) => convert(document),
            (Some(_), false) => Err(Error::invalid(
                reason::INVALID_OPTION,
                "there is more than one document in it; keep one",
            )),
        }
    }
}

fn convert(node: MarkedYaml<'_>) -> Result<YamlNode> {
    let line = node.span.start.line();
    let tag_name = |tag: &Tag| (tag.handle == "!").then(|| tag.suffix.clone());
    let (tag, value) = match node.data {
        YamlData::Representation(text, style, tag) => {
            let plain = style == ScalarStyle::Plain && tag.is_none();
            let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
            let value = if null { YamlValue::Null } else { YamlValue::Text(text.into_owned()) };
            (tag.and_then(|tag| tag_name(&tag)), value)
        }
        YamlData::Sequence(items) => {
            (None, YamlValue::List(items.into_iter().map(convert).collect::<Result<_>>()?))
        }
        YamlData::Mapping(members) => {
            let pair = |(key, value)| Ok((convert(key)?, convert(value)?));
            (None, YamlValue::Mapping(members.into_iter().map(pair).collect::<Result<_>>()?))
        }
        YamlData::Tagged(tag, inner) => {
            let inner = convert(*inner)?;
            (tag_name(&tag), inner.value)
        }
        YamlData::Value(_) | YamlData::Alias(_) | YamlData::BadValue => {
            return Err(Error::invalid(
                reason::INVALID_OPTION,
                format!("line {line}: an alias without its anchor"),
            ));
        }
    };
    Ok(YamlNode { tag, value, line })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_keep_their_spelling_and_their_tag() {
        let node = YamlNode::parse("a: 0012e45\nb: !every_n 100\nc: [x, 'null']\nd:\n").unwrap();
        let YamlValue::Mapping(members) = node.value else { panic!("not a mapping") };
        let values: Vec<_> = members.into_iter().map(|(_, value)| value).collect();
        assert_eq!(values[0].value, YamlValue::Text("0012e45".into()));
        assert_eq!(values[1].tag.as_deref(), Some("every_n"));
        assert_eq!(values[1].value, YamlValue::Text("100".into()));
        let YamlValue::List(items) = &values[2].value else { panic!("not a list") };
        assert_eq!(items[1].value, YamlValue::Text("null".into()));
        assert_eq!(values[3].value, YamlValue::Null);
        assert_eq!(values[3].line, 4);
    }

    #[test]
    fn refuses_what_is_ambiguous_and_says_where() {
        for (text, part) in [
            ("a: 1\na: 2\n", "line 2: duplicate"),
            ("a: [1\nb: 2\n", "line 2"),
            ("a: 1\n---\nb: 2\n", "more than one document"),
            ("a: *nowhere\n", "line 1"),
        ] {
            let error = YamlNode::parse(text).unwrap_err();
            assert!(error.message().contains(part), "{text:?}: {error}");
        }
        assert_eq!(YamlNode::parse("# nothing\n").unwrap().value, YamlValue::Null);
    }
}
