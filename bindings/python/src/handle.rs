//! The two handles to a database: one for event loops and one for threads.
//!
//! They have the same methods. Those of the operations are made from the rows of `generated.rs`: each
//! builds its typed request straight from the arguments.

use std::sync::{Arc, Mutex};

use pyo3::Borrowed;
use pyo3::prelude::*;
use pyo3::types::PyString;
use rstmdb_bridge::types::{Operation, Result, Text};
use rstmdb_bridge::{Database, OperationRequest, Started, log, on_callback_thread};

use crate::from_python::FromPython;
use crate::results::IntoPython;
use crate::waiting::{Begun, locked};
use crate::watch::{AsyncWatch, BlockingWatch};
use crate::{errors, json, waiting};

/// A handle for event loops: the operations are calls to await, other methods give a result or a `Pending` of the
/// running loop.
#[pyclass(frozen, module = "rstmdb._native")]
pub struct AsyncHandle {
    database: Database,
    /// Whether it is in this process, where starting an operation waits for nothing.
    is_here: bool,
    is_memory: bool,
}

/// A handle for threads: methods wait.
#[pyclass(frozen, module = "rstmdb._native")]
pub struct BlockingHandle {
    database: Database,
    is_memory: bool,
}

/// What `Drop` of a handle does: closes what was forgotten, without the interpreter's lock, since
/// callbacks that are under way may want it.
fn close_forgotten(database: &Database) {
    if database.is_closed() {
        return;
    }
    let close = || {
        if let Started::Waiting(waiting) = database.close_start()
            // A callback, of an opening that failed, would wait for itself.
            && !on_callback_thread()
        {
            drop(waiting.wait_timeout(FORGOTTEN));
        }
    };
    // None while the interpreter ends, when nobody holds its lock for long.
    if Python::try_attach(|py| py.detach(close)).is_none() {
        close();
    }
}

/// How long closing a forgotten database may take.
const FORGOTTEN: std::time::Duration = std::time::Duration::from_secs(5);

impl Drop for AsyncHandle {
    fn drop(&mut self) {
        close_forgotten(&self.database);
    }
}

impl Drop for BlockingHandle {
    fn drop(&mut self) {
        close_forgotten(&self.database);
    }
}

/// Whether an operation may take long enough for other threads to want the interpreter meanwhile.
///
/// What waits for nothing takes about a microsecond, as much as giving the interpreter's lock away and back.
fn is_brief(waits_for_nothing: bool, operation: Operation) -> bool {
    waits_for_nothing
        && matches!(
            operation,
            Operation::ApplyEvent
                | Operation::CreateInstance
                | Operation::DeleteInstance
                | Operation::GetInstance
                | Operation::GetMachine
                | Operation::Permitted
                | Operation::Ping
                | Operation::Info
                | Operation::WalStats
        )
}

fn is_memory(url: &str) -> bool {
    url.starts_with("mem:")
}

fn named(operation: &Bound<'_, PyAny>) -> PyResult<Operation> {
    let name = Text::from_python(operation, "operation")?;
    Operation::from_name(name.as_str()).ok_or_else(|| {
        let message = format!("there is no operation {:?}", name.as_str());
        errors::argument(operation.py(), "operation", &message)
    })
}

/// Waits for `result` until it is there or a signal raised an exception.
fn call<R: OperationRequest>(
    py: Python<'_>,
    database: &Database,
    request: R,
) -> PyResult<R::Result> {
    let mut raised = None;
    let result = py.detach(|| {
        database.call(request, || {
            raised = Python::try_attach(|py| py.check_signals().err()).flatten();
            raised.is_some()
        })
    });
    match (result, raised) {
        (Some(result), _) => result.map_err(|error| errors::raised(py, &error)),
        (None, Some(raised)) => Err(raised),
        (None, None) => Err(pyo3::exceptions::PyInterruptedError::new_err("interrupted")),
    }
}

