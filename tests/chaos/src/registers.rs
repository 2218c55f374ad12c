//! Histories of instances that each hold one number, and whether they could have come about one after the other.

use std::time::Duration;

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

/// After this long a history that is not yet explained counts as unknown, which is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// An instance that holds a number, 0 at first.
#[derive(Debug, Clone)]
pub struct Register;

/// What a client did, and what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It was told this number.
    Read(u64),
    /// It was told that this is the number now.
    Write(u64),
    /// It was told that the number was the first, and is the second now.
    Swap(u64, u64),
    /// It was told that the number is not this one.
    Differs(u64),
    /// It was told nothing: perhaps this is the number now, or will be.
    PerhapsWrite(u64),
    /// The same, if it was the first.
    PerhapsSwap(u64, u64),
}

impl Model for Register {
    type State = u64;
    type Op = Step;
    type Metadata = ();

    fn init() -> u64 {
        0
    }

    // What perhaps happened has no end, so that it may stand behind everything else, where it did nothing that anybody saw.
    fn step(state: &u64, step: &Step) -> (bool, u64) {
        match *step {
            Step::Read(number) => (*state == number, *state),
            Step::Write(number) | Step::PerhapsWrite(number) => (true, number),
            Step::Swap(was, number) => (*state == was, number),
            Step::Differs(from) => (*state != from, *state),
            Step::PerhapsSwap(was, number) => (true, if *state == was { number } else { *state }),
        }
    }
}

/// A step of a client, with the times at which it was asked for and answered.
pub type Entry = Operation<Register>;

/// An entry of a history; without an end the answer never came.
pub fn entry(client: usize, from: Duration, to: Option<Duration>, op: Step) -> Entry {
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    Operation {
        client_id: u32::try_from(client).ok(),
        call_time: nanos(from),
        return_time: to.map_or(i64::MAX, nanos),
        op,
        metadata: None,
    }
}

/// What is wrong with a history, if anything is.
pub fn fault(history: &[Entry]) -> Option<String> {
    match check_operations_timeout(history, PATIENCE) {
        CheckResult::Ok => None,
        CheckResult::Illegal => Some("no order explains what its clients saw".to_owned()),
        CheckResult::Unknown => Some(format!("not decided within {PATIENCE:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(client: usize, from: u64, to: u64, step: Step) -> Entry {
        entry(client, Duration::from_millis(from), Some(Duration::from_millis(to)), step)
    }

    fn lost(client: usize, from: u64, step: Step) -> Entry {
        entry(client, Duration::from_millis(from), None, step)
    }

    #[test]
    fn histories_that_can_be_are_explained() {
        for history in [
            vec![
                at(0, 0, 10, Step::Write(1)),
                at(1, 5, 6, Step::Read(0)),
                at(2, 7, 8, Step::Read(1)),
            ],
            vec![
                lost(0, 0, Step::PerhapsWrite(1)),
                at(1, 5, 6, Step::Read(0)),
                at(1, 90, 91, Step::Read(1)),
            ],
            vec![lost(0, 0, Step::PerhapsWrite(1)), at(1, 5, 6, Step::Read(0))],
            vec![lost(0, 0, Step::PerhapsSwap(7, 1)), at(1, 5, 6, Step::Read(0))],
            vec![
                at(0, 0, 1, Step::Write(1)),
                at(1, 2, 3, Step::Swap(1, 2)),
                at(0, 4, 5, Step::Differs(1)),
            ],
        ] {
            assert_eq!(fault(&history), None, "{history:?}");
        }
    }

    #[test]
    fn histories_that_can_not_be_are_found() {
        for history in [
            // Stale.
            vec![at(0, 0, 1, Step::Write(1)), at(1, 2, 3, Step::Read(0))],
            // Lost.
            vec![
                at(0, 0, 1, Step::Write(1)),
                at(0, 2, 3, Step::Write(2)),
                at(1, 4, 5, Step::Read(1)),
            ],
            // Seen and taken back.
            vec![
                lost(0, 0, Step::PerhapsWrite(1)),
                at(1, 5, 6, Step::Read(1)),
                at(1, 7, 8, Step::Read(0)),
            ],
            // Two that changed the same.
            vec![at(0, 0, 9, Step::Swap(0, 1)), at(1, 0, 9, Step::Swap(0, 2))],
            // Refused for what was not so.
            vec![at(0, 0, 1, Step::Differs(0))],
            // Written before it was asked for.
            vec![at(0, 0, 1, Step::Read(1)), lost(1, 5, Step::PerhapsWrite(1))],
        ] {
            assert!(fault(&history).is_some(), "{history:?}");
        }
    }
}
