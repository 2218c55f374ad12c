//! Reads a definition from JSON: its members, their types, and the names they refer to.
//!
//! Refuses what can't mean anything, with the path of the culprit and what to write instead; what
//! the existing server lets pass (unknown keys, say) is collected as warnings.

use std::collections::HashSet;

use rstmdb_types::error::reason;
use rstmdb_types::fault::member_path;
use rstmdb_types::json::unescape;
use rstmdb_types::{Error, Json, JsonRef, Limits, Result, Text, limits};

use crate::guard::{Guard, Integers};
use crate::keys::{DEFINITION_KEYS, DefinitionKey, TRANSITION_KEYS};
use crate::warnings::{DefinitionDoubt, Warning, Warnings, shorten};
use rstmdb_types::names::nearest;

/// The source that stands for every state without a transition of its own for the event.
pub(crate) const WILDCARD: &str = "*";

/// A definition as it was written, with every reference checked.
#[derive(Debug)]
pub(crate) struct Definition {
    /// As written, repeats included.
    pub(crate) states: Vec<Text>,
    pub(crate) initial: Text,
    pub(crate) transitions: Vec<WrittenTransition>,
    /// As written, repeats included.
    pub(crate) final_states: Vec<Text>,
    /// Canonical JSON text.
    pub(crate) meta: Option<String>,
}

/// One transition as it was written.
#[derive(Debug)]
pub(crate) struct WrittenTransition {
    pub(crate) from: Vec<Text>,
    pub(crate) event: Text,
    pub(crate) to: Text,
    pub(crate) guard: Option<Guard>,
}

/// Parsed guards may take this much, however short the definition is: parsing one for each event costs
/// a fifth of the events per second.
const PARSED_BYTES_MIN: usize = 16 << 10;

/// Reads a definition; `limits` is None for one that was accepted before.
pub(crate) fn read(
    definition: &Json,
    limits: Option<&Limits>,
    integers: Integers,
) -> Result<(Definition, Warnings)> {
    if let Some(limits) = limits {
        let size = definition.as_str().len();
        limits::check("definition", size, "definition_bytes_max", limits.definition_bytes_max)?;
    }
    // Guards are kept parsed as far as that takes no more memory than the definition itself, or little:
    // those of most definitions all are, and thousands of terms without much else are not.
    let room = definition.as_str().len().max(PARSED_BYTES_MIN);
    let reader = DefinitionReader { limits, integers, warnings: Warnings::default(), room };
    reader.read(definition.root())
}

/// An error that names the place in the definition.
pub(crate) fn invalid(path: &str, message: impl std::fmt::Display) -> Error {
    let message = match path {
        "" => format!("definition {message}"),
        path => format!("definition: {path} {message}"),
    };
    Error::invalid(reason::INVALID_DEFINITION, message).with("path", path)
}

struct DefinitionReader<'a> {
    limits: Option<&'a Limits>,
    integers: Integers,
    warnings: Warnings,
    /// What parsed guards may still take.
    room: usize,
}