/// Runs an operation where there is nothing to wait for.
fn run_in_memory<R: OperationRequest<Result: IntoPython>>(
    py: Python<'_>,
    database: &Database,
    request: R,
) -> PyResult<Py<PyAny>> {
    match database.call(request, || false) {
        Some(Ok(result)) => result.into_python(py),
        Some(Err(error)) => Err(errors::raised(py, &error)),
        None => Err(pyo3::exceptions::PyInterruptedError::new_err("interrupted")),
    }
}

impl AsyncHandle {
    /// Starts an operation.
    pub fn begin<R: OperationRequest<Result: IntoPython>>(
        &self,
        py: Python<'_>,
        request: R,
    ) -> PyResult<Begun> {
        if is_brief(self.is_memory, R::OPERATION) {
            return run_in_memory(py, &self.database, request).map(Begun::Done);
        }
        let started = if is_brief(self.is_here, R::OPERATION) {
            self.database.start(request)
        } else {
            py.detach(|| self.database.start(request))
        };
        waiting::begin_in_loop(py, started, |result| result, |py, result| result.into_python(py))
    }

    /// Starts a watch.
    pub fn watch<R: OperationRequest<Result: IntoPython>>(
        &self,
        py: Python<'_>,
        request: R,
    ) -> PyResult<Py<PyAny>> {
        let started = py.detach(|| self.database.watch_start(request));
        let database = self.database.clone();
        waiting::in_loop(
            py,
            started,
            |begun| begun,
            move |py, (result, watch)| {
                let watch = AsyncWatch::new(watch, &database, result.into_python(py)?);
                Ok(Py::new(py, watch)?.into_any())
            },
        )
    }
}

impl BlockingHandle {
    /// Runs an operation.
    pub fn run<R: OperationRequest<Result: IntoPython>>(
        &self,
        py: Python<'_>,
        request: R,
    ) -> PyResult<Py<PyAny>> {
        if is_brief(self.is_memory, R::OPERATION) {
            return run_in_memory(py, &self.database, request);
        }
        call(py, &self.database, request)?.into_python(py)
    }

    /// Begins a watch.
    pub fn watch<R: OperationRequest<Result: IntoPython>>(
        &self,
        py: Python<'_>,
        request: R,
    ) -> PyResult<Py<PyAny>> {
        let started = py.detach(|| self.database.watch_start(request));
        let (result, watch) = waiting::wait(py, started)?;
        let watch = BlockingWatch::new(watch, &self.database, result.into_python(py)?);
        Ok(Py::new(py, watch)?.into_any())
    }
}

