//! What an event does, or why it does nothing.

use rstmdb_types::{PermittedEvent, Result, Text};

use crate::machine::{Decision, Machine, Situation};
use crate::refusal;

impl Machine {
    /// Decides which transition an event takes; nothing is allocated on success.
    ///
    /// # Errors
    ///
    /// `INVALID_TRANSITION` when the state has no transition for the event (reason
    /// `instance_completed` when the state is final), `GUARD_FAILED` when no guard passes.
    pub fn decide(&self, situation: &Situation<'_>, event: &str) -> Result<Decision> {
        let Some(state) = self.states.name(situation.state) else {
            return Err(refusal::unknown_state(self, situation));
        };
        let choices = self.events.find(event).map(|id| (id, self.choices(situation.state, id)));
        let Some((id, choices)) = choices.filter(|(_, choices)| !choices.is_empty()) else {
            return Err(refusal::invalid_transition(self, situation, event));
        };
        let scope = situation.scope(state);
        for &choice in choices {
            let Some(transition) = self.transitions.get(choice as usize) else { continue };
            if transition.guard.as_ref().is_none_or(|guard| guard.evaluate(&scope)) {
                return Ok(Decision { event: id, to: transition.to });
            }
        }
        Err(refusal::guard_failed(self, situation, event, choices))
    }

    /// What each event would do now, in the order of [`Machine::events`].
    pub fn permitted(&self, situation: &Situation<'_>) -> Vec<PermittedEvent> {
        let answer = |event: &Text| match self.decide(situation, event) {
            Ok(decision) => PermittedEvent {
                event: event.clone(),
                permitted: true,
                to_state: self.states.name(decision.to).cloned(),
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
