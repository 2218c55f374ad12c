//! Reads a definition from JSON: its members, their types, and the names they refer to.
//!
//! Refuses what can't mean anything, with the path of the culprit and what to write instead; what
//! the existing server lets pass (unknown keys, say) is collected as warnings.

use std::collections::{HashMap, HashSet};

use rstmdb_types::fault::member_path;
use rstmdb_types::json::unescape;
use rstmdb_types::{Error, Json, JsonRef, Limits, Result, Text, limits};

use crate::action::{Action, ActionReader, Reading};
use crate::expression::{Guard, Integers};
use crate::invalid::{invalid, kind};
use crate::keys::{
    DEFINITION_KEYS, DefinitionKey, LATER_DEFINITION_KEYS, LATER_STATE_KEYS, LATER_TRANSITION_KEYS,
    STATE_KEYS, TRANSITION_KEYS,
};
use crate::merge::PayloadMerge;
use crate::warnings::{DefinitionDoubt, Warning, Warnings, shorten};
use rstmdb_types::names::nearest;

/// The highest language level there is, which definitions are put with if they need it.
pub const LANGUAGE_LEVEL: u32 = 2;

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
    pub(crate) merge: Option<PayloadMerge>,
    /// What states have beside their names, in the order of `states`.
    pub(crate) bodies: Vec<StateBody>,
}

/// What a state has beside its name.
#[derive(Debug, Default)]
pub(crate) struct StateBody {
    pub(crate) entry: Vec<Action>,
    pub(crate) exit: Vec<Action>,
    /// Canonical JSON text of `entry`, `exit` and `meta`, as far as they are there.
    pub(crate) written: [Option<String>; 3],
}

impl StateBody {
    pub(crate) fn is_empty(&self) -> bool {
        self.written.iter().all(Option::is_none)
    }
}

impl Definition {
    /// The language level that it needs.
    pub(crate) fn level(&self) -> u32 {
        let is_later = self.merge.is_some()
            || self.bodies.iter().any(|body| !body.is_empty())
            || self.transitions.iter().any(WrittenTransition::is_later);
        let guards = self.transitions.iter().filter_map(|transition| transition.guard.as_ref());
        let of_guards = guards.map(Guard::level).max().unwrap_or(1);
        if is_later { LANGUAGE_LEVEL } else { of_guards }
    }
}

/// One transition as it was written.
#[derive(Debug)]
pub(crate) struct WrittenTransition {
    pub(crate) from: Vec<Text>,
    /// None for one that is always taken.
    pub(crate) event: Option<Text>,
    /// None where nothing is left or entered.
    pub(crate) to: Option<Text>,
    pub(crate) guard: Option<Guard>,
    pub(crate) merge: Option<PayloadMerge>,
    pub(crate) actions: Vec<Action>,
    /// Canonical JSON text of `actions`.
    pub(crate) written: Option<String>,
}

impl WrittenTransition {
    /// Whether it has something that the first language level did not have.
    fn is_later(&self) -> bool {
        self.event.is_none() || self.to.is_none() || self.merge.is_some() || self.written.is_some()
    }
}

/// Parsed guards may take this much, however short the definition is: parsing one for each event costs
/// a fifth of the events per second.
const PARSED_BYTES_MIN: usize = 16 << 10;

/// Reads a definition of a language level; `limits` is None for one that was accepted before.
pub(crate) fn read(
    definition: &Json,
    limits: Option<&Limits>,
    integers: Integers,
    level: u32,
) -> Result<(Definition, Warnings)> {
    if let Some(limits) = limits {
        let size = definition.as_str().len();
        limits::check("definition", size, "definition_bytes_max", limits.definition_bytes_max)?;
    }
    // Guards are kept parsed as far as that takes no more memory than the definition itself, or little:
    // those of most definitions all are, and thousands of terms without much else are not.
    let room = definition.as_str().len().max(PARSED_BYTES_MIN);
    let reading = Reading { limits, integers, room };
    let reader = DefinitionReader { reading, level, warnings: Warnings::default() };
    reader.read(definition.root())
}

struct DefinitionReader<'a> {
    reading: Reading<'a>,
    level: u32,
    warnings: Warnings,
}

