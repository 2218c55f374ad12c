//! Calls in an event loop: coroutines that begin at their first step, without a frame of Python.
//!
//! A coroutine function of Python makes a frame for each call, which does nothing here but to hand over to
//! the native side. What debuggers, tracebacks and warnings ask coroutines for is asked of one that Python
//! makes of the same call: only then, and it never runs.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use pyo3::exceptions::{
    PyBaseException, PyRuntimeError, PyStopIteration, PyTypeError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyIterator, PyTuple, PyType};
use pyo3::{IntoPyObjectExt, ffi, intern};

use crate::handle::AsyncHandle;
use crate::waiting::{Begun, Pending, locked};

/// Begins an operation with the arguments of its method.
pub type Begin = fn(&AsyncHandle, Python<'_>, &Bound<'_, PyTuple>) -> PyResult<Begun>;

/// The call of a coroutine function: a coroutine like any other that says where `await` was forgotten.
///
/// Its name is part of what Python itself says of operators and `len`.
#[pyclass(frozen, weakref, module = "rstmdb._native")]
pub struct NotAwaited {
    work: Work,
}

/// Who does it.
enum Work {
    Python(Py<PyAny>),
    Native(OperationCall),
}

/// The call of an operation.
struct OperationCall {
    name: &'static str,
    handle: Py<AsyncHandle>,
    begin: Begin,
    arguments: Py<PyTuple>,
    /// The method that was called, and what it is of, where that is not the operation's own.
    through: OnceLock<(Py<PyAny>, Py<PyAny>)>,
    stage: AtomicU8,
    /// While it waits.
    wait: Mutex<Option<Wait>>,
    /// What stands for it where a coroutine of Python is asked for.
    stand_in: OnceLock<Py<PyAny>>,
}

/// How far a call has come.
mod stage {
    pub const NEW: u8 = 0;
    pub const RUNNING: u8 = 1;
    pub const WAITING: u8 = 2;
    pub const ENDED: u8 = 3;
}

struct Wait {
    pending: Pending,
    /// The future, as who awaits it steps through it.
    steps: Py<PyIterator>,
}

/// What came of a step.
enum Step {
    Yields(Py<PyAny>),
    Returns(Py<PyAny>),
}

impl Step {
    /// As `send` and `throw` of coroutines tell it.
    fn told(self) -> PyResult<Py<PyAny>> {
        match self {
            Step::Yields(waits_for) => Ok(waits_for),
            Step::Returns(result) => Err(PyStopIteration::new_err((result,))),
        }
    }
}

impl OperationCall {
    fn new(
        name: &'static str,
        handle: Py<AsyncHandle>,
        begin: Begin,
        arguments: Py<PyTuple>,
    ) -> OperationCall {
        OperationCall {
            name,
            handle,
            begin,
            arguments,
            through: OnceLock::new(),
            stage: AtomicU8::new(stage::NEW),
            wait: Mutex::new(None),
            stand_in: OnceLock::new(),
        }
    }

    fn stage(&self) -> u8 {
        self.stage.load(Ordering::Acquire)
    }

    /// What a coroutine does at `send(None)`.
    fn step(&self, py: Python<'_>) -> PyResult<Step> {
        match self.stage.swap(stage::RUNNING, Ordering::AcqRel) {
            stage::RUNNING => Err(PyValueError::new_err("coroutine already executing")),
            stage::ENDED => {
                self.end();
                Err(PyRuntimeError::new_err("cannot reuse already awaited coroutine"))
            }
            stage::WAITING => self.go_on(py),
            _ => match self
                .retire(py)
                .and_then(|()| (self.begin)(self.handle.get(), py, self.arguments.bind(py)))
            {
                Ok(Begun::Done(result)) => {
                    self.end();
                    Ok(Step::Returns(result))
                }
                Ok(Begun::Pending(pending)) => {
                    let steps = pending.future().bind(py).try_iter();
                    let steps = steps.inspect_err(|_| self.end())?.unbind();
                    self.wait_for(py, Wait { pending, steps })
                }
                Err(error) => {
                    self.end();
                    Err(error)
                }
            },
        }
    }

