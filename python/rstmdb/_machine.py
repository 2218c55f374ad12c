"""Definitions of machines, written in Python and checked by type checkers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Union, cast

from ._values import Name

if TYPE_CHECKING:
    from typing_extensions import Self
else:
    # `typing` has it since 3.11.
    Self = Any

#: Something that is done: a `dict` such as `{"assign": {"tries": 1}}` or `{"emit": "order.paid"}`.
Action = Mapping[str, Any]

S = TypeVar("S", bound="Name")
E = TypeVar("E", bound="Name")


class Transition(Generic[S, E]):
    """One way from a state to another: in state `source`, `event` leads to `target`.

    `source` may be a list of states, or `"*"` for every state that is not final. With a `guard`, such as
    `"ctx.total > 0"`, only when that holds. `actions` are done when it is taken, such as
    `{"assign": {"tries": expression("coalesce(ctx.tries, 0) + 1")}}`; with them the target may be `None`:
    nothing is left or entered then. Without an event it is taken as soon as the guard holds. `merge` says what
    of the payload is merged into the context: all of it, nothing, or the members with these names.
    """

    __slots__ = ("actions", "event", "guard", "merge", "source", "target")

    def __init__(
        self,
        source: S | Iterable[S] | str,
        event: E | None,
        target: S | None,
        *,
        guard: str | None = None,
        merge: bool | Iterable[str] | None = None,
        actions: Iterable[Action] = (),
    ) -> None:
        self.source = source
        self.event = event
        self.target = target
        self.guard = guard
        self.merge = merge
        self.actions = list(actions)

    def __repr__(self) -> str:
        guard = f", guard={self.guard!r}" if self.guard is not None else ""
        return f"Transition({self.source!r}, {self.event!r}, {self.target!r}{guard})"


class Machine(Generic[S, E]):
    """A definition under construction: a name, a version, states and transitions.

    States and events may be texts, or members of enums, which type checkers then know:

        class State(str, Enum):
            CREATED = "created"
            PAID = "paid"

        class Event(str, Enum):
            PAY = "PAY"

        order = Machine("order", 1, states=State, events=Event, initial=State.CREATED)
        order.on(Event.PAY, State.CREATED, State.PAID, guard="ctx.total > 0")
        await db.machine(order).put()

    A state that does something when it is entered or left is told with `state`.

    A name that is no state or event of this machine is a `ValueError` at once.
    """

    __slots__ = (
        "_bodies",
        "_events",
        "_states",
        "final",
        "initial",
        "merge",
        "meta",
        "name",
        "transitions",
        "version",
    )

    def __init__(
        self,
        name: str,
        version: int,
        *,
        states: Iterable[S] | type[S],
        initial: S,
        events: Iterable[E] | type[E] | None = None,
        final: Iterable[S] = (),
        transitions: Iterable[Transition[S, E]] = (),
        meta: Mapping[str, Any] | None = None,
        merge: bool | Iterable[str] | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self._states = [text_of(state) for state in cast("Iterable[S]", states)]
        self._events = (
            None if events is None else {text_of(event) for event in cast("Iterable[E]", events)}
        )
        self.initial = self._state(initial)
        self.final = [self._state(state) for state in final]
        self.meta = meta
        self.merge = _merge(merge)
        self._bodies: dict[str, dict[str, Any]] = {}
        self.transitions: list[dict[str, Any]] = []
        for transition in transitions:
            self.add(transition)

    def on(
        self,
        event: E,
        source: S | Iterable[S] | str,
        target: S | None = None,
        *,
        guard: str | None = None,
        merge: bool | Iterable[str] | None = None,
        actions: Iterable[Action] = (),
    ) -> Self:
        """Adds a transition: `event` leads from `source` to `target`. Returns the machine.

        Without a target nothing is left or entered, and there have to be actions.
        """
        return self.add(
            Transition(source, event, target, guard=guard, merge=merge, actions=actions)
        )

    def always(
        self,
        source: S | Iterable[S] | str,
        target: S | None = None,
        *,
        guard: str | None = None,
        actions: Iterable[Action] = (),
    ) -> Self:
        """Adds a transition that is taken as soon as the guard holds, without an event. Returns the machine."""
        return self.add(Transition(source, None, target, guard=guard, actions=actions))

    def state(
        self,
        state: S,
        *,
        entry: Iterable[Action] = (),
        exit: Iterable[Action] = (),
        meta: Mapping[str, Any] | None = None,
    ) -> Self:
        """Says what is done when a state is entered and left. Returns the machine."""
        body: dict[str, Any] = {}
        for key, actions in (("entry", list(entry)), ("exit", list(exit))):
            if actions:
                body[key] = actions
        if meta is not None:
            body["meta"] = dict(meta)
        self._bodies[self._state(state)] = body
        return self

    def add(self, transition: Transition[S, E]) -> Self:
        """Adds a transition. Returns the machine."""
        row: dict[str, Any] = {"from": self._sources(transition.source)}
        if transition.event is None:
            row["always"] = True
        else:
            row["event"] = self._event(transition.event)
        if transition.target is not None:
            row["to"] = self._state(transition.target)
        if transition.guard is not None:
            row["guard"] = transition.guard
        if transition.merge is not None:
            row["merge"] = _merge(transition.merge)
        if transition.actions:
            row["actions"] = list(transition.actions)
        self.transitions.append(row)
        return self

    @property
    def states(self) -> list[str]:
        """The states, by name."""
        return list(self._states)

    @property
    def definition(self) -> dict[str, Any]:
        """The definition, as `put_machine` takes it."""
        definition: dict[str, Any] = {
            "states": [
                {"name": name, **self._bodies[name]} if self._bodies.get(name) else name
                for name in self._states
            ],
            "initial": self.initial,
            "transitions": [dict(row) for row in self.transitions],
        }
        if self.final:
            definition["final"] = list(self.final)
        if self.meta is not None:
            definition["meta"] = dict(self.meta)
        if self.merge is not None:
            definition["merge"] = self.merge
        return definition

    def diagram(self, state: S | None = None) -> Diagram:
        """The machine as a picture, with `state` marked."""
        marked = None if state is None else self._state(state)
        return Diagram(self.definition, f"{self.name} {self.version}", marked)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self), "image/svg+xml": self.diagram().svg()}

    def _event(self, event: E) -> str:
        text = text_of(event)
        if self._events is not None and text not in self._events:
            raise ValueError(f"machine {self.name!r} has no event {text!r}{_nearest(self._events)}")
        return text

    def _state(self, state: S) -> str:
        text = text_of(state)
        if text not in self._states:
            raise ValueError(f"machine {self.name!r} has no state {text!r}{_nearest(self._states)}")
        return text

    def _sources(self, source: S | Iterable[S] | str) -> str | list[str]:
        if isinstance(source, (str, Enum)):
            return "*" if source == "*" else self._state(cast("S", source))
        return [self._state(state) for state in source]

    def __repr__(self) -> str:
        return (
            f"Machine({self.name!r}, {self.version}, states={self._states!r}, "
            f"initial={self.initial!r}, {len(self.transitions)} transitions)"
        )


class Diagram:
    """A machine as a picture: SVG, made without any other program. Notebooks show it."""

    __slots__ = ("definition", "state", "title")

    def __init__(self, definition: Mapping[str, Any], title: str, state: str | None = None) -> None:
        self.definition = definition
        self.title = title
        self.state = state

    def svg(self) -> str:
        """The picture as the text of an SVG file."""
        from ._svg import draw

        return draw(self.definition, self.title, self.state)

    def save(self, path: Union[str, Any]) -> None:
        """Writes the picture to a file."""
        from pathlib import Path

        Path(path).write_text(self.svg(), encoding="utf-8")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self), "image/svg+xml": self.svg()}

    def __repr__(self) -> str:
        at = f" in {self.state!r}" if self.state is not None else ""
        return f"<Diagram of {self.title!r}{at}>"


def expression(text: str) -> dict[str, str]:
    """A value of an action that is computed: `expression("ctx.tries + 1")` is `{"$": "ctx.tries + 1"}`."""
    return {"$": text}


def _merge(merge: bool | Iterable[str] | None) -> bool | list[str] | None:
    return merge if merge is None or isinstance(merge, bool) else [str(name) for name in merge]


def text_of(name: Name) -> str:
    """The name that a text or a member of an enum stands for."""
    value = name.value if isinstance(name, Enum) else name
    if not isinstance(value, str):
        raise TypeError(f"expected a str or an Enum of str, not {name!r}")
    return str(value)


def definition_of(definition: Union[Mapping[str, Any], Machine[Any, Any]]) -> dict[str, Any]:
    """A definition as plain values."""
    if isinstance(definition, Machine):
        return definition.definition
    return dict(definition)


def _nearest(names: Iterable[str]) -> str:
    return "; it has " + ", ".join(sorted(names))
