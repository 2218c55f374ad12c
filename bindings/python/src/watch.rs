//! Watches, pulled from: each call gives the next event, and a cancelled wait loses none.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;
use rstmdb_bridge::types::{InstanceEvent, Offset};
use rstmdb_bridge::{Events, Started, Watch};

use crate::results::IntoPython;
use crate::{errors, waiting};

/// How many events are fetched at once.
const EVENTS_MAX: usize = 256;

/// Events that were fetched and not yet handed over.
struct Fetched {
    watch: Watch,
    state: Mutex<State>,
    settled: Condvar,
}

#[derive(Default)]
struct State {
    events: VecDeque<InstanceEvent>,
    /// How many waits may still bring events.
    coming: usize,
}

impl Fetched {
    fn new(watch: Watch) -> Arc<Fetched> {
        Arc::new(Fetched { watch, state: Mutex::default(), settled: Condvar::new() })
    }

    fn pop(&self) -> Option<InstanceEvent> {
        self.state.lock().events.pop_front()
    }

    /// False when the watch has ended.
    fn fill(&self, events: Option<Events>) -> bool {
        let Some(events) = events else { return false };
        self.state.lock().events.extend(events.take());
        true
    }

    fn resume_offset(&self) -> Offset {
        let front = self.state.lock().events.front().map(|event| event.wal_offset);
        front.unwrap_or_else(|| self.watch.resume_offset())
    }

    fn end(&self) {
        self.watch.end();
        self.state.lock().events.clear();
    }
}

/// A wait that may still bring events; dropped with its callback.
struct Coming(Arc<Fetched>);

impl Coming {
    fn new(fetched: &Arc<Fetched>) -> Coming {
        fetched.state.lock().coming += 1;
        Coming(fetched.clone())
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.state.lock().coming -= 1;
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
    pub fn new(watch: Watch, result: Py<PyAny>) -> AsyncWatch {
        AsyncWatch { fetched: Fetched::new(watch), result }
    }
}

#[pymethods]
impl AsyncWatch {
    /// What the operation answered.
    #[getter]
    fn result(&self, py: Python<'_>) -> Py<PyAny> {
        self.result.clone_ref(py)
    }

    /// The offset to resume from after the events handed over so far.
    #[getter]
    fn resume_offset(&self) -> Offset {
        self.fetched.resume_offset()
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
            let mut state = fetched.state.lock();
            while state.coming > 0 && !started_in_vain(&started) {
                fetched.settled.wait(&mut state);
            }
            started
        });
        let started = match started {
            Started::Ready(result) => {
                let events = result.map_err(|error| errors::raised(py, &error))?;
                let is_open = self.fetched.fill(events);
                return event_or_none(py, if is_open { self.fetched.pop() } else { None });
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
    pub fn new(watch: Watch, result: Py<PyAny>) -> BlockingWatch {
        BlockingWatch { fetched: Fetched::new(watch), result }
    }
}

#[pymethods]
impl BlockingWatch {
    /// What the operation answered.
    #[getter]
    fn result(&self, py: Python<'_>) -> Py<PyAny> {
        self.result.clone_ref(py)
    }

    /// The offset to resume from after the events handed over so far.
    #[getter]
    fn resume_offset(&self) -> Offset {
        self.fetched.resume_offset()
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
        let is_open = self.fetched.fill(events);
        event_or_none(py, if is_open { self.fetched.pop() } else { None })
    }

    /// Ends the watch; who waits for its next event gets None.
    fn end(&self, py: Python<'_>) {
        py.detach(|| self.fetched.end());
    }
}
