"""What arguments may be, beside plain values."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Union

from ._native import ApplyEvent, CreateInstance, DeleteInstance, GetInstance

if TYPE_CHECKING:
    from typing_extensions import TypeAlias

Name: TypeAlias = Union[str, Enum]
"""The name of a state, an event or a machine: a str, or a member of an Enum whose value is one."""

BatchOperation: TypeAlias = Union[
    ApplyEvent, CreateInstance, DeleteInstance, GetInstance, Mapping[str, Any]
]
"""One operation of a batch: an object, or the wire's `{"op": "APPLY_EVENT", "params": {...}}`."""
