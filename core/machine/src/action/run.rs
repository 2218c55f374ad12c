//! Runs actions.

use std::collections::{BTreeMap, VecDeque};

use rstmdb_types::fault::member_path;
use rstmdb_types::limits::DEPTH_MAX;
use rstmdb_types::{Json, Text};
use serde_json::{Map, Value};

use super::paths::InTheWay;
use super::{Action, ContextPath, Emission, Template, Verb};
use crate::expression::{EvaluationBudget, Meter, Scope};
use crate::warnings::shorten;

/// What a step has come to so far.
#[derive(Debug)]
pub(crate) struct ActionRun<'b> {
    /// The context as the actions left it.
    pub(crate) ctx: Json,
    /// The members of the context that were changed.
    pub(crate) touched: Vec<Text>,
    pub(crate) emitted: Vec<Emission>,
    /// What was raised and not handled yet.
    pub(crate) raised: VecDeque<(Text, Json)>,
    pub(crate) budget: &'b EvaluationBudget,
}

/// Why an action can't be done.
#[derive(Debug)]
pub(crate) struct ActionFailure {
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) expression: Option<String>,
    pub(crate) values: Map<String, Value>,
}

impl<'b> ActionRun<'b> {
    pub(crate) fn new(ctx: Json, budget: &'b EvaluationBudget) -> ActionRun<'b> {
        let (touched, emitted, raised) = (Vec::new(), Vec::new(), VecDeque::new());
        ActionRun { ctx, touched, emitted, raised, budget }
    }

    /// Runs actions one after the other, each on what the one before left.
    pub(crate) fn run(
        &mut self,
        actions: &[Action],
        scope: &Scope<'_>,
    ) -> Result<(), Box<ActionFailure>> {
        actions.iter().try_for_each(|action| self.run_one(action, scope))
    }

    fn run_one(&mut self, action: &Action, scope: &Scope<'_>) -> Result<(), Box<ActionFailure>> {
        // Who has no steps left is refused at the end, with what was found as its budget's error.
        if !self.budget.steps(1) {
            return Ok(());
        }
        let ctx = self.ctx.clone();
        let scope = Scope { ctx: ctx.root(), ..*scope };
        match &action.verb {
            Verb::Assign(places) => self.assign(action, places, &scope),
            Verb::Unset(places) => {
                places.iter().for_each(|place| self.unset(place));
                Ok(())
            }
            Verb::If { condition, then, otherwise } => {
                let holds = condition.holds(&scope, self.budget);
                self.run(if holds { then } else { otherwise }, &scope)
            }
            Verb::Raise { event, payload } => {
                self.budget.make(event.len());
                let payload = self.evaluate(action, payload, 0, &scope)?;
                self.raised.push_back((event.clone(), payload));
                Ok(())
            }
            Verb::Emit { kind, data } => {
                self.budget.make(kind.len());
                let data = self.evaluate(action, data, 0, &scope)?;
                self.emitted.push(Emission { kind: kind.clone(), data });
                Ok(())
            }
        }
    }

    /// The value at a depth of the context, which may not nest too deeply.
    fn evaluate(
        &self,
        action: &Action,
        template: &Template,
        depth: usize,
        scope: &Scope<'_>,
    ) -> Result<Json, Box<ActionFailure>> {
        let value = template.evaluate(scope, self.budget);
        if depth + value.depth() <= DEPTH_MAX {
            return Ok(value);
        }
        Err(Box::new(ActionFailure {
            path: action.path.to_string(),
            message: format!("its value nests deeper than {DEPTH_MAX} levels"),
            expression: template.expression().map(str::to_owned),
            values: Map::new(),
        }))
    }

    fn assign(
        &mut self,
        action: &Action,
        places: &[(ContextPath, Template)],
        scope: &Scope<'_>,
    ) -> Result<(), Box<ActionFailure>> {
        let mut members: BTreeMap<&Text, Json> = BTreeMap::new();
        if let (false, Some((place, template))) = (self.ctx.is_object(), places.first()) {
            return Err(blocked(action, place, template, InTheWay(0), scope));
        }
        for (place, template) in places {
            let value = self.evaluate(action, template, place.depth(), scope)?;
            let member = place.member();
            let before = match members.get(member) {
                Some(changed) => Some(changed.root()),
                None => scope.ctx.get(member),
            };
            let set = place
                .set(before, &value)
                .map_err(|in_the_way| blocked(action, place, template, in_the_way, scope))?;
            self.budget.make(set.as_str().len());
            members.insert(member, set);
        }
        self.touched.extend(members.keys().copied().cloned());
        let patch = Json::object(members.into_iter().map(|(name, value)| (name.as_str(), value)));
        self.merge(&patch);
        Ok(())
    }

    /// Merges an object into the context.
    pub(crate) fn merge(&mut self, members: &Json) {
        // Who may not look at the context any more goes on with the one that there is: the answer means nothing.
        if self.budget.look_at(self.ctx.as_str().len()) {
            self.ctx = self.ctx.merge(members);
        }
    }

    fn unset(&mut self, place: &ContextPath) {
        let member = place.member();
        let Some(before) = self.ctx.root().get(member) else { return };
        if !self.budget.look_at(self.ctx.as_str().len()) {
            return;
        }
        self.ctx = match place.unset(before) {
            Some(value) => self.ctx.merge(&Json::object([(member.as_str(), value)])),
            None => self.ctx.without(&[member.as_str()]),
        };
        self.touched.push(member.clone());
    }
}

/// Something that has no members stands in the way.
fn blocked(
    action: &Action,
    place: &ContextPath,
    template: &Template,
    InTheWay(names): InTheWay,
    scope: &Scope<'_>,
) -> Box<ActionFailure> {
    let found = place.names().take(names).try_fold(scope.ctx, |value, name| value.get(name));
    let way = std::iter::once("ctx").chain(place.names().take(names).map(Text::as_str));
    let way = way.collect::<Vec<_>>().join(".");
    let found = found.map_or(Value::Null, |value| Json::from_canonical(&value.text()).to_value());
    let message = format!(
        "{:?} can't be set: {way} is {}, which has no members",
        place.text(),
        shorten(&found.to_string())
    );
    Box::new(ActionFailure {
        path: member_path(&format!("{}.assign", action.path), place.text()),
        message,
        expression: template.expression().map(str::to_owned),
        values: Map::from_iter([(way, found)]),
    })
}
