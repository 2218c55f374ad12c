//! Which transition an event takes, or why it takes none.

use rstmdb_types::{PermittedEvent, Result, Text};

use crate::expression::{EvaluationBudget, Guard};
use crate::machine::{Decision, Machine, Situation};
use crate::{EventId, StateId, refusal};

impl Machine {
    /// Decides which transition an event takes; nothing is allocated on success.
    ///
    /// # Errors
    ///
    /// `INVALID_TRANSITION` when the state has no transition for the event (reason
    /// `instance_completed` when the state is final), `GUARD_FAILED` when no guard passes,
    /// `BAD_REQUEST` with reason `limit_exceeded` when guards cost too much.
    pub fn decide<'a>(&'a self, situation: &Situation<'a>, event: &'a str) -> Result<Decision> {
        let budget = EvaluationBudget::new(situation.allowance);
        let (event, _, to) = self.choose(situation, event, &budget)?;
        Ok(Decision { event, to: to.unwrap_or(situation.state) })
    }

    /// The event, the number of the transition that it takes and where that leads.
    #[inline]
    pub(crate) fn choose<'a>(
        &'a self,
        situation: &Situation<'a>,
        event: &'a str,
        budget: &EvaluationBudget,
    ) -> Result<(EventId, u32, Option<StateId>)> {
        let Some(state) = self.states.name(situation.state) else {
            return Err(refusal::unknown_state(self, situation));
        };
        let choices = self.events.find(event).map(|id| (id, self.choices(situation.state, id)));
        let Some((id, choices)) = choices.filter(|(_, choices)| !choices.is_empty()) else {
            return Err(refusal::invalid_transition(self, situation, event));
        };
        let scope = situation.scope(state, event);
        if let Some((choice, to)) =
            self.first(choices, budget, |guard| guard.evaluate_within(&scope, budget))
        {
            return Ok((id, choice, to));
        }
        Err(match budget.error() {
            Some(error) => refusal::too_costly(error, situation, event),
            None => refusal::guard_failed(self, situation, event, choices),
        })
    }

    /// The first of the transitions whose guard passes, and where it leads.
    #[inline]
    pub(crate) fn first(
        &self,
        choices: &[u32],
        budget: &EvaluationBudget,
        holds: impl Fn(&Guard) -> bool,
    ) -> Option<(u32, Option<StateId>)> {
        for &choice in choices {
            let Some(transition) = self.transitions.get(choice as usize) else { continue };
            if transition.guard.as_ref().is_none_or(&holds) {
                return Some((choice, transition.to));
            }
            if budget.error().is_some() {
                return None;
            }
        }
        None
    }

    /// What each event would do now, in the order of [`Machine::events`].
    pub fn permitted(&self, situation: &Situation<'_>) -> Vec<PermittedEvent> {
        let outcome = |event: &Text| match self.is_plain() {
            true => self.decide(situation, event).map(|decision| decision.to),
            false => self.step(situation, event).map(|stepped| stepped.rest.state),
        };
        let answer = |event: &Text| match outcome(event) {
            Ok(to) => PermittedEvent {
                event: event.clone(),
                permitted: true,
                to_state: self.states.name(to).cloned(),
                code: None,
                message: None,
            },
            Err(error) => PermittedEvent {
                event: event.clone(),
                permitted: false,
                to_state: None,
                code: Some(error.code()),
                message: Some(error.message().to_owned()),
            },
        };
        self.events().iter().map(answer).collect()
    }
}
