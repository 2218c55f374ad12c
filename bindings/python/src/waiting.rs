//! Waiting for results, in an event loop and in a thread.
//!
//! A result that is not ready is brought by a thread of the bridge. It is put into the queue of the
//! event loop that asked, and the loop is woken once for all results that are in its queue by then:
//! that thread takes the interpreter's lock once for a batch, not for each result.

#[cfg(unix)]
use std::os::unix::net::UnixStream;
#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use rstmdb_bridge::types;
use rstmdb_bridge::{CallbackTicket, Started, Turn, Waiting, after_group};

use crate::errors;

/// The lock of the standard library, which a child of a fork can use: another's list of waiting threads
/// would be that of the parent.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the Python value of a result, on the thread of the loop.
pub type Deliver = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// An event loop and the results that wait to be handed over there.
struct Loop {
    object: Py<PyAny>,
    queue: Mutex<LoopQueue>,
    /// What is begun in it before it looks for events again.
    turn: Turn,
    /// How to wake it without the interpreter's lock, where it can look at sockets.
    bell: Bell,
}

#[derive(Default)]
struct LoopQueue {
    results: Vec<(Py<PyAny>, Deliver)>,
    /// Whether the loop was told already.
    is_woken: bool,
}

/// The loops in use, the last one first.
static LOOPS: Mutex<Vec<Arc<Loop>>> = Mutex::new(Vec::new());

impl Loop {
    /// The loop that runs in this thread; an error when there is none.
    fn running(py: Python<'_>) -> PyResult<Arc<Loop>> {
        static RUNNING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let running = RUNNING.get_or_try_init(py, || -> PyResult<_> {
            Ok(PyModule::import(py, "asyncio")?.getattr("get_running_loop")?.unbind())
        })?;
        let object = running.bind(py).call0()?;
        let found = locked(&LOOPS).iter().find(|known| known.object.is(&object)).cloned();
        if let Some(found) = found {
            return Ok(found);
        }
        let bell = Bell::new();
        let (queue, turn) = (Mutex::default(), Turn::default());
        let new = Arc::new(Loop { object: object.unbind(), queue, turn, bell });
        new.bell.hang(py, &new)?;
        // Python code must not run under the lock.
        let known = locked(&LOOPS).clone();
        let mut open = vec![new.clone()];
        for other in known {
            if !other.object.bind(py).call_method0("is_closed")?.is_truthy()? {
                open.push(other);
            }
        }
        let closed = std::mem::replace(&mut *locked(&LOOPS), open);
        drop(closed);
        Ok(new)
    }

    /// Called by threads of the bridge.
    fn push(self: &Arc<Self>, future: Py<PyAny>, deliver: Deliver) {
        let is_first = {
            let mut queue = locked(&self.queue);
            queue.results.push((future, deliver));
            !std::mem::replace(&mut queue.is_woken, true)
        };
        if !is_first {
            return;
        }
        let waiting = self.clone();
        // Once all are there that come together.
        if let Err(wake) = after_group(Box::new(move || waiting.wake())) {
            wake();
        }
    }

    fn wake(self: &Arc<Self>) {
        if self.bell.ring() {
            return;
        }
        // None while the interpreter ends: nobody waits any more.
        let _ = Python::try_attach(|py| {
            let wake = Wake { waiting: self.clone() };
            let told = Py::new(py, wake).and_then(|wake| {
                self.object.call_method1(py, intern!(py, "call_soon_threadsafe"), (wake,))
            });
            if told.is_err() {
                // The loop was closed; what was dropped with it is not waited for.
                let mut queue = locked(&self.queue);
                queue.is_woken = false;
                let results = std::mem::take(&mut queue.results);
                drop(queue);
                drop(results);
            }
        });
    }

