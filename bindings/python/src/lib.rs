//! `rstmdb._native`: the Python package's way to the bridge.
//!
//! Arguments become typed requests, results become frozen objects, errors become the exceptions of
//! `rstmdb.errors`. There is no logic here. What follows the table of operations is `generated.rs`.

#[rustfmt::skip]
mod generated;
mod batch;
mod calls;
mod errors;
mod from_python;
mod handle;
mod hints;
mod json;
mod json_values;
mod results;
mod to_python;
mod waiting;
mod watch;

use pyo3::prelude::*;

/// The native module of rstmdb; `import rstmdb` is what you want.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<handle::AsyncHandle>()?;
    module.add_class::<handle::BlockingHandle>()?;
    module.add_class::<calls::NotAwaited>()?;
    module.add_class::<waiting::Pending>()?;
    module.add_class::<watch::AsyncWatch>()?;
    module.add_class::<watch::BlockingWatch>()?;
    module.add_function(wrap_pyfunction!(calls::called_as, module)?)?;
    module.add_function(wrap_pyfunction!(json::json_text, module)?)?;
    module.add_function(wrap_pyfunction!(json::json_value, module)?)?;
    module.add_function(wrap_pyfunction!(handle::set_log, module)?)?;
    module.add_function(wrap_pyfunction!(handle::shown_url, module)?)?;
    generated::add_classes(module)
}
