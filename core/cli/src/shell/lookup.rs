//! Names from the database for completion: asked on another thread, waited for shortly, kept for a
//! moment. A slow or lost server makes the Tab key offer less, never hang.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rstmdb::blocking::Database;
use rstmdb::{ListInstancesRequest, ListMachinesRequest, PermittedRequest, Result};

use crate::commands::machines::{StoredDefinition, latest_definitions};
use crate::session::versions;

/// The most candidates offered.
pub(super) const CANDIDATES_MAX: usize = 100;

/// How long the Tab key waits.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long an answer is good.
const FRESH: Duration = Duration::from_secs(5);
/// The most answers that are kept.
const ANSWERS_MAX: usize = 64;
/// The instances of one page.
const PAGE: u32 = 2000;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Question {
    Machines,
    States,
    /// The events of all machines, or those that an instance accepts.
    Events(Option<String>),
    /// The ids that begin so.
    Instances(String),
    /// The versions of a machine.
    Versions(String),
}

#[derive(Debug, Default)]
struct Answers {
    answers: HashMap<Question, (Instant, Vec<String>)>,
    running: HashSet<Question>,
}

#[derive(Debug, Default)]
struct SharedAnswers {
    state: Mutex<Answers>,
    answered: Condvar,
}

impl SharedAnswers {
    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the database.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    database: Option<Database>,
    shared: Arc<SharedAnswers>,
    patience: Duration,
}

impl Lookup {
    pub(super) fn new(database: Option<Database>) -> Lookup {
        Lookup { database, shared: Arc::default(), patience: PATIENCE }
    }

    /// Waits for answers as long as it takes.
    #[cfg(test)]
    pub(super) fn patient(database: Database) -> Lookup {
        Lookup { patience: Duration::MAX, ..Lookup::new(Some(database)) }
    }

    /// What the database answers in time; nothing when it does not.
    pub(super) fn ask(&self, question: &Question) -> Vec<String> {
        let Some(database) = &self.database else { return Vec::new() };
        let mut state = self.shared.lock();
        if let Some((since, answer)) = state.answers.get(question)
            && since.elapsed() < FRESH
        {
            return answer.clone();
        }
        if state.running.insert(question.clone()) {
            let (shared, database) = (self.shared.clone(), database.clone());
            let question = question.clone();
            let asking = std::thread::Builder::new().name("rstmdb-completion".to_owned());
            // Without a thread there is nothing to offer.
            drop(asking.spawn(move || find(&shared, &database, question)));
        }
        let waits = |state: &mut Answers| state.running.contains(question);
        let waited = self.shared.answered.wait_timeout_while(state, self.patience, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        // An old answer is better than none.
        state.answers.get(question).map(|(_, answer)| answer.clone()).unwrap_or_default()
    }
}

fn find(shared: &SharedAnswers, database: &Database, question: Question) {
    let found = answer(database, &question);
    let mut state = shared.lock();
    state.running.remove(&question);
    if state.answers.len() >= ANSWERS_MAX {
        state.answers.clear();
    }
    // A database that fails has nothing to offer; the command itself will say why.
    if let Ok(found) = found {
        state.answers.insert(question, (Instant::now(), found));
    }
    shared.answered.notify_all();
}

fn answer(database: &Database, question: &Question) -> Result<Vec<String>> {
    match question {
        Question::Machines => {
            let items = database.list_machines(ListMachinesRequest {})?.items;
            Ok(items.into_iter().map(|item| item.machine.to_string()).collect())
        }
        Question::States => names(database, |definition| {
            definition.states.iter().map(|state| state.name.clone()).collect()
        }),
        Question::Events(instance) => events(database, instance.as_deref()),
        Question::Instances(prefix) => instances(database, prefix),
        Question::Versions(machine) => {
            Ok(versions(database, machine)?.iter().map(u32::to_string).collect())
        }
    }
}

/// What `take` finds in the latest definitions of the machines, each name once.
fn names(
    database: &Database,
    take: impl Fn(&StoredDefinition) -> Vec<String>,
) -> Result<Vec<String>> {
    let found: BTreeSet<String> =
        latest_definitions(database)?.iter().flat_map(|(_, definition)| take(definition)).collect();
    Ok(found.into_iter().collect())
}

/// The events the named instance accepts now, or those of all machines.
fn events(database: &Database, instance: Option<&str>) -> Result<Vec<String>> {
    if let Some(id) = instance {
        let request = PermittedRequest { instance_id: id.into(), payload: None };
        if let Ok(answer) = database.permitted(request) {
            let (now, not_now): (Vec<_>, Vec<_>) =
                answer.events.into_iter().partition(|event| event.permitted);
            // A guard may want a payload that is not typed yet.
            let offered = if now.is_empty() { not_now } else { now };
            return Ok(offered.into_iter().map(|event| event.event.to_string()).collect());
        }
    }
    names(database, |definition| {
        definition.transitions.iter().filter_map(|transition| transition.event.clone()).collect()
    })
}

/// Looks through the ids for as long as the Tab key waits.
fn instances(database: &Database, prefix: &str) -> Result<Vec<String>> {
    let began = Instant::now();
    let mut found = Vec::new();
    let mut request = ListInstancesRequest { limit: Some(PAGE), ..Default::default() };
    while began.elapsed() < PATIENCE {
        let page = database.list_instances(request.clone())?;
        let ids = page.instances.into_iter().map(|item| item.id.to_string());
        found.extend(ids.filter(|id| id.starts_with(prefix)).take(CANDIDATES_MAX));
        if found.len() >= CANDIDATES_MAX || page.next_cursor.is_none() {
            break;
        }
        request.cursor = page.next_cursor;
    }
    Ok(found)
}
