//! Reads actions from a definition.

use rstmdb_types::error::reason;
use rstmdb_types::fault::member_path;
use rstmdb_types::json::unescape;
use rstmdb_types::names::nearest;
use rstmdb_types::{JsonRef, Limits, Result, Text, limits};

use super::{Action, ContextPath, Template, Verb};
use crate::expression::{Expression, Integers};
use crate::invalid::{invalid, kind};
use crate::keys::{ACTION_KEYS, ActionKey, LATER_ACTIONS};
use crate::warnings::shorten;

/// What reading a definition goes by, and what it has left.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    /// None for a definition that was accepted before.
    pub(crate) limits: Option<&'a Limits>,
    pub(crate) integers: Integers,
    /// What is parsed may still take this much.
    pub(crate) room: usize,
}

impl Reading<'_> {
    /// Reads an expression, which is a string.
    pub(super) fn expression(&mut self, path: &str, value: JsonRef<'_>) -> Result<Expression> {
        let JsonRef::String(raw) = value else {
            let message =
                format!("must be an expression, which is a string, found {}", kind(value));
            return Err(invalid(path, message));
        };
        let text = unescape(raw);
        self.check(path, text.len(), "guard_bytes_max", |limits| limits.guard_bytes_max)?;
        let reason = reason::INVALID_EXPRESSION;
        Expression::parse_at(&text, path, reason, self.integers, &mut self.room)
    }

    pub(crate) fn check(
        &self,
        path: &str,
        size: usize,
        setting: &str,
        limit: impl Fn(&Limits) -> usize,
    ) -> Result<()> {
        let Some(limits) = self.limits else { return Ok(()) };
        limits::check(path, size, setting, limit(limits)).map_err(|error| error.with("path", path))
    }

    fn name(&self, path: &str, value: JsonRef<'_>, what: &str) -> Result<Text> {
        let JsonRef::String(raw) = value else {
            return Err(invalid(path, format!("must be {what}, found {}", kind(value))));
        };
        let name = unescape(raw);
        self.check(path, name.len(), "name_bytes_max", |limits| limits.name_bytes_max)?;
        Ok(Text::from(name.as_ref()))
    }
}

/// Reads a list of actions.
#[derive(Debug)]
pub(crate) struct ActionReader<'r, 'a>(pub(crate) &'r mut Reading<'a>);

impl ActionReader<'_, '_> {
    /// The actions at this path; none where there is null.
    pub(crate) fn list(&mut self, path: &str, value: JsonRef<'_>) -> Result<Vec<Action>> {
        if value == JsonRef::Null {
            return Ok(Vec::new());
        }
        if !matches!(value, JsonRef::Array(_)) {
            let message = format!("must be a list of actions, found {}", kind(value));
            return Err(invalid(path, message));
        }
        let count = value.elements().count();
        self.0.check(path, count, "actions_max", |limits| limits.actions_max)?;
        let items = value.elements().enumerate();
        items.map(|(i, item)| self.action(format!("{path}[{i}]"), item)).collect()
    }

    fn action(&mut self, path: String, value: JsonRef<'_>) -> Result<Action> {
        if !matches!(value, JsonRef::Object(_)) {
            let message = format!("must be an object such as {}, found {}", EXAMPLE, kind(value));
            return Err(invalid(&path, message));
        }
        let key = self.verb(&path, value)?;
        let part =
            |name: &str| (member_path(&path, name), value.get(name).unwrap_or(JsonRef::Null));
        let (at, given) = part(key.name);
        let verb = match key.name {
            "assign" => self.assign(&at, given)?,
            "unset" => self.unset(&at, given)?,
            "raise" => {
                let event = self.0.name(&at, given, "the name of an event")?;
                let (at, payload) = part("payload");
                Verb::Raise { event, payload: Template::read(&at, payload, self.0)? }
            }
            "emit" => {
                let kind = self.0.name(&at, given, "a type, which is a string")?;
                let (at, data) = part("data");
                Verb::Emit { kind, data: Template::read(&at, data, self.0)? }
            }
            _ => {
                let condition = self.0.expression(&at, given)?;
                let (then, otherwise) = (part("then"), part("else"));
                let then = self.list(&then.0, then.1)?;
                let otherwise = self.list(&otherwise.0, otherwise.1)?;
                Verb::If { condition, then, otherwise }
            }
        };
        Ok(Action { path: path.into(), verb })
    }

