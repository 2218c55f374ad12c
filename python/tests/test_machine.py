"""Definitions written in Python, handles, and pictures."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ET
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

import rstmdb
from rstmdb import Machine, Transition, sync


class State(str, Enum):
    CREATED = "created"
    PAID = "paid"
    SHIPPED = "shipped"
    LOST = "lost"


class Event(Enum):
    PAY = "PAY"
    SHIP = "SHIP"
    LOSE = "LOSE"
    NOTE = "NOTE"


def order() -> Machine[State, Event]:
    machine = Machine("order", 1, states=State, events=Event, initial=State.CREATED)
    return (
        machine.on(Event.PAY, State.CREATED, State.PAID, guard="ctx.total > 0")
        .on(Event.SHIP, State.PAID, State.SHIPPED)
        .on(Event.LOSE, [State.PAID, State.SHIPPED], State.LOST)
        .on(Event.NOTE, "*", State.LOST)
    )


def test_a_definition_is_what_it_says() -> None:
    assert order().definition == {
        "states": ["created", "paid", "shipped", "lost"],
        "initial": "created",
        "transitions": [
            {"from": "created", "event": "PAY", "to": "paid", "guard": "ctx.total > 0"},
            {"from": "paid", "event": "SHIP", "to": "shipped"},
            {"from": ["paid", "shipped"], "event": "LOSE", "to": "lost"},
            {"from": "*", "event": "NOTE", "to": "lost"},
        ],
    }
    by_names = Machine(
        "m",
        1,
        states=["a", "b"],
        initial="a",
        final=["b"],
        transitions=[Transition("a", "GO", "b")],
        meta={"owner": "x"},
    )
    assert by_names.definition == {
        "states": ["a", "b"],
        "initial": "a",
        "transitions": [{"from": "a", "event": "GO", "to": "b"}],
        "final": ["b"],
        "meta": {"owner": "x"},
    }


def test_names_are_checked_at_once() -> None:
    machine = Machine("m", 1, states=["a", "b"], events=["GO"], initial="a")
    with pytest.raises(ValueError, match="no state 'c'; it has a, b"):
        machine.on("GO", "a", "c")
    with pytest.raises(ValueError, match="no event 'STOP'; it has GO"):
        machine.on("STOP", "a", "b")
    with pytest.raises(ValueError, match="no state 'z'"):
        Machine("m", 1, states=["a"], initial="z")


async def test_a_handle_knows_its_machine(url: str) -> None:
    machine = order()
    machine.name = f"order-{url[:3]}"
    async with rstmdb.open(url) as db:
        orders = db.machine(machine)
        assert (await orders.put()).created
        assert not (await orders.put()).created
        assert (await orders.definition())["initial"] == "created"
        assert orders.version == 1
        for n in range(5):
            await orders.create(f"{machine.name}-{n}", {"total": n})
        with pytest.raises(rstmdb.RejectedError):
            await orders.apply(f"{machine.name}-0", Event.PAY)
        async with orders.watch(to_states=[State.PAID]) as events:
            result = await orders.apply(
                f"{machine.name}-1", Event.PAY, expected_state=State.CREATED
            )
            assert result.to_state == State.PAID
            event = await events.next()
            assert event is not None
            assert event.instance_id == f"{machine.name}-1"
        assert [row.id async for row in orders.instances(state=State.CREATED, page=2)] == [
            f"{machine.name}-{n}" for n in (0, 2, 3, 4)
        ]
        assert [(row.state, row.count) for row in await orders.count()] == [
            ("created", 4),
            ("paid", 1),
        ]
        assert len(await orders.list(limit=3)) == 3
        assert (await orders.get(f"{machine.name}-1")).state == "paid"
        assert (await orders.history(f"{machine.name}-1"))[0].event == "PAY"
        permitted = await orders.permitted(f"{machine.name}-1")
        assert {e.event for e in permitted if e.permitted} == {"SHIP", "LOSE", "NOTE"}
        view = await orders.view(f"{machine.name}-1")
        assert "image/svg+xml" in view._repr_mimebundle_()
        assert view.diagram.state == "paid"
        assert (await orders.delete(f"{machine.name}-4")).deleted
        with pytest.raises(TypeError):
            db.machine("order")  # type: ignore[call-overload]


def test_a_blocking_handle_is_the_same() -> None:
    with sync.open("mem:") as db:
        orders = db.machine(order())
        orders.put()
        orders.create("o", {"total": 1})
        assert orders.apply("o", Event.PAY).to_state == "paid"
        assert [row.id for row in orders.instances()] == ["o"]
        assert orders.view("o").instance.state == "paid"


def boxes(svg: str) -> dict[str, tuple[float, float]]:
    """Where the states are drawn."""
    tree = ET.fromstring(svg)
    return {
        text.text: (float(text.attrib["x"]), float(text.attrib["y"]))
        for text in tree.iter("{http://www.w3.org/2000/svg}text")
        if text.attrib["class"].startswith("name") and text.text
    }


def test_a_picture_shows_states_in_order_of_events() -> None:
    svg = order().diagram(State.PAID).svg()
    places = boxes(svg)
    assert set(places) == {"created", "paid", "shipped", "lost", "any other state"}
    assert places["created"][0] < places["paid"][0] < places["shipped"][0] < places["lost"][0]
    assert svg.count('class="here"') == 1
    assert all(event.value in svg for event in Event)
    assert "ctx.total &gt; 0" in svg
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")


def test_no_two_states_overlap() -> None:
    names = [f"state {n}" for n in range(30)]
    machine: Machine[str, str] = Machine("big", 1, states=names, initial=names[0])
    for n in range(30):
        for step in (1, 2, 7, 29):
            machine.on(f"E{step}", names[n], names[(n + step * (n + 1)) % 30])
    places = list(boxes(machine.diagram().svg()).values())
    for index, (x, y) in enumerate(places):
        for other_x, other_y in places[index + 1 :]:
            assert abs(x - other_x) > 60 or abs(y - other_y) >= 38


def random_machine(states: int, transitions: int) -> dict[str, Any]:
    choose = random.Random(7).choice
    names = [f"state {n}" for n in range(states)]
    rows = [
        {"from": choose(names), "event": f"E{n}", "to": choose(names), "guard": "ctx.a > 0"}
        for n in range(transitions)
    ]
    return {"states": names, "initial": names[0], "transitions": rows, "final": names[-1:]}


@pytest.mark.parametrize(("states", "transitions"), [(200, 600), (10_000, 30_000)])
def test_large_machines_are_lists_of_their_states(states: int, transitions: int) -> None:
    definition = random_machine(states, transitions)
    svg = rstmdb.Diagram(definition, "large", "state 5").svg()
    assert set(boxes(svg)) == set(definition["states"])
    assert svg.count('class="here"') == svg.count('class="final"') == 1
    row = definition["transitions"][0]
    assert f"{row['event']} \u2192 {row['to']} [ctx.a &gt; 0]" in svg
    tree = ET.fromstring(svg)
    ways = tree.iter("{http://www.w3.org/2000/svg}text")
    assert sum(1 for text in ways if text.attrib["class"] == "way") == transitions


def test_a_long_chain_is_drawn() -> None:
    names = [f"s{n}" for n in range(1000)]
    rows = [{"from": a, "event": "NEXT", "to": b} for a, b in zip(names, names[1:])]
    places = boxes(
        rstmdb.Diagram({"states": names, "initial": "s0", "transitions": rows}, "chain").svg()
    )
    assert [places[name][0] for name in names] == sorted(places[name][0] for name in names)


def test_names_that_xml_cant_hold_are_shown(tmp_path: Path) -> None:
    definition = {
        "states": ["a\x00b", "c\x1bd\ufffe"],
        "initial": "a\x00b",
        "transitions": [{"from": "a\x00b", "event": "E\x07", "to": "c\x1bd\ufffe"}],
    }
    picture = rstmdb.Diagram(definition, "odd\x0b", "a\x00b")
    assert set(boxes(picture.svg())) == {"a\u2400b", "c\u241bd\ufffd"}
    picture.save(tmp_path / "odd.svg")


def test_handles_are_drawn_where_their_definition_is_known() -> None:
    with sync.open("mem:") as db:
        db.machine(order()).put()
        handle = db.machine("order", 1)
        shown = handle._repr_mimebundle_()
        assert "shipped" in shown["image/svg+xml"]
        assert shown["text/plain"] == repr(handle)
        assert set(db.machine("nope", 1)._repr_mimebundle_()) == {"text/plain"}


async def test_handles_in_loops_are_drawn_once_they_were_read() -> None:
    async with rstmdb.open("mem:") as db:
        await db.machine(order()).put()
        assert "image/svg+xml" in db.machine(order())._repr_mimebundle_()
        handle = db.machine("order", 1)
        assert set(handle._repr_mimebundle_()) == {"text/plain"}
        await handle.definition()
        assert "image/svg+xml" in handle._repr_mimebundle_()


def test_odd_machines_can_be_drawn(tmp_path: Path) -> None:
    for definition in (
        {"states": [], "initial": "a", "transitions": []},
        {"states": ["a"], "initial": "a", "transitions": []},
        {"states": ["a"], "initial": "a", "transitions": [{"from": "a", "event": "E", "to": "a"}]},
        {"states": ["a", "b"], "initial": "b", "transitions": [], "final": ["b"]},
        {
            "states": ["<a>", "\"b'"],
            "initial": "<a>",
            "transitions": [{"from": ["<a>", "\"b'"], "event": "&", "to": "<a>", "guard": "x<1"}],
        },
    ):
        picture = rstmdb.Diagram(definition, "odd <machine>")
        ET.fromstring(picture.svg())
        picture.save(tmp_path / "odd.svg")
    assert (tmp_path / "odd.svg").read_text("utf-8").startswith("<svg")
    assert set(order()._repr_mimebundle_()) == {"text/plain", "image/svg+xml"}


def test_machines_that_do_something() -> None:
    machine = Machine("m", 1, states=State, events=Event, initial=State.CREATED, merge=["amount"])
    machine.state(
        State.PAID,
        entry=[{"emit": "paid", "data": {"tries": rstmdb.expression("ctx.tries")}}],
        exit=[{"unset": ["tries"]}],
    )
    tries = {"assign": {"tries": rstmdb.expression("coalesce(ctx.tries, 0) + 1")}}
    machine.on(Event.PAY, State.CREATED, State.PAID, guard="payload.amount > 9", actions=[tries])
    machine.on(Event.NOTE, State.CREATED, actions=[tries], merge=False)
    machine.always(State.PAID, State.LOST, guard="ctx.amount > 99")
    assert machine.definition == {
        "states": [
            "created",
            {
                "name": "paid",
                "entry": [{"emit": "paid", "data": {"tries": {"$": "ctx.tries"}}}],
                "exit": [{"unset": ["tries"]}],
            },
            "shipped",
            "lost",
        ],
        "initial": "created",
        "merge": ["amount"],
        "transitions": [
            {
                "from": "created",
                "event": "PAY",
                "to": "paid",
                "guard": "payload.amount > 9",
                "actions": [tries],
            },
            {"from": "created", "event": "NOTE", "merge": False, "actions": [tries]},
            {"from": "paid", "always": True, "to": "lost", "guard": "ctx.amount > 99"},
        ],
    }
    with sync.open("mem:") as db:
        db.machine(machine).put()
        db.create_instance(machine="m", version=1, instance_id="i")
        assert db.apply_event("i", "NOTE", {"x": 1}).ctx == {"tries": 1}
        assert db.apply_event("i", "PAY", {"amount": 10, "x": 1}).ctx == {"tries": 2, "amount": 10}
        [paid, *_] = db.history("i").events
        assert paid.emitted == [{"type": "paid", "data": {"tries": 2}}]
        db.create_instance(machine="m", version=1, instance_id="j")
        rich = db.apply_event("j", "PAY", {"amount": 100})
        assert (rich.to_state, rich.ctx) == ("lost", {"amount": 100})
    ET.fromstring(machine.diagram().svg())
    with pytest.raises(ValueError, match="no state 'nowhere'"):
        machine.state("nowhere", entry=[])
