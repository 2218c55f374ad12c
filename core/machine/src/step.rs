//! A step: what an event comes to, with all that it sets off in the machine itself.
//!
//! The guards see the context before the event. Then the payload is merged, the state is left, the
//! transition's actions run, the next state is entered; after that transitions that answer no event, and events
//! that were raised, until there are none. Each action sees what the one before left.

use std::collections::{BTreeSet, HashSet, VecDeque};

use rstmdb_types::error::reason;
use rstmdb_types::json::unescape;
use rstmdb_types::{Error, ErrorCode, Json, Result, Text};

use crate::action::{Action, ActionFailure, ActionRun, Emission};
use crate::expression::{EvaluationBudget, Scope};
use crate::machine::{Machine, Situation};
use crate::merge::PayloadMerge;
use crate::{EventId, StateId, refusal};

/// How many states an error of a machine that never rests names.
const SHOWN_STATES_MAX: usize = 8;

/// Where an instance rests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// Its state.
    pub state: StateId,
    /// Its context.
    pub ctx: Json,
    /// What was emitted on the way.
    pub emitted: Vec<Emission>,
    /// The numbers of the transitions that followed the first one.
    pub inner: Vec<u32>,
}

/// What an event did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stepped {
    /// The event.
    pub event: EventId,
    /// Where the instance rests after it.
    pub rest: Rest,
    /// How its payload was merged.
    pub merge: PayloadMerge,
    /// The members that the context has besides, merged after the payload; an object.
    pub patch: Json,
    /// The members that the context has no more.
    pub removed: Vec<Text>,
}

impl Machine {
    /// Does what an event does.
    ///
    /// # Errors
    ///
    /// As [`Machine::decide`], and `INVALID_TRANSITION` with the reasons `action_failed` and `never_rests`.
    pub fn step<'a>(&'a self, situation: &Situation<'a>, event: &'a str) -> Result<Stepped> {
        let budget = EvaluationBudget::new(situation.allowance);
        let (id, choice, _) = self.choose(situation, event, &budget)?;
        let null = Json::null();
        let payload = situation.payload.unwrap_or(&null);
        let merge = self.merge_of(choice);
        let merged = merge
            .pick(payload)
            .map_or_else(|| situation.ctx.clone(), |picked| situation.ctx.merge(&picked));
        let work = ActionRun::new(merged.clone(), &budget);
        let state = situation.state;
        let mut run =
            StepRun { machine: self, situation, state, work, inner: Vec::new(), what: "event" };
        run.take(choice, event, payload)?;
        run.settle(event, payload)?;
        let (rest, touched) = run.finish(event)?;
        let (patch, removed) = difference(&merged, &rest.ctx, touched);
        Ok(Stepped { event: id, rest, merge, patch, removed })
    }

    /// What a new instance does in its first state.
    ///
    /// # Errors
    ///
    /// As [`Machine::step`].
    pub fn begin(&self, situation: &Situation<'_>) -> Result<Rest> {
        let budget = EvaluationBudget::new(situation.allowance);
        let work = ActionRun::new(situation.ctx.clone(), &budget);
        let state = situation.state;
        let mut run =
            StepRun { machine: self, situation, state, work, inner: Vec::new(), what: "creation" };
        let payload = Json::null();
        run.run(self.actions_of(|doings| doings.entry.get(state as usize)), "", &payload)?;
        run.settle("", &payload)?;
        Ok(run.finish("")?.0)
    }

    fn merge_of(&self, transition: u32) -> PayloadMerge {
        let Some(doings) = &self.doings else { return PayloadMerge::All };
        let own = doings.merge.get(transition as usize).and_then(Option::as_ref);
        own.or(doings.default_merge.as_ref()).cloned().unwrap_or(PayloadMerge::All)
    }

    fn actions_of<'m>(
        &'m self,
        find: impl FnOnce(&'m crate::machine::Doings) -> Option<&'m Vec<Action>>,
    ) -> &'m [Action] {
        self.doings.as_ref().and_then(|doings| find(doings)).map_or(&[], Vec::as_slice)
    }
}

/// A step on its way.
struct StepRun<'r, 'a> {
    machine: &'r Machine,
    situation: &'r Situation<'a>,
    state: StateId,
    work: ActionRun<'r>,
    inner: Vec<u32>,
    /// What is refused, for messages.
    what: &'static str,
}