    /// What an action does: the one member that says so, beside those that belong to it.
    fn verb(&self, path: &str, value: JsonRef<'_>) -> Result<&'static ActionKey> {
        let mut found: Option<&'static ActionKey> = None;
        for member in value.members() {
            let name = unescape(member.raw_key);
            let Some(key) = ACTION_KEYS.iter().find(|key| key.name == name) else { continue };
            if let Some(first) = found {
                let message = format!(
                    "has both {:?} and {:?}; an action does one thing, write two in the list",
                    first.name, key.name
                );
                return Err(invalid(path, message));
            }
            found = Some(key);
        }
        let known =
            |name: &str| found.is_some_and(|key| key.name == name || key.parts.contains(&name));
        for member in value.members() {
            let name = unescape(member.raw_key);
            if known(&name) {
                continue;
            }
            let at = member_path(path, &shorten(&name));
            if LATER_ACTIONS.contains(&name.as_ref()) {
                let message = "is an action that this release does not have yet; take it out";
                return Err(invalid(&at, message));
            }
            let names = match found {
                Some(key) => key.parts.to_vec(),
                None => ACTION_KEYS.iter().map(|key| key.name).collect(),
            };
            let advice = match nearest(&name, names.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None if names.is_empty() => "take it out".to_owned(),
                None => format!("known are {}", names.join(", ")),
            };
            return Err(invalid(&at, format!("is no part of an action; {advice}")));
        }
        found.ok_or_else(|| {
            let names: Vec<_> = ACTION_KEYS.iter().map(|key| key.name).collect();
            let message = format!("does nothing; an action has one of {}", names.join(", "));
            invalid(path, message)
        })
    }

    fn assign(&mut self, path: &str, value: JsonRef<'_>) -> Result<Verb> {
        if !matches!(value, JsonRef::Object(_)) {
            let message = format!(
                "must be an object of paths and values such as {EXAMPLE}, found {}",
                kind(value)
            );
            return Err(invalid(path, message));
        }
        let mut places: Vec<(ContextPath, Template)> = Vec::new();
        for member in value.members() {
            let name = unescape(member.raw_key);
            let at = member_path(path, &name);
            let place = self.place(&at, &name)?;
            places.push((place, Template::read(&at, member.value(), self.0)?));
        }
        let mut sorted: Vec<_> = places.iter().map(|(place, _)| place).collect();
        sorted.sort_by(|one, two| one.names().cmp(two.names()));
        // One that leads into another stands right behind it, or behind another such.
        for (one, two) in sorted.iter().zip(sorted.iter().skip(1)) {
            if one.overlaps(two) {
                let message = format!(
                    "overlaps with {:?}; which comes first is told by a list: write two actions",
                    one.text()
                );
                return Err(invalid(&member_path(path, two.text()), message));
            }
        }
        Ok(Verb::Assign(places))
    }

    fn unset(&mut self, path: &str, value: JsonRef<'_>) -> Result<Verb> {
        if !matches!(value, JsonRef::Array(_)) {
            let message =
                format!("must be a list of paths such as [\"coupon\"], found {}", kind(value));
            return Err(invalid(path, message));
        }
        let mut places = Vec::new();
        for (i, item) in value.elements().enumerate() {
            let at = format!("{path}[{i}]");
            let name = self.0.name(&at, item, "a path, which is a string")?;
            places.push(self.place(&at, &name)?);
        }
        Ok(Verb::Unset(places))
    }

    fn place(&self, at: &str, text: &str) -> Result<ContextPath> {
        self.0.check(at, text.len(), "name_bytes_max", |limits| limits.name_bytes_max)?;
        ContextPath::parse(text).ok_or_else(|| {
            let message =
                "has an empty name; a path is written like \"customer.name\", without ctx";
            invalid(at, message)
        })
    }
}

/// An action as errors show one.
const EXAMPLE: &str = r#"{"assign": {"tries": {"$": "coalesce(ctx.tries, 0) + 1"}}}"#;