/// The methods of both handles.
macro_rules! handles {
    (
        operations: { $($name:ident($($argument:ident),* $(,)?) $signature:tt => $request:ident;)* }
        watches: { $($watch:ident($($watch_argument:ident),* $(,)?) => $watch_request:ident;)* }
    ) => {
        #[pymethods]
        impl AsyncHandle {
            $(
            #[pyo3(signature = (*arguments), text_signature = $signature)]
            fn $name(
                this: &Bound<'_, Self>,
                arguments: &Bound<'_, PyTuple>,
            ) -> PyResult<NotAwaited> {
                const COUNT: usize = <[&str]>::len(&[$(stringify!($argument)),*]);
                NotAwaited::of_operation(stringify!($name), COUNT, this, arguments, |handle, py, all| {
                    let mut _all = all.iter_borrowed();
                    handle.begin(py, $request { $($argument: next_argument(&mut _all, stringify!($argument))?,)* })
                })
            }
            )*

            $(
            #[allow(clippy::too_many_arguments)]
            fn $watch(
                &self,
                py: Python<'_>,
                $($watch_argument: &Bound<'_, PyAny>,)*
            ) -> PyResult<Py<PyAny>> {
                self.watch(py, $watch_request {
                    $($watch_argument: FromPython::from_python(
                        $watch_argument,
                        stringify!($watch_argument),
                    )?,)*
                })
            }
            )*

            /// Opens the database at `url`; `options` are JSON text.
            #[staticmethod]
            fn open(py: Python<'_>, url: &str, options: &str) -> PyResult<Py<PyAny>> {
                $crate::handle::open_in_loop(py, url, options)
            }

            /// Runs an operation by its name, with the members of the wire.
            fn call(
                &self,
                py: Python<'_>,
                operation: &Bound<'_, PyAny>,
                request: &Bound<'_, PyAny>,
            ) -> PyResult<Py<PyAny>> {
                $crate::handle::call_in_loop(self, py, operation, request)
            }

            /// Moves the clock of a test on.
            fn advance_clock(&self, py: Python<'_>, ms: i64) -> PyResult<()> {
                $crate::handle::advance_clock(&self.database(), py, ms)
            }

            /// Closes the database.
            fn close(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                $crate::handle::close_in_loop(self, py)
            }

            /// Whether it was closed.
            #[getter]
            fn is_closed(&self) -> bool {
                self.database().is_closed()
            }
        }

        #[pymethods]
        impl BlockingHandle {
            $(
            #[allow(clippy::too_many_arguments)]
            fn $name(
                &self,
                py: Python<'_>,
                $($argument: &Bound<'_, PyAny>,)*
            ) -> PyResult<Py<PyAny>> {
                self.run(py, $request {
                    $($argument: FromPython::from_python($argument, stringify!($argument))?,)*
                })
            }
            )*

            $(
            #[allow(clippy::too_many_arguments)]
            fn $watch(
                &self,
                py: Python<'_>,
                $($watch_argument: &Bound<'_, PyAny>,)*
            ) -> PyResult<Py<PyAny>> {
                self.watch(py, $watch_request {
                    $($watch_argument: FromPython::from_python(
                        $watch_argument,
                        stringify!($watch_argument),
                    )?,)*
                })
            }
            )*

            /// Opens the database at `url`; `options` are JSON text.
            #[staticmethod]
            fn open(py: Python<'_>, url: &str, options: &str) -> PyResult<BlockingHandle> {
                $crate::handle::open_in_thread(py, url, options)
            }

            /// Runs an operation by its name, with the members of the wire.
            fn call(
                &self,
                py: Python<'_>,
                operation: &Bound<'_, PyAny>,
                request: &Bound<'_, PyAny>,
            ) -> PyResult<Py<PyAny>> {
                $crate::handle::call_in_thread(self, py, operation, request)
            }

            /// Moves the clock of a test on.
            fn advance_clock(&self, py: Python<'_>, ms: i64) -> PyResult<()> {
                $crate::handle::advance_clock(&self.database(), py, ms)
            }

            /// Closes the database and waits for that.
            fn close(&self, py: Python<'_>) -> PyResult<()> {
                $crate::handle::close_in_thread(self, py)
            }

            /// Whether it was closed.
            #[getter]
            fn is_closed(&self) -> bool {
                self.database().is_closed()
            }
        }
    };
}

pub(crate) use handles;

/// The next of the arguments, as the member of a request.
pub fn next_argument<'a, 'py, T: FromPython>(
    arguments: &mut impl Iterator<Item = Borrowed<'a, 'py, PyAny>>,
    name: &str,
) -> PyResult<T> {
    match arguments.next() {
        Some(argument) => T::from_python(&argument, name),
        None => Err(pyo3::exceptions::PyTypeError::new_err(format!("{name} is missing"))),
    }
}

impl AsyncHandle {
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }
}

impl BlockingHandle {
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }
}

/// Opens in the running loop.
pub fn open_in_loop(py: Python<'_>, url: &str, options: &str) -> PyResult<Py<PyAny>> {
    let opened = py.detach(|| Database::open_start(url, options));
    let (database, started) = opened.map_err(|error| errors::raised(py, &error))?;
    let handle =
        AsyncHandle { database, is_here: !url.starts_with("rstmdb"), is_memory: is_memory(url) };
    waiting::in_loop(py, started, |()| handle, |py, handle| Ok(Py::new(py, handle)?.into_any()))
}

/// Opens in this thread.
pub fn open_in_thread(py: Python<'_>, url: &str, options: &str) -> PyResult<BlockingHandle> {
    let opened = py.detach(|| Database::open_start(url, options));
    let (database, started) = opened.map_err(|error| errors::raised(py, &error))?;
    waiting::wait(py, started)?;
    Ok(BlockingHandle { database, is_memory: is_memory(url) })
}

/// Closes in the running loop.
pub fn close_in_loop(handle: &AsyncHandle, py: Python<'_>) -> PyResult<Py<PyAny>> {
    let started = py.detach(|| handle.database.close_start());
    waiting::in_loop(py, started, |()| (), |py, ()| Ok(py.None()))
}

/// Closes in this thread.
pub fn close_in_thread(handle: &BlockingHandle, py: Python<'_>) -> PyResult<()> {
    let started = py.detach(|| handle.database.close_start());
    waiting::wait(py, started)
}

/// Runs an operation by name in the running loop.
pub fn call_in_loop(
    handle: &AsyncHandle,
    py: Python<'_>,
    operation: &Bound<'_, PyAny>,
    request: &Bound<'_, PyAny>,
) -> PyResult<Py<PyAny>> {
    let started = begin(&handle.database, py, operation, request)?;
    waiting::in_loop(py, started, |text| text, |py, text: String| json::to_python(py, &text))
}

/// Runs an operation by name in this thread.
pub fn call_in_thread(
    handle: &BlockingHandle,
    py: Python<'_>,
    operation: &Bound<'_, PyAny>,
    request: &Bound<'_, PyAny>,
) -> PyResult<Py<PyAny>> {
    let started = begin(&handle.database, py, operation, request)?;
    json::to_python(py, &waiting::wait(py, started)?)
}

fn begin(
    database: &Database,
    py: Python<'_>,
    operation: &Bound<'_, PyAny>,
    request: &Bound<'_, PyAny>,
) -> PyResult<Started<String>> {
    let operation = named(operation)?;
    let request = json::from_python(request, "request")?;
    Ok(py.detach(|| database.start_json(operation, request.as_str().as_bytes())))
}

/// Moves the clock of a test on.
pub fn advance_clock(database: &Database, py: Python<'_>, ms: i64) -> PyResult<()> {
    let moved: Result<()> = py.detach(|| database.advance_clock(ms));
    moved.map_err(|error| errors::raised(py, &error))
}

/// A URL as people may see it: without a token.
#[pyfunction]
pub fn shown_url(url: &str) -> String {
    rstmdb_bridge::types::shown_url(url)
}

/// Messages on their way to Python: their makers may hold locks, so they never wait for the interpreter.
struct Messages {
    sender: Mutex<Option<std::sync::mpsc::Sender<(log::LogLevel, String, String)>>>,
}

static MESSAGES: Messages = Messages { sender: Mutex::new(None) };

/// Hands messages of `level` ("error" to "trace") and above to `receiver(level, target, message)`, on a
/// thread of its own; None stops that.
#[pyfunction]
pub fn set_log(py: Python<'_>, level: &str, receiver: Option<Py<PyAny>>) -> PyResult<()> {
    let level: log::LogLevel = level
        .parse()
        .map_err(|_| errors::argument(py, "level", "expected error, warn, info, debug or trace"))?;
    let Some(receiver) = receiver else {
        *locked(&MESSAGES.sender) = None;
        return log::set(level, None).map_err(|error| errors::raised(py, &error));
    };
    let (sender, messages) = std::sync::mpsc::channel::<(log::LogLevel, String, String)>();
    *locked(&MESSAGES.sender) = Some(sender);
    let forward = move || {
        while let Ok((level, target, message)) = messages.recv() {
            let told = Python::try_attach(|py| {
                let level = PyString::new(py, &level.as_str().to_lowercase());
                if let Err(error) = receiver.call1(py, (level, target, message)) {
                    error.write_unraisable(py, None);
                }
            });
            if told.is_none() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("rstmdb-log".to_owned()).spawn(forward)?;
    let send = |level, target: &str, message: &str| {
        if let Some(sender) = &*locked(&MESSAGES.sender) {
            let _ = sender.send((level, target.to_owned(), message.to_owned()));
        }
    };
    log::set(level, Some(Arc::new(send))).map_err(|error| errors::raised(py, &error))
}