    /// Runs in the loop.
    fn hand_over(&self, py: Python<'_>) -> PyResult<()> {
        self.bell.hush();
        let results = {
            let mut queue = locked(&self.queue);
            queue.is_woken = false;
            std::mem::take(&mut queue.results)
        };
        for (future, deliver) in results {
            let future = future.bind(py);
            // Cancelled: dropping what came gives events back to their watch.
            if future.call_method0(intern!(py, "done"))?.is_truthy()? {
                continue;
            }
            // An exception is handed over as a value, so that a future nobody awaits is no noise.
            let value = match deliver(py) {
                Ok(value) => value,
                Err(error) => error.into_value(py).into_any(),
            };
            future.call_method1(intern!(py, "set_result"), (value,))?;
        }
        Ok(())
    }
}

/// A pair of sockets: a thread of the bridge writes a byte, and the loop reads it.
///
/// `call_soon_threadsafe` needs the interpreter's lock, for which a thread may have to wait while the
/// loop is busy, and all results behind it with it. Loops without readers, such as the proactor's on
/// Windows, are woken that way all the same.
#[cfg(unix)]
struct Bell {
    ends: Option<(UnixStream, UnixStream)>,
    hangs: AtomicBool,
}

#[cfg(unix)]
impl Bell {
    fn new() -> Bell {
        let ends = UnixStream::pair().and_then(|(near, far)| {
            near.set_nonblocking(true)?;
            far.set_nonblocking(true)?;
            Ok((near, far))
        });
        Bell { ends: ends.ok(), hangs: AtomicBool::new(false) }
    }

    /// Lets the loop look at it, if it can.
    fn hang(&self, py: Python<'_>, waiting: &Arc<Loop>) -> PyResult<()> {
        use std::os::fd::AsRawFd;
        let Some((_, far)) = &self.ends else { return Ok(()) };
        let wake = Py::new(py, Wake { waiting: waiting.clone() })?;
        let hung = waiting.object.call_method1(py, "add_reader", (far.as_raw_fd(), wake));
        self.hangs.store(hung.is_ok(), Ordering::Release);
        Ok(())
    }

    /// False when the loop must be woken in another way.
    fn ring(&self) -> bool {
        use std::io::Write;
        if !self.hangs.load(Ordering::Acquire) {
            return false;
        }
        let Some((near, _)) = &self.ends else { return false };
        let mut near: &UnixStream = near;
        near.write(&[1]).is_ok()
    }

    /// Takes what was written.
    fn hush(&self) {
        use std::io::Read;
        let Some((_, far)) = &self.ends else { return };
        let mut far: &UnixStream = far;
        // What is left there calls again.
        let _ = far.read(&mut [0; 64]);
    }
}

#[cfg(not(unix))]
struct Bell;

#[cfg(not(unix))]
impl Bell {
    fn new() -> Bell {
        Bell
    }

    fn hang(&self, _: Python<'_>, _: &Arc<Loop>) -> PyResult<()> {
        Ok(())
    }

    fn ring(&self) -> bool {
        false
    }

    fn hush(&self) {}
}

/// What a loop is told to call.
#[pyclass(frozen, module = "rstmdb._native")]
struct Wake {
    waiting: Arc<Loop>,
}

#[pymethods]
impl Wake {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        self.waiting.hand_over(py)
    }
}

/// What a loop is told to call at the end of a turn.
#[pyclass(frozen, module = "rstmdb._native")]
struct EndTurn {
    waiting: Arc<Loop>,
}

#[pymethods]
impl EndTurn {
    fn __call__(&self) {
        self.waiting.turn.end();
    }
}

impl Drop for EndTurn {
    fn drop(&mut self) {
        self.waiting.turn.end();
    }
}

/// A result to come: a future of the running loop, whose value may be an exception to raise.
#[pyclass(frozen, module = "rstmdb._native")]
pub struct Pending {
    future: Py<PyAny>,
    ticket: CallbackTicket,
}

#[pymethods]
impl Pending {
    /// `Pending[…]` in annotations, which frameworks evaluate.
    #[classmethod]
    fn __class_getitem__(
        class: &Bound<'_, PyType>,
        item: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        crate::results::alias(class, item)
    }

    /// The future of the loop.
    #[getter(future)]
    fn shown_future(&self, py: Python<'_>) -> Py<PyAny> {
        self.future.clone_ref(py)
    }

    /// Gives up the waiting, not the write.
    pub fn cancel(&self) -> bool {
        self.ticket.cancel()
    }