impl<'r> StepRun<'r, '_> {
    /// Takes a transition.
    fn take(&mut self, choice: u32, event: &str, payload: &Json) -> Result<()> {
        let machine = self.machine;
        let to = machine.transitions.get(choice as usize).and_then(|transition| transition.to);
        let from = self.state as usize;
        if to.is_some() {
            self.run(machine.actions_of(|doings| doings.exit.get(from)), event, payload)?;
        }
        self.run(machine.actions_of(|doings| doings.actions.get(choice as usize)), event, payload)?;
        let Some(to) = to else { return Ok(()) };
        self.state = to;
        self.run(machine.actions_of(|doings| doings.entry.get(to as usize)), event, payload)
    }

    fn run(&mut self, actions: &[Action], event: &str, payload: &Json) -> Result<()> {
        if actions.is_empty() {
            return Ok(());
        }
        let nothing = Json::empty_object();
        let scope = scope(self.machine, self.situation, self.state, &nothing, event, payload);
        self.work.run(actions, &scope).map_err(|failure| self.failed(*failure, event))
    }

    /// Goes on until nothing happens any more.
    fn settle(&mut self, event: &str, payload: &Json) -> Result<()> {
        let (mut name, mut data) = (Text::from(event), payload.clone());
        loop {
            if let Some(choice) = self.eventless(&name, &data) {
                self.follow(choice, &name, &data, event)?;
                continue;
            }
            let Some((raised, with)) = self.work.raised.pop_front() else { return Ok(()) };
            let Some(choice) = self.accepting(&raised, &with) else { continue };
            (name, data) = (raised, with);
            if let Some(picked) = self.machine.merge_of(choice).pick(&data) {
                self.work.merge(&picked);
                let members = picked.root().members();
                let names = members.map(|member| unescape(member.raw_key));
                self.work.touched.extend(names.map(|name| Text::from(name.as_ref())));
            }
            self.follow(choice, &name, &data, event)?;
        }
    }

    /// Takes a transition that no caller asked for.
    fn follow(&mut self, choice: u32, name: &str, data: &Json, event: &str) -> Result<()> {
        if let Some(error) = self.work.budget.error() {
            return Err(refusal::too_costly(error, self.situation, event));
        }
        if self.inner.len() as u64 >= self.situation.allowance.inner {
            return Err(self.never_rests(event));
        }
        self.inner.push(choice);
        self.take(choice, name, data)
    }

    /// The transition that is taken without an event.
    fn eventless(&self, event: &str, payload: &Json) -> Option<u32> {
        let choices = self.machine.choices(self.state, self.machine.always());
        self.first(choices, event, payload)
    }

    /// The transition that takes a raised event.
    fn accepting(&self, event: &str, payload: &Json) -> Option<u32> {
        let id = self.machine.event_id(event)?;
        self.first(self.machine.choices(self.state, id), event, payload)
    }

    fn first(&self, choices: &[u32], event: &str, payload: &Json) -> Option<u32> {
        if choices.is_empty() {
            return None;
        }
        let (machine, ctx) = (self.machine, &self.work.ctx);
        let scope = scope(machine, self.situation, self.state, ctx, event, payload);
        let budget = self.work.budget;
        let found = machine.first(choices, budget, |guard| guard.evaluate_counted(&scope, budget));
        found.map(|(choice, _)| choice)
    }

    fn finish(self, event: &str) -> Result<(Rest, Vec<Text>)> {
        if let Some(error) = self.work.budget.error() {
            return Err(refusal::too_costly(error, self.situation, event));
        }
        let ActionRun { ctx, emitted, touched, .. } = self.work;
        Ok((Rest { state: self.state, ctx, emitted, inner: self.inner }, touched))
    }

    fn failed(&self, failure: ActionFailure, event: &str) -> Error {
        // What an exhausted budget leaves means nothing.
        if let Some(error) = self.work.budget.error() {
            return refusal::too_costly(error, self.situation, event);
        }
        let message =
            format!("an action refuses the {}: {}: {}", self.what, failure.path, failure.message);
        let error = self.refusal(message, event).with_reason(reason::ACTION_FAILED);
        let error = match failure.expression {
            Some(expression) => error.with("expression", expression),
            None => error,
        };
        error.with("path", failure.path).with("values", failure.values)
    }

    fn never_rests(&self, event: &str) -> Error {
        let mut states: VecDeque<&str> = VecDeque::new();
        for choice in self.inner.iter().rev() {
            let to = self.machine.transitions.get(*choice as usize).and_then(|one| one.to);
            let name = to.and_then(|to| self.machine.states.name(to)).map_or("", Text::as_str);
            if !name.is_empty() && !states.contains(&name) {
                states.push_front(name);
            }
        }
        let shown: Vec<_> =
            states.iter().take(SHOWN_STATES_MAX).map(|name| format!("{name:?}")).collect();
        let round = match shown.is_empty() {
            true => String::new(),
            false => format!(" and goes round {}", shown.join(", ")),
        };
        let message = format!(
            "the machine does not come to rest: it took {} transitions by itself, the limit steps_max{round}; give \
             one of them a guard that ends it",
            self.inner.len()
        );
        self.refusal(message, event)
            .with_reason(reason::NEVER_RESTS)
            .with("states", states.into_iter().collect::<Vec<_>>())
            .with("limit", "steps_max")
            .with("limit_value", self.situation.allowance.inner)
    }

    fn refusal(&self, message: String, event: &str) -> Error {
        refusal::error(ErrorCode::InvalidTransition, message, self.machine, self.situation, event)
    }
}

/// What expressions see in a state of a step.
fn scope<'s>(
    machine: &'s Machine,
    situation: &'s Situation<'_>,
    state: StateId,
    ctx: &'s Json,
    event: &'s str,
    payload: &'s Json,
) -> Scope<'s> {
    let state = machine.states.name(state).map_or("", Text::as_str);
    let payload = Some(payload.root()).filter(|_| !payload.is_null());
    Scope { ctx: ctx.root(), payload, event, ..situation.scope(state, event) }
}

/// What the context has besides, and what it has no more, of the members that were changed.
fn difference(before: &Json, after: &Json, touched: Vec<Text>) -> (Json, Vec<Text>) {
    let touched: BTreeSet<Text> = touched.into_iter().collect();
    let patch = after.only(&touched);
    let removed = before.only(&touched);
    let left: HashSet<&str> = patch.root().members().map(|member| member.raw_key).collect();
    let gone = removed.root().members().filter(|member| !left.contains(member.raw_key));
    let gone = gone.map(|member| Text::from(unescape(member.raw_key).as_ref())).collect();
    (patch, gone)
}