    /// What stood for the call before it began was not forgotten.
    fn retire(&self, py: Python<'_>) -> PyResult<()> {
        match self.stand_in.get() {
            Some(stand_in) => stand_in.call_method0(py, intern!(py, "close")).map(drop),
            None => Ok(()),
        }
    }

    fn go_on(&self, py: Python<'_>) -> PyResult<Step> {
        let Some(wait) = locked(&self.wait).take() else {
            return Err(PyRuntimeError::new_err("there is nothing to wait for"));
        };
        // One that is cancelled, or not done because somebody steps too early, tells that when it is stepped.
        let Ok(result) = wait.pending.future().bind(py).call_method0(intern!(py, "result")) else {
            return self.wait_for(py, wait);
        };
        self.end();
        // An error comes as a value, so that a future that nobody awaits any more makes no noise.
        if result.is_instance_of::<PyBaseException>() {
            return Err(PyErr::from_value(result));
        }
        Ok(Step::Returns(result.unbind()))
    }

    fn wait_for(&self, py: Python<'_>, wait: Wait) -> PyResult<Step> {
        match wait.steps.bind(py).clone().next() {
            Some(Ok(waits_for)) => {
                *locked(&self.wait) = Some(wait);
                self.stage.store(stage::WAITING, Ordering::Release);
                Ok(Step::Yields(waits_for.unbind()))
            }
            Some(Err(error)) => {
                self.end();
                wait.pending.cancel();
                Err(error)
            }
            // It is done before anybody waited.
            None => {
                *locked(&self.wait) = Some(wait);
                self.go_on(py)
            }
        }
    }

    fn end(&self) {
        self.stage.store(stage::ENDED, Ordering::Release);
    }

    /// Ends it where it is: what waits gives up, a write that was begun goes on.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.stage.swap(stage::RUNNING, Ordering::AcqRel) == stage::RUNNING {
            return Err(PyValueError::new_err("coroutine already executing"));
        }
        let wait = locked(&self.wait).take();
        self.end();
        if let Some(wait) = wait {
            wait.pending.cancel();
        }
        self.retire(py)
    }

    /// A coroutine of Python for the same call, which never runs.
    fn imitation(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (method, of) =
            self.through.get().map_or((None, None), |(method, of)| (Some(method), Some(of)));
        said(py, "stand_in", (self.name, &self.handle, &self.arguments, method, of))
    }

    /// The one that is kept: open as long as the call has not begun.
    fn stand_in(&self, py: Python<'_>) -> PyResult<&Py<PyAny>> {
        if self.stand_in.get().is_none() {
            let made = self.imitation(py)?;
            // Making it may have run other threads.
            if let Err(late) = self.stand_in.set(made) {
                late.call_method0(py, intern!(py, "close"))?;
            }
            if self.stage() != stage::NEW {
                self.retire(py)?;
            }
        }
        self.stand_in.get().ok_or_else(|| PyRuntimeError::new_err("nothing stands for the call"))
    }

    /// What coroutines have under a name that begins with `cr_`, and their names.
    fn mark(&self, py: Python<'_>, name: &str) -> PyResult<Py<PyAny>> {
        let stage = self.stage();
        match name {
            "cr_running" => (stage == stage::RUNNING).into_py_any(py),
            "cr_suspended" => (stage == stage::WAITING).into_py_any(py),
            "cr_await" => {
                let steps = locked(&self.wait).as_ref().map(|wait| wait.steps.clone_ref(py));
                steps.into_py_any(py)
            }
            "cr_frame" if matches!(stage, stage::RUNNING | stage::WAITING) => {
                let open = self.imitation(py)?;
                let frame = open.getattr(py, name);
                open.call_method0(py, intern!(py, "close"))?;
                frame
            }
            _ => self.stand_in(py)?.getattr(py, name),
        }
    }
}

impl NotAwaited {
    /// The call of an operation, which begins when it is awaited.
    pub fn of_operation(
        name: &'static str,
        count: usize,
        handle: &Bound<'_, AsyncHandle>,
        arguments: &Bound<'_, PyTuple>,
        begin: Begin,
    ) -> PyResult<NotAwaited> {
        let py = handle.py();
        if arguments.len() != count {
            let came = arguments.len();
            return Err(PyTypeError::new_err(format!(
                "{name}() takes {count} arguments, not {came}"
            )));
        }
        let (handle, arguments) = (handle.clone().unbind(), arguments.clone().unbind());
        let call = OperationCall::new(name, handle, begin, arguments);
        if is_origin_kept(py)? {
            call.stand_in(py)?;
        }
        Ok(NotAwaited { work: Work::Native(call) })
    }
}