impl DefinitionReader<'_> {
    fn read(mut self, root: JsonRef<'_>) -> Result<(Definition, Warnings)> {
        if !matches!(root, JsonRef::Object(_)) {
            return Err(invalid("", format_args!("must be an object, found {}", kind(root))));
        }
        let [states, initial, transitions, final_states, meta] =
            self.members(root, "", &DEFINITION_KEYS);

        let states = self.names("states", states.value("")?, states.key.value)?;
        self.check_count("states", states.len(), "states_max", |limits| limits.states_max)?;
        let known: HashSet<&str> = states.iter().map(Text::as_str).collect();
        let known = KnownNames { order: &states, set: known };

        let initial = self.name("initial", initial.value("")?, "the name of a state")?;
        known.check("initial", &initial)?;

        let final_states = match final_states.value("")? {
            JsonRef::Null => Vec::new(),
            value => self.names("final", value, final_states.key.value)?,
        };
        for (i, name) in final_states.iter().enumerate() {
            known.check(&format!("final[{i}]"), name)?;
        }

        let transitions = self.transitions(transitions.value("")?, &known, &final_states)?;
        drop(known);
        let meta = match meta.value("")? {
            JsonRef::Null => None,
            meta => Some(meta.text().into_owned()),
        };
        let definition = Definition { states, initial, transitions, final_states, meta };
        Ok((definition, self.warnings))
    }

    fn transitions(
        &mut self,
        list: JsonRef<'_>,
        known: &KnownNames<'_>,
        final_states: &[Text],
    ) -> Result<Vec<WrittenTransition>> {
        if !matches!(list, JsonRef::Array(_)) {
            return Err(wrong_type("transitions", "a list of transitions", list));
        }
        let finals: HashSet<&str> = final_states.iter().map(Text::as_str).collect();
        let mut transitions = Vec::new();
        let mut sources = 0;
        for (i, item) in list.elements().enumerate() {
            let path = format!("transitions[{i}]");
            let transition = self.transition(&path, item, known, &finals)?;
            sources += transition.from.len().max(1);
            self.check_count("transitions", sources, "transitions_max", |limits| {
                limits.transitions_max
            })?;
            transitions.push(transition);
        }
        Ok(transitions)
    }

    fn transition(
        &mut self,
        path: &str,
        item: JsonRef<'_>,
        known: &KnownNames<'_>,
        finals: &HashSet<&str>,
    ) -> Result<WrittenTransition> {
        if !matches!(item, JsonRef::Object(_)) {
            return Err(wrong_type(path, "an object with from, event and to", item));
        }
        let [from, event, to, guard] = self.members(item, path, &TRANSITION_KEYS);
        let from_path = format!("{path}.from");
        let from_kind = from.key.value;
        let from = from.value(path)?;
        let single = matches!(from, JsonRef::String(_));
        let from = match single {
            true => vec![self.name(&from_path, from, from_kind)?],
            false => self.names(&from_path, from, from_kind)?,
        };
        for (i, name) in from.iter().enumerate() {
            let at = || if single { from_path.clone() } else { format!("{from_path}[{i}]") };
            if name == WILDCARD && !known.set.contains(WILDCARD) {
                continue;
            }
            known.check_with(at, name)?;
            if finals.contains(name.as_str()) {
                return Err(invalid(
                    &at(),
                    format_args!(
                        "is {name:?}, a final state, which no event leaves; \
                         take it out of final or out of from"
                    ),
                ));
            }
        }
        let event = self.name(&format!("{path}.event"), event.value(path)?, event.key.value)?;
        let to = self.name(&format!("{path}.to"), to.value(path)?, to.key.value)?;
        known.check_with(|| format!("{path}.to"), &to)?;
        let guard = match guard.value(path)? {
            JsonRef::Null => None,
            value => Some(self.guard(&format!("{path}.guard"), value, guard.key.value)?),
        };
        Ok(WrittenTransition { from, event, to, guard })
    }

    fn guard(&mut self, path: &str, value: JsonRef<'_>, expected: &str) -> Result<Guard> {
        let JsonRef::String(raw) = value else {
            return Err(wrong_type(path, expected, value));
        };
        let text = unescape(raw);
        if let Some(limits) = self.limits {
            limits::check(path, text.len(), "guard_bytes_max", limits.guard_bytes_max)
                .map_err(|error| error.with("path", path))?;
        }
        Guard::parse_at(&text, path, self.integers, &mut self.room)
    }

    /// Picks the known members of an object and warns of the others.
    fn members<'a, const N: usize>(
        &mut self,
        object: JsonRef<'a>,
        path: &str,
        known: &'static [DefinitionKey; N],
    ) -> [Found<'a>; N] {
        let mut found = known.each_ref().map(|key| Found { key, member: None });
        let mut unknown = Vec::new();
        for member in object.members() {
            let name = unescape(member.raw_key);
            match found.iter_mut().find(|found| found.key.name == name) {
                Some(found) => found.member = Some(member.value()),
                None => unknown.push(name),
            }
        }
        for name in unknown {
            // A key that is there can't be the one that was meant.
            let free = found.iter().filter(|found| found.member.is_none());
            let suggestion = nearest(&name, free.map(|found| found.key.name))
                .or_else(|| nearest(&name, known.iter().map(|key| key.name)));
            self.warnings.add_with(DefinitionDoubt::UnknownKey, || {
                let name = shorten(&name);
                let advice = match suggestion {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => "take it out, or put it under meta".to_owned(),
                };
                let message = format!("key {name:?} is not known and has no effect; {advice}");
                Warning { path: member_path(path, &name), message, suggestion }
            });
        }
        found
    }

    fn names(&self, path: &str, value: JsonRef<'_>, expected: &str) -> Result<Vec<Text>> {
        if !matches!(value, JsonRef::Array(_)) {
            return Err(wrong_type(path, expected, value));
        }
        let items = value.elements().enumerate();
        items.map(|(i, item)| self.name_with(|| format!("{path}[{i}]"), item, "a name")).collect()
    }

    fn name(&self, path: &str, value: JsonRef<'_>, expected: &str) -> Result<Text> {
        self.name_with(|| path.to_owned(), value, expected)
    }

    fn name_with(
        &self,
        path: impl Fn() -> String,
        value: JsonRef<'_>,
        expected: &str,
    ) -> Result<Text> {
        let JsonRef::String(raw) = value else {
            return Err(wrong_type(&path(), expected, value));
        };
        let name = unescape(raw);
        if let Some(limits) = self.limits
            && let Err(error) = limits.check_name("a name in the definition", &name)
        {
            return Err(error.with("path", path()));
        }
        Ok(Text::from(name.as_ref()))
    }

    fn check_count(
        &self,
        path: &str,
        count: usize,
        setting: &str,
        limit: impl Fn(&Limits) -> usize,
    ) -> Result<()> {
        let Some(limits) = self.limits else { return Ok(()) };
        limits::check(path, count, setting, limit(limits)).map_err(|error| error.with("path", path))
    }
}

