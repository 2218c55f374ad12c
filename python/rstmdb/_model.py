"""What `models.py` needs of pydantic, for those who don't have it."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, get_args, get_type_hints


class BaseModel:
    """Fields from annotations; unknown members of the data are ignored, as pydantic does."""

    def __init__(self, **data: Any) -> None:
        kind = type(self)
        missing = [name for name in kind._hints() if name not in data and not hasattr(kind, name)]
        if missing:
            raise ValueError(f"{kind.__name__}: missing {', '.join(missing)}")
        for name, hint in kind._hints().items():
            value = data[name] if name in data else getattr(kind, name)
            if name not in data and isinstance(value, dict):
                value = dict(value)
            object.__setattr__(self, name, _fitted(value, hint))

    @classmethod
    def _hints(cls) -> dict[str, Any]:
        hints: dict[str, Any] | None = cls.__dict__.get("_hints_kept")
        if hints is None:
            hints = get_type_hints(cls)
            hints = {name: hint for name, hint in hints.items() if not name.startswith("_")}
            cls._hints_kept = hints  # type: ignore[attr-defined]
        return hints

    @classmethod
    def model_validate(cls, data: Any) -> Any:
        """The model of a mapping; a model stays what it is."""
        return data if isinstance(data, cls) else cls(**data)

    @classmethod
    def model_validate_json(cls, text: str | bytes) -> Any:
        """The model of a JSON text."""
        return cls(**json.loads(text))

    def model_dump(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {name: _plain(getattr(self, name)) for name in type(self)._hints()}

    def model_dump_json(self) -> str:
        """The fields as JSON text."""
        return json.dumps(self.model_dump(), separators=(",", ":"), ensure_ascii=False)

    def model_copy(self, *, update: dict[str, Any] | None = None) -> Any:
        """A copy, with some fields changed."""
        copy = type(self).__new__(type(self))
        copy.__dict__.update({**self.__dict__, **(update or {})})
        return copy

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in type(self)._hints())
        return f"{type(self).__name__}({fields})"


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, list):
        return [_plain(element) for element in value]
    return value


def _fitted(value: Any, hint: Any) -> Any:
    """Makes models and enums of what they are made of."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return hint.model_validate(value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    for inner in get_args(hint):
        is_model = isinstance(inner, type) and issubclass(inner, BaseModel)
        if is_model and isinstance(value, list):
            return [inner.model_validate(element) for element in value]
        if is_model and isinstance(value, dict):
            return inner.model_validate(value)
    return value