impl DefinitionReader<'_> {
    fn read(mut self, root: JsonRef<'_>) -> Result<(Definition, Warnings)> {
        if !matches!(root, JsonRef::Object(_)) {
            return Err(invalid("", format_args!("must be an object, found {}", kind(root))));
        }
        let [states, initial, transitions, final_states, meta, merge] =
            self.members(root, "", &DEFINITION_KEYS, &LATER_DEFINITION_KEYS)?;

        let (states, bodies, own_finals) = self.states(states.value("")?, states.key.value)?;
        self.check_count("states", states.len(), "states_max", |limits| limits.states_max)?;
        let known: HashSet<&str> = states.iter().map(Text::as_str).collect();
        let known = KnownNames { order: &states, set: known };

        let initial = self.name("initial", initial.value("")?, "the name of a state")?;
        known.check("initial", &initial)?;

        let mut final_states = match final_states.value("")? {
            JsonRef::Null => Vec::new(),
            value => self.names("final", value, final_states.key.value)?,
        };
        for (i, name) in final_states.iter().enumerate() {
            known.check(&format!("final[{i}]"), name)?;
        }

        for name in own_finals {
            if !final_states.contains(&name) {
                final_states.push(name);
            }
        }

        let transitions = self.transitions(transitions.value("")?, &known, &final_states)?;
        drop(known);
        let meta = match meta.value("")? {
            JsonRef::Null => None,
            meta => Some(meta.text().into_owned()),
        };
        let merge = self.merge("merge", merge.value("")?, merge.key.value)?;
        let definition =
            Definition { states, initial, transitions, final_states, meta, merge, bodies };
        Ok((definition, self.warnings))
    }

    /// The names of states, what they have beside them, and which say that they are final.
    fn states(
        &mut self,
        list: JsonRef<'_>,
        expected: &str,
    ) -> Result<(Vec<Text>, Vec<StateBody>, Vec<Text>)> {
        if !matches!(list, JsonRef::Array(_)) {
            return Err(wrong_type("states", expected, list));
        }
        let (mut names, mut bodies, mut finals) = (Vec::new(), Vec::new(), Vec::new());
        for (i, item) in list.elements().enumerate() {
            if !matches!(item, JsonRef::Object(_)) {
                names.push(self.name_with(|| format!("states[{i}]"), item, "a name")?);
                bodies.push(StateBody::default());
                continue;
            }
            let path = format!("states[{i}]");
            let (name, body, is_final) = self.state(&path, item)?;
            if is_final {
                finals.push(name.clone());
            }
            names.push(name);
            bodies.push(body);
        }
        let mut seen = HashMap::new();
        for (i, (name, body)) in names.iter().zip(&bodies).enumerate() {
            let has_body = !StateBody::is_empty(body);
            let first = *seen.entry(name.as_str()).or_insert((i, has_body));
            if first.0 != i && (has_body || first.1) {
                let message = format!("repeats state {:?}; take one out", shorten(name));
                return Err(invalid(&format!("states[{i}]"), message));
            }
        }
        Ok((names, bodies, finals))
    }

    fn state(&mut self, path: &str, item: JsonRef<'_>) -> Result<(Text, StateBody, bool)> {
        let [name, entry, exit, is_final, meta] =
            self.members(item, path, &STATE_KEYS, &LATER_STATE_KEYS)?;
        let name = self.name(&format!("{path}.name"), name.value(path)?, name.key.value)?;
        let written = |found: &Found<'_>| {
            let value = found.member.filter(|value| *value != JsonRef::Null);
            value.map(|value| value.text().into_owned())
        };
        let body = StateBody {
            written: [&entry, &exit, &meta].map(written),
            entry: self.actions(&format!("{path}.entry"), entry.value(path)?)?,
            exit: self.actions(&format!("{path}.exit"), exit.value(path)?)?,
        };
        let is_final = match is_final.value(path)? {
            JsonRef::Null => false,
            JsonRef::Bool(value) => value,
            other => return Err(wrong_type(&format!("{path}.final"), is_final.key.value, other)),
        };
        Ok((name, body, is_final))
    }

    fn actions(&mut self, path: &str, list: JsonRef<'_>) -> Result<Vec<Action>> {
        ActionReader(&mut self.reading).list(path, list)
    }

    fn merge(
        &mut self,
        path: &str,
        value: JsonRef<'_>,
        expected: &str,
    ) -> Result<Option<PayloadMerge>> {
        Ok(match value {
            JsonRef::Null => None,
            JsonRef::Bool(true) => Some(PayloadMerge::All),
            JsonRef::Bool(false) => Some(PayloadMerge::Nothing),
            value => {
                let names = self.names(path, value, expected)?;
                Some(PayloadMerge::Names(names.into_iter().collect()))
            }
        })
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
        let [from, event, to, guard, always, merge, actions] =
            self.members(item, path, &TRANSITION_KEYS, &LATER_TRANSITION_KEYS)?;
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
        let is_always = match always.value(path)? {
            JsonRef::Null => false,
            JsonRef::Bool(true) => true,
            other => return Err(wrong_type(&format!("{path}.always"), always.key.value, other)),
        };
        if is_always && event.member.is_some() {
            let message = "stands beside `always`; a transition has one of them";
            return Err(invalid(&format!("{path}.event"), message));
        }
        let event = match is_always {
            true => None,
            false => {
                let value = event.needed(path)?;
                Some(self.name(&format!("{path}.event"), value, event.key.value)?)
            }
        };
        let written = actions.value(path)?;
        let has_actions = written != JsonRef::Null;
        let actions = self.actions(&format!("{path}.actions"), written)?;
        let to = match to.value(path)? {
            JsonRef::Null if has_actions => None,
            _ => {
                let value = to.needed(path)?;
                let name = self.name(&format!("{path}.to"), value, to.key.value)?;
                known.check_with(|| format!("{path}.to"), &name)?;
                Some(name)
            }
        };
        let guard = match guard.value(path)? {
            JsonRef::Null => None,
            value => Some(self.guard(&format!("{path}.guard"), value, guard.key.value)?),
        };
        let merge = self.merge(&format!("{path}.merge"), merge.value(path)?, merge.key.value)?;
        let written = has_actions.then(|| written.text().into_owned());
        Ok(WrittenTransition { from, event, to, guard, merge, actions, written })
    }

    fn guard(&mut self, path: &str, value: JsonRef<'_>, expected: &str) -> Result<Guard> {
        let JsonRef::String(raw) = value else {
            return Err(wrong_type(path, expected, value));
        };
        let text = unescape(raw);
        let reading = &mut self.reading;
        reading.check(path, text.len(), "guard_bytes_max", |limits| limits.guard_bytes_max)?;
        Guard::parse_at(&text, path, reading.integers, &mut reading.room)
    }

    /// Picks the known members of an object, refuses those of `later` and warns of the others.
    fn members<'a, const N: usize>(
        &mut self,
        object: JsonRef<'a>,
        path: &str,
        known: &'static [DefinitionKey; N],
        later: &[&str],
    ) -> Result<[Found<'a>; N]> {
        let mut found = known.each_ref().map(|key| Found { key, member: None });
        let mut unknown = Vec::new();
        for member in object.members() {
            let name = unescape(member.raw_key);
            match found.iter_mut().find(|found| found.key.name == name) {
                // What was stored before it meant something means nothing.
                Some(found) if found.key.level > self.level => {}
                Some(found) => found.member = Some(member.value()),
                None if self.level > 1 && later.contains(&name.as_ref()) => {
                    let message = "has a meaning that this release does not know yet; take it out";
                    return Err(invalid(&member_path(path, &name), message));
                }
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
        Ok(found)
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
        if let Some(limits) = self.reading.limits
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
        self.reading.check(path, count, setting, limit)
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
            None => self.needed(path),
        }
    }

    /// The value of one that has to be there after all.
    fn needed(&self, path: &str) -> Result<JsonRef<'a>> {
        self.member.ok_or_else(|| {
            let DefinitionKey { name, value, .. } = self.key;
            let path = member_path(path, name);
            invalid(&path, format_args!("is missing; add {value}"))
        })
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
        let (definition, _) =
            read(&Json::parse(&text).unwrap(), None, Integers::OrFloats, LANGUAGE_LEVEL).unwrap();
        let guards = definition.transitions.iter().filter_map(|one| one.guard.as_ref());
        guards.filter(|guard| guard.is_kept()).count() * 100 / transitions
    }

    #[test]
    fn guards_of_usual_machines_stay_parsed_and_thousands_do_not() {
        assert_eq!(kept(10), 100);
        assert!(kept(10_000) < 50);
    }
}