/// The call of `method`, of `of`, which does nothing but to await `call`: that one, under its name.
#[pyfunction]
pub fn called_as<'py>(
    call: Bound<'py, PyAny>,
    method: Py<PyAny>,
    of: Py<PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = call.py();
    let Ok(known) = call.cast::<NotAwaited>() else {
        // The operation's method is somebody's own.
        return Ok(Bound::new(py, NotAwaited { work: Work::Python(call.unbind()) })?.into_any());
    };
    let Work::Native(operation) = &known.get().work else { return Ok(call) };
    if operation.stand_in.get().is_none() {
        // Somebody's own method may have named it before: then that is its name.
        let _ = operation.through.set((method, of));
        return Ok(call);
    }
    // What stands for it has its name already.
    let (handle, arguments) = (operation.handle.clone_ref(py), operation.arguments.clone_ref(py));
    let renamed = OperationCall::new(operation.name, handle, operation.begin, arguments);
    operation.close(py)?;
    let _ = renamed.through.set((method, of));
    renamed.stand_in(py)?;
    Ok(Bound::new(py, NotAwaited { work: Work::Native(renamed) })?.into_any())
}

/// Whether Python notes where coroutines, or objects at all, are made: what it says of one that was never
/// awaited has that place.
fn is_origin_kept(py: Python<'_>) -> PyResult<bool> {
    static ASKED: PyOnceLock<(Py<PyAny>, Option<Py<PyAny>>)> = PyOnceLock::new();
    let (depth, traces) = ASKED.get_or_try_init(py, || -> PyResult<_> {
        let depth = PyModule::import(py, "sys")?.getattr("get_coroutine_origin_tracking_depth")?;
        let traces = PyModule::import(py, "_tracemalloc").and_then(|it| it.getattr("is_tracing"));
        Ok((depth.unbind(), traces.ok().map(Bound::unbind)))
    })?;
    if depth.call0(py)?.is_truthy(py)? {
        return Ok(true);
    }
    match traces {
        Some(traces) => traces.call0(py)?.is_truthy(py),
        None => Ok(false),
    }
}

/// What a function of `rstmdb._waiting` says: the words are there.
fn said<'py>(
    py: Python<'py>,
    function: &str,
    arguments: impl pyo3::call::PyCallArgs<'py>,
) -> PyResult<Py<PyAny>> {
    Ok(PyModule::import(py, "rstmdb._waiting")?.getattr(function)?.call1(arguments)?.unbind())
}

#[pymethods]
impl NotAwaited {
    /// The call of a coroutine function that Python runs.
    #[new]
    fn new(coroutine: Py<PyAny>) -> NotAwaited {
        NotAwaited { work: Work::Python(coroutine) }
    }

    /// `NotAwaited[…]` in annotations, which frameworks evaluate.
    #[classmethod]
    fn __class_getitem__(
        class: &Bound<'_, PyType>,
        item: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        crate::results::alias(class, item)
    }

    fn __await__(this: Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = this.py();
        match &this.get().work {
            Work::Python(coroutine) => coroutine.call_method0(py, intern!(py, "__await__")),
            Work::Native(_) => Ok(this.into_any().unbind()),
        }
    }