/// A member as it was found in a definition.
#[derive(Clone, Copy)]
struct Found<'a> {
    key: &'static DefinitionKey,
    member: Option<JsonRef<'a>>,
}

impl<'a> Found<'a> {
    /// The value; null where an optional one is absent.
    fn value(&self, path: &str) -> Result<JsonRef<'a>> {
        match self.member {
            Some(value) => Ok(value),
            None if !self.key.required => Ok(JsonRef::Null),
            None => {
                let DefinitionKey { name, value, .. } = self.key;
                let path = member_path(path, name);
                Err(invalid(&path, format_args!("is missing; add {value}")))
            }
        }
    }
}

/// The names a definition may refer to.
struct KnownNames<'a> {
    order: &'a [Text],
    set: HashSet<&'a str>,
}

impl KnownNames<'_> {
    fn check(&self, path: &str, name: &str) -> Result<()> {
        self.check_with(|| path.to_owned(), name)
    }

    fn check_with(&self, path: impl Fn() -> String, name: &str) -> Result<()> {
        if self.set.contains(name) {
            return Ok(());
        }
        let advice = match nearest(name, self.order.iter().map(Text::as_str)) {
            Some(near) => format!("did you mean {near:?}?"),
            None => "add it to states".to_owned(),
        };
        let name = shorten(name);
        Err(invalid(&path(), format_args!("is {name:?}, which is not in states; {advice}")))
    }
}

fn wrong_type(path: &str, expected: &str, found: JsonRef<'_>) -> Error {
    invalid(path, format_args!("must be {expected}, found {}", kind(found)))
}

/// What a value is, for a message.
fn kind(value: JsonRef<'_>) -> &'static str {
    match value {
        JsonRef::Null => "null",
        JsonRef::Bool(_) => "a boolean",
        JsonRef::Number(_) => "a number",
        JsonRef::String(_) => "a string",
        JsonRef::Array(_) => "a list",
        JsonRef::Object(_) => "an object",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// How many of the guards of a machine with this many transitions are kept parsed, for each 100.
    fn kept(transitions: usize) -> usize {
        let guard = "ctx.total >= 100 && payload.count < 7 || ctx.vip && !(ctx.n > 1 || ctx.m > 2)";
        let one = format!(r#"{{"from":"a","event":"E","to":"a","guard":"{guard}"}}"#);
        let list = vec![one; transitions].join(",");
        let text = format!(r#"{{"states":["a"],"initial":"a","transitions":[{list}]}}"#);
        let (definition, _) = read(&Json::parse(&text).unwrap(), None, Integers::OrFloats).unwrap();
        let guards = definition.transitions.iter().filter_map(|one| one.guard.as_ref());
        guards.filter(|guard| guard.is_kept()).count() * 100 / transitions
    }

    #[test]
    fn guards_of_usual_machines_stay_parsed_and_thousands_do_not() {
        assert_eq!(kept(10), 100);
        assert!(kept(10_000) < 50);
    }
}