    // The future knows the task that awaits it, and that task this object.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.future)
    }
}

impl Pending {
    /// The future of the loop.
    pub fn future(&self) -> &Py<PyAny> {
        &self.future
    }
}

/// What was begun in a loop: done already, or to be waited for there.
pub enum Begun {
    Done(Py<PyAny>),
    Pending(Pending),
}

/// As [`begin_in_loop`], as a value for Python.
pub fn in_loop<T: Send + 'static, U: Send + 'static>(
    py: Python<'_>,
    started: Started<T>,
    settle: impl FnOnce(T) -> U + Send + 'static,
    convert: impl FnOnce(Python<'_>, U) -> PyResult<Py<PyAny>> + Send + 'static,
) -> PyResult<Py<PyAny>> {
    match begin_in_loop(py, started, settle, convert)? {
        Begun::Done(value) => Ok(value),
        Begun::Pending(pending) => Ok(Py::new(py, pending)?.into_any()),
    }
}

/// The result when it is there, else a [`Pending`] of the running loop. `settle` runs as soon as the
/// result is there, on any thread; `convert` in the loop, if somebody still waits.
pub fn begin_in_loop<T: Send + 'static, U: Send + 'static>(
    py: Python<'_>,
    started: Started<T>,
    settle: impl FnOnce(T) -> U + Send + 'static,
    convert: impl FnOnce(Python<'_>, U) -> PyResult<Py<PyAny>> + Send + 'static,
) -> PyResult<Begun> {
    let waiting = match started {
        Started::Ready(result) => return deliver(py, result.map(settle), convert).map(Begun::Done),
        Started::Waiting(waiting) => waiting,
    };
    let running = Loop::running(py)?;
    let future = running.object.call_method0(py, intern!(py, "create_future"))?;
    let promised = future.clone_ref(py);
    let asking = running.clone();
    let (ticket, begins) = waiting.finish_in(&asking.turn, move |result| {
        let result = result.map(settle);
        running.push(promised, Box::new(move |py| deliver(py, result, convert)));
    });
    if begins {
        // Behind all that is ready to run: one sync is for what those begin.
        let end = EndTurn { waiting: asking.clone() };
        // A loop that takes nothing more drops it, which ends the turn too.
        let told = Py::new(py, end)
            .and_then(|end| asking.object.call_method1(py, intern!(py, "call_soon"), (end,)));
        drop(told);
    }
    Ok(Begun::Pending(Pending { future, ticket }))
}

fn deliver<T>(
    py: Python<'_>,
    result: types::Result<T>,
    convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>>,
) -> PyResult<Py<PyAny>> {
    match result {
        Ok(value) => convert(py, value),
        Err(error) => Err(errors::raised(py, &error)),
    }
}

/// How long a thread waits before it looks for a signal, such as Ctrl-C.
const SLICE: Duration = Duration::from_millis(50);

/// Waits in this thread, for at most `timeout`; None when that passed.
pub fn in_thread<T: Send>(
    py: Python<'_>,
    started: Started<T>,
    timeout: Option<Duration>,
) -> PyResult<Option<T>> {
    let mut waiting: Waiting<T> = match started {
        Started::Ready(result) => {
            return result.map(Some).map_err(|error| errors::raised(py, &error));
        }
        Started::Waiting(waiting) => waiting,
    };
    let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let slice = left.map_or(SLICE, |left| left.min(SLICE));
        match py.detach(|| waiting.wait_timeout(slice)) {
            Ok(result) => return result.map(Some).map_err(|error| errors::raised(py, &error)),
            Err(_) if left.is_some_and(|left| left.is_zero()) => return Ok(None),
            Err(still) => waiting = still,
        }
        py.check_signals()?;
    }
}

/// Waits in this thread for as long as it takes.
pub fn wait<T: Send>(py: Python<'_>, started: Started<T>) -> PyResult<T> {
    // Without a timeout there is always a result.
    in_thread(py, started, None)?
        .ok_or_else(|| pyo3::exceptions::PyTimeoutError::new_err("no result came"))
}
