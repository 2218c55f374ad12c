//! Learns a definition from a log: one state for each activity, one event that leads there, and
//! the steps that were seen.

use std::collections::{BTreeSet, HashMap};

use rstmdb::error::reason;
use rstmdb::{Error, Json, Limits, Result, limits};
use serde_json::json;

use super::events::LogEvent;

/// The state before the first event, unless an activity has that name.
const INITIAL: &str = "start";

/// What was seen so far. The memory it takes is bounded by the limits and the number of cases.
#[derive(Debug)]
pub struct Learner {
    limits: Limits,
    /// The activities in the order of their first appearance.
    activities: Vec<String>,
    numbers: HashMap<String, usize>,
    /// For each activity the activities before it; None is the beginning of a case.
    sources: Vec<BTreeSet<Option<usize>>>,
    steps: usize,
    /// The last activity of each case.
    cases: HashMap<String, usize>,
}

impl Learner {
    /// Nothing was seen yet.
    pub fn new(limits: &Limits) -> Learner {
        Learner {
            limits: limits.clone(),
            activities: Vec::new(),
            numbers: HashMap::new(),
            sources: Vec::new(),
            steps: 0,
            cases: HashMap::new(),
        }
    }

    /// Takes one more event.
    ///
    /// More activities or steps than a definition may have are an error.
    pub fn see(&mut self, event: &LogEvent) -> Result<()> {
        let number = self.number(event)?;
        let before = match self.cases.get_mut(&event.case) {
            Some(last) => Some(std::mem::replace(last, number)),
            None => {
                self.cases.insert(event.case.clone(), number);
                None
            }
        };
        if self.sources.get_mut(number).is_some_and(|sources| sources.insert(before)) {
            self.steps += 1;
            let limit = self.limits.transitions_max;
            limits::check("the steps between activities", self.steps, "transitions_max", limit)?;
        }
        Ok(())
    }

    fn number(&mut self, event: &LogEvent) -> Result<usize> {
        if let Some(number) = self.numbers.get(&event.activity) {
            return Ok(*number);
        }
        if event.activity == "*" {
            let message = "an activity is called \"*\", which means every state in a definition; \
                           give one with --definition or rename the activity";
            return Err(
                Error::invalid(reason::INVALID_DEFINITION, message).with("line", event.line)
            );
        }
        let number = self.activities.len();
        // The initial state is one more.
        limits::check("the activities", number + 2, "states_max", self.limits.states_max)?;
        self.activities.push(event.activity.clone());
        self.numbers.insert(event.activity.clone(), number);
        self.sources.push(BTreeSet::new());
        Ok(number)
    }

    /// The number of activities.
    pub fn activities(&self) -> usize {
        self.activities.len()
    }

    /// The number of steps.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The definition that accepts what was seen and every mixture of its steps.
    pub fn definition(&self) -> Json {
        let mut initial = INITIAL.to_owned();
        while self.numbers.contains_key(&initial) {
            initial = format!("({initial})");
        }
        let name = |number: &Option<usize>| match number {
            Some(number) => self.activities.get(*number).map_or("", String::as_str),
            None => initial.as_str(),
        };
        let transitions: Vec<_> = self
            .activities
            .iter()
            .zip(&self.sources)
            .map(|(activity, sources)| {
                let from: Vec<&str> = sources.iter().map(name).collect();
                json!({ "from": from, "event": activity, "to": activity })
            })
            .collect();
        let states: Vec<&str> = [initial.as_str()]
            .into_iter()
            .chain(self.activities.iter().map(String::as_str))
            .collect();
        Json::from_value(&json!({
            "states": states,
            "initial": initial,
            "transitions": transitions,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(rows: &[(&str, &str)]) -> Learner {
        let mut learner = Learner::new(&Limits::default());
        for (line, (case, activity)) in (2..).zip(rows) {
            learner.see(&LogEvent::new(line, case, activity)).unwrap();
        }
        learner
    }

    #[test]
    fn steps_seen_become_transitions() {
        let learner = learn(&[("1", "A"), ("2", "B"), ("1", "B"), ("2", "A"), ("1", "B")]);
        assert_eq!((learner.activities(), learner.steps()), (2, 5));
        assert_eq!(
            learner.definition().as_str(),
            r#"{"initial":"start","states":["start","A","B"],"transitions":[{"event":"A","from":["start","B"],"to":"A"},{"event":"B","from":["start","A","B"],"to":"B"}]}"#
        );
    }

    #[test]
    fn the_initial_state_is_no_activity() {
        let definition = learn(&[("1", "start"), ("1", "(start)")]).definition().to_value();
        assert_eq!(definition["initial"], "((start))");
    }

    #[test]
    fn too_many_activities_are_refused() {
        let mut learner = Learner::new(&Limits { states_max: 3, ..Limits::default() });
        let mut see = |activity: &str| learner.see(&LogEvent::new(2, "1", activity));
        see("A").unwrap();
        see("B").unwrap();
        assert_eq!(see("C").unwrap_err().reason(), Some(reason::LIMIT_EXCEEDED));
        assert_eq!(see("*").unwrap_err().reason(), Some(reason::INVALID_DEFINITION));
    }
}
