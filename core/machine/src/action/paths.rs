//! Places in a context that actions change.

use rstmdb_types::{Json, JsonRef, Text};

/// The names that lead to a place, from the context's members on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContextPath {
    text: Text,
    names: Vec<Text>,
}

/// What stands in the way to a place: something that has no members, behind so many names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InTheWay(pub(crate) usize);

impl ContextPath {
    /// Reads `a.b`; None when a name is empty.
    pub(crate) fn parse(text: &str) -> Option<ContextPath> {
        let names: Vec<Text> = text.split('.').map(Text::from).collect();
        let is_path = names.iter().all(|name| !name.is_empty());
        is_path.then(|| ContextPath { text: text.into(), names })
    }

    /// As it is written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The member of the context that it begins with.
    pub(crate) fn member(&self) -> &Text {
        // `split` gives at least one.
        self.names.first().unwrap_or(&self.text)
    }

    pub(crate) fn depth(&self) -> usize {
        self.names.len()
    }

    /// The names, from the context on.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Text> {
        self.names.iter()
    }

    /// Whether one leads to the place of the other or into it.
    pub(crate) fn overlaps(&self, other: &ContextPath) -> bool {
        self.names.iter().zip(&other.names).all(|(one, two)| one == two)
    }

    /// The context's member with a new value at the place; objects are made on the way.
    pub(crate) fn set(&self, member: Option<JsonRef<'_>>, value: &Json) -> Result<Json, InTheWay> {
        set(member, self.names.get(1..).unwrap_or(&[]), value)
            .map_err(|left| InTheWay(self.names.len() - left))
    }

    /// The context's member without what is at the place; None where all of it goes.
    pub(crate) fn unset(&self, member: JsonRef<'_>) -> Option<Json> {
        match self.names.get(1..) {
            Some(rest @ [_, ..]) => Some(unset(member, rest)),
            _ => None,
        }
    }
}

/// The error is how many names are left where something has no members.
fn set(value: Option<JsonRef<'_>>, names: &[Text], new: &Json) -> Result<Json, usize> {
    let Some((name, rest)) = names.split_first() else { return Ok(new.clone()) };
    let object = match value {
        None | Some(JsonRef::Null) => Json::empty_object(),
        Some(JsonRef::Object(text)) => Json::from_canonical(text),
        Some(_) => return Err(names.len()),
    };
    let inner = set(object.root().get(name), rest, new)?;
    Ok(object.merge(&Json::object([(name.as_str(), inner)])))
}

fn unset(value: JsonRef<'_>, names: &[Text]) -> Json {
    let whole = Json::from_canonical(&value.text());
    let Some((name, rest)) = names.split_first() else { return whole };
    match value.get(name) {
        None => whole,
        Some(_) if rest.is_empty() => whole.without(&[name.as_str()]),
        Some(inner) => whole.merge(&Json::object([(name.as_str(), unset(inner, rest))])),
    }
}
