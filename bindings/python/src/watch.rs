//! Watches, pulled from: each call gives the next event, and a cancelled wait loses none.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyType;
use rstmdb_bridge::types::{InstanceEvent, LogPosition, Offset};
use rstmdb_bridge::{Database, Events, Started, Watch};

use crate::results::IntoPython;
use crate::waiting::locked;
use crate::{errors, waiting};

/// How many events are fetched at once.
const EVENTS_MAX: usize = 256;

/// Events that were fetched and not yet handed over.
struct Fetched {
    watch: Watch,
    database: Database,
    state: Mutex<Buffer>,
    settled: Condvar,
}

struct Buffer {
    events: VecDeque<InstanceEvent>,
    /// How many waits may still bring events.
    coming: usize,
    /// After the last event that was handed over; what was only fetched does not count.
    resume: LogPosition,
    ended: bool,
}

impl Fetched {
    fn new(watch: Watch, database: &Database) -> Arc<Fetched> {
        let resume = watch.position();
        let state = Buffer { events: VecDeque::new(), coming: 0, resume, ended: false };
        let state = Mutex::new(state);
        Arc::new(Fetched { watch, database: database.clone(), state, settled: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, Buffer> {
        locked(&self.state)
    }

    /// The next event that is here, to be handed over; none after the watch or its database was closed.
    fn pop(&self) -> Option<InstanceEvent> {
        self.pop_from(&mut self.state())
    }

    fn pop_from(&self, state: &mut Buffer) -> Option<InstanceEvent> {
        if self.database.is_closed() {
            state.events.clear();
        }
        let event = state.events.pop_front()?;
        state.resume.next = event.wal_offset + 1;
        if event.history_id.is_some() {
            state.resume.history_id.clone_from(&event.history_id);
        }
        Some(event)
    }

    /// Puts down what came.
    fn fill(&self, events: Option<Events>) {
        Self::fill_in(&mut self.state(), events);
    }

    fn fill_in(state: &mut Buffer, events: Option<Events>) {
        // Events that come after the end were received by nobody.
        if let Some(events) = events
            && !state.ended
        {
            state.events.extend(events.take());
        }
    }

    /// Puts down what came and takes the first of it, before another thread does.
    fn fill_and_pop(&self, events: Option<Events>) -> Option<InstanceEvent> {
        let mut state = self.state();
        Self::fill_in(&mut state, events);
        self.pop_from(&mut state)
    }

    fn resume(&self) -> LogPosition {
        self.state().resume.clone()
    }

    fn end(&self) {
        {
            let mut state = self.state();
            state.ended = true;
            state.events.clear();
        }
        self.watch.end();
    }
}

/// A wait that may still bring events; dropped with its callback.
struct Coming(Arc<Fetched>);

impl Coming {
    fn new(fetched: &Arc<Fetched>) -> Coming {
        fetched.state().coming += 1;
        Coming(fetched.clone())
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.state().coming -= 1;
        self.0.settled.notify_all();
    }
}

fn event_or_none(py: Python<'_>, event: Option<InstanceEvent>) -> PyResult<Py<PyAny>> {
    match event {
        Some(event) => event.into_python(py),
        None => Ok(py.None()),
    }
}

/// A watch in an event loop.
#[pyclass(frozen, module = "rstmdb._native")]
pub struct AsyncWatch {
    fetched: Arc<Fetched>,
    result: Py<PyAny>,
}

impl AsyncWatch {
    /// The object for a watch and what it said of its beginning.
    pub fn new(watch: Watch, database: &Database, result: Py<PyAny>) -> AsyncWatch {
        AsyncWatch { fetched: Fetched::new(watch, database), result }
    }
}

#[pymethods]
impl AsyncWatch {
    /// `AsyncWatch[…]` in annotations, which frameworks evaluate.
    #[classmethod]
    fn __class_getitem__(
        class: &Bound<'_, PyType>,
        item: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        crate::results::alias(class, item)
    }

    /// What the operation answered.
    #[getter]
    fn result(&self, py: Python<'_>) -> Py<PyAny> {
        self.result.clone_ref(py)
    }

    /// The offset to resume from after the events handed over so far.
    #[getter]
    fn resume_offset(&self) -> Offset {
        self.fetched.resume().next
    }

    /// The history that the change before it belongs to.
    #[getter]
    fn history_id(&self) -> Option<String> {
        self.fetched.resume().history_id.map(Into::into)
    }

    /// The next event, None when the watch has ended, or a `Pending` after which to ask again.
    fn next(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if let Some(event) = self.fetched.pop() {
            return event.into_python(py);
        }
        let fetched = self.fetched.clone();
        let started = py.detach(|| {
            let started = fetched.watch.next_start(EVENTS_MAX);
            // A wait that was cancelled as its events came: they are put down in a moment, and first.
            let mut state = fetched.state();
            while state.coming > 0 && !started_in_vain(&started) {
                state = fetched.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            started
        });
        let started = match started {
            Started::Ready(result) => {
                let events = result.map_err(|error| errors::raised(py, &error))?;
                return event_or_none(py, self.fetched.fill_and_pop(events));
            }
            waiting => waiting,
        };
        let coming = Coming::new(&self.fetched);
        // Put down on the thread of the bridge and taken by the next call: a loop that is gone, or a task
        // that is cancelled after it was woken, loses nothing.
        let settle = move |events| {
            coming.0.fill(events);
        };
        waiting::in_loop(py, started, settle, |py, ()| Ok(py.None()))
    }

    /// Ends the watch; who waits for its next event gets None.
    fn end(&self, py: Python<'_>) {
        py.detach(|| self.fetched.end());
    }
}

/// Whether somebody waits already, so that there is nothing to put in order.
fn started_in_vain<T>(started: &Started<T>) -> bool {
    matches!(started, Started::Ready(Err(_)))
}

/// A watch in a thread.
#[pyclass(frozen, module = "rstmdb._native")]
pub struct BlockingWatch {
    fetched: Arc<Fetched>,
    result: Py<PyAny>,
}

impl BlockingWatch {
    /// The object for a watch and what it said of its beginning.
    pub fn new(watch: Watch, database: &Database, result: Py<PyAny>) -> BlockingWatch {
        BlockingWatch { fetched: Fetched::new(watch, database), result }
    }
}

#[pymethods]
impl BlockingWatch {
    /// `BlockingWatch[…]` in annotations, which frameworks evaluate.
    #[classmethod]
    fn __class_getitem__(
        class: &Bound<'_, PyType>,
        item: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        crate::results::alias(class, item)
    }

    /// What the operation answered.
    #[getter]
    fn result(&self, py: Python<'_>) -> Py<PyAny> {
        self.result.clone_ref(py)
    }

    /// The offset to resume from after the events handed over so far.
    #[getter]
    fn resume_offset(&self) -> Offset {
        self.fetched.resume().next
    }

    /// The history that the change before it belongs to.
    #[getter]
    fn history_id(&self) -> Option<String> {
        self.fetched.resume().history_id.map(Into::into)
    }

    /// Waits for the next event; None when the watch has ended. `TimeoutError` after `timeout` seconds.
    #[pyo3(signature = (timeout=None))]
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        if let Some(event) = self.fetched.pop() {
            return event.into_python(py);
        }
        let timeout = match timeout.map(Duration::try_from_secs_f64).transpose() {
            Ok(timeout) => timeout,
            Err(_) => {
                let message = "timeout must be a number of seconds, 0 or more";
                return Err(pyo3::exceptions::PyValueError::new_err(message));
            }
        };
        let started = py.detach(|| self.fetched.watch.next_start(EVENTS_MAX));
        let Some(events) = waiting::in_thread(py, started, timeout)? else {
            return Err(pyo3::exceptions::PyTimeoutError::new_err("no event came in time"));
        };
        event_or_none(py, self.fetched.fill_and_pop(events))
    }

    /// Ends the watch; who waits for its next event gets None.
    fn end(&self, py: Python<'_>) {
        py.detach(|| self.fetched.end());
    }
}