    /// What `await` steps through, and tasks.
    #[allow(unsafe_code)]
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let result = match &self.work {
            Work::Python(coroutine) => {
                return coroutine.call_method1(py, intern!(py, "send"), (py.None(),)).map(Some);
            }
            Work::Native(call) => match call.step(py)? {
                Step::Yields(waits_for) => return Ok(Some(waits_for)),
                Step::Returns(result) => result,
            },
        };
        // As Python's own coroutines do it: nobody looks at the exception, so that none is made of the two. PyO3
        // makes one, which takes as long as all the rest of a call.
        // SAFETY: both are objects that live, in a thread that is attached; the result is no tuple and no exception.
        unsafe { ffi::PyErr_SetObject(ffi::PyExc_StopIteration, result.as_ptr()) };
        Ok(None)
    }

    /// As that of coroutines.
    fn send(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let call = match &self.work {
            Work::Python(coroutine) => {
                return coroutine.call_method1(py, intern!(py, "send"), (value,));
            }
            Work::Native(call) => call,
        };
        if !value.is_none() && call.stage() == stage::NEW {
            let message = "can't send non-None value to a just-started coroutine";
            return Err(PyTypeError::new_err(message));
        }
        call.step(py)?.told()
    }

    /// As that of coroutines.
    #[pyo3(signature = (*error))]
    fn throw(&self, py: Python<'_>, error: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        let throw = intern!(py, "throw");
        let call = match &self.work {
            Work::Python(coroutine) => return coroutine.call_method1(py, throw, error),
            Work::Native(call) => call,
        };
        if call.stage() == stage::ENDED {
            // It raises that it was awaited already.
            return call.step(py)?.told();
        }
        call.close(py)?;
        // One that has not begun does nothing but to raise it.
        let fresh = call.imitation(py)?;
        let raised = fresh.call_method1(py, throw, error);
        fresh.call_method0(py, intern!(py, "close"))?;
        raised
    }

    /// As that of coroutines.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match &self.work {
            Work::Python(coroutine) => coroutine.call_method0(py, intern!(py, "close")).map(drop),
            Work::Native(call) => call.close(py),
        }
    }

    /// `inspect.iscoroutine` and others ask for the type of coroutines.
    #[getter]
    fn __class__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let class = CLASS.get_or_try_init(py, || -> PyResult<_> {
            Ok(PyModule::import(py, "types")?.getattr("CoroutineType")?.unbind())
        });
        class.map(|class| class.clone_ref(py))
    }

    /// What debuggers and tracebacks of tasks ask coroutines for, and the word that `await` was forgotten.
    fn __getattr__(this: &Bound<'_, Self>, name: &str) -> PyResult<Py<PyAny>> {
        let (py, call) = (this.py(), this.get());
        if !(name.starts_with("cr_") || matches!(name, "__name__" | "__qualname__")) {
            return said(py, "no_member", (this, name));
        }
        match &call.work {
            Work::Python(coroutine) => coroutine.getattr(py, name),
            Work::Native(call) => call.mark(py, name),
        }
    }

    fn __getitem__(this: &Bound<'_, Self>, _index: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        said(this.py(), "no_items", (this,))
    }

    fn __iter__(this: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        said(this.py(), "no_loop", (this,))
    }

    fn __enter__(this: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        said(this.py(), "no_with", (this,))
    }

    /// For `with`, which looks for it first.
    #[pyo3(signature = (*_raised))]
    fn __exit__(&self, _raised: &Bound<'_, PyTuple>) {}

    fn __repr__(this: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        said(this.py(), "shown", (this,))
    }

    // A task knows what it runs, and that the future that the task waits for.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let call = match &self.work {
            Work::Python(coroutine) => return visit.call(coroutine),
            Work::Native(call) => call,
        };
        visit.call(&call.handle)?;
        visit.call(&call.arguments)?;
        visit.call(call.stand_in.get())?;
        if let Some((method, of)) = call.through.get() {
            visit.call(method)?;
            visit.call(of)?;
        }
        // Nobody else steps meanwhile, or it holds what it steps through itself.
        if let Ok(wait) = call.wait.try_lock()
            && let Some(wait) = &*wait
        {
            visit.call(&wait.steps)?;
            visit.call(wait.pending.future())?;
        }
        Ok(())
    }
}

impl Drop for OperationCall {
    fn drop(&mut self) {
        if let Some(wait) = self.wait.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            wait.pending.cancel();
        }
        if *self.stage.get_mut() != stage::NEW {
            return;
        }
        Python::try_attach(|py| {
            let raised = PyErr::take(py);
            // What was never awaited Python itself says of a coroutine that is dropped, with where it was made.
            let stand_in = self.stand_in(py).map(drop);
            drop(self.stand_in.take());
            if let Err(error) = stand_in {
                error.write_unraisable(py, None);
            }
            if let Some(raised) = raised {
                raised.restore(py);
            }
        });
    }
}
