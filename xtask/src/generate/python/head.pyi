# The native module of rstmdb. `import rstmdb` is what you want; this is what it is made of.
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar, final, overload

from typing_extensions import TypeAlias

from ._values import BatchOperation, Name
from .errors import RstmdbError

_T = TypeVar("_T")

__version__: str

def json_text(value: Any) -> str: ...
def json_value(text: str) -> Any: ...
def set_log(level: str, receiver: Callable[[str, str, str], object] | None) -> None: ...

@final
class Pending(Generic[_T]):
    """A result to come: a future of the running loop, whose value may be an exception to raise."""

    @property
    def future(self) -> Any: ...
    def cancel(self) -> bool: ...

@final
class AsyncWatch(Generic[_T]):
    """A watch in an event loop."""

    @property
    def result(self) -> _T: ...
    @property
    def resume_offset(self) -> int: ...
    @property
    def history_id(self) -> str | None: ...
    def next(self) -> InstanceEvent | Pending[None] | None: ...
    def end(self) -> None: ...

@final
class BlockingWatch(Generic[_T]):
    """A watch in a thread."""

    @property
    def result(self) -> _T: ...
    @property
    def resume_offset(self) -> int: ...
    @property
    def history_id(self) -> str | None: ...
    def next(self, timeout: float | None = None) -> InstanceEvent | None: ...
    def end(self) -> None: ...
