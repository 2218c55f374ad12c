"""What other frameworks ask of our types: pydantic, and by it FastAPI. Nothing of them is needed here."""

from __future__ import annotations

from typing import Any

from ._members import MEMBERS
from ._native import json_text

_TYPES: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "bool": {"type": "boolean"},
    "int": {"type": "integer"},
    # On the wire, a time is milliseconds.
    "time": {"type": "integer"},
    "ints": {"type": "array", "items": {"type": "integer"}},
    "texts": {"type": "array", "items": {"type": "string"}},
    "json": {},
}


def core_schema(kind: Any) -> Any:
    """Objects of the class are taken as they are, and so are the values of `to_dict()`, which they become."""
    from pydantic_core import core_schema as schemas

    def read(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        try:
            made = _made(kind, value)
        except (TypeError, KeyError, AttributeError) as error:
            # Pydantic's errors are made of this class alone.
            raise ValueError(f"this is no {kind.__name__}: {error}") from None
        if not isinstance(made, kind):
            raise ValueError(f"this is a {type(made).__name__}, no {kind.__name__}")
        return made

    written = schemas.plain_serializer_function_ser_schema(
        lambda value: value.to_dict(), return_schema=schemas.any_schema()
    )
    return schemas.no_info_plain_validator_function(read, serialization=written)


def _made(kind: Any, value: Any) -> Any:
    if hasattr(kind, "from_json"):
        return kind.from_json(json_text(value))
    # An operation of a batch, as it is on the wire.
    if value["op"].replace("_", "").lower() != kind.__name__.lower():
        raise TypeError(f"op is {value['op']!r}")
    return kind(**value["params"])


def json_schema(kind: Any) -> dict[str, Any]:
    """An object with the members of the class."""
    members = MEMBERS.get(kind.__name__, {})
    described: dict[str, Any] = {"type": "object", "title": kind.__name__}
    if members:
        described["properties"] = {name: dict(_TYPES[form]) for name, (form, _) in members.items()}
        described["required"] = [name for name, (_, required) in members.items() if required]
    return described
