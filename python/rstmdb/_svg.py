"""Pictures of machines: states in layers from left to right, events on the arrows between them.

The layout is the usual one for such graphs: arrows that close a circle are turned around, states get layers
by their longest way from the initial one, arrows across several layers and their labels get places of
their own in between, and sweeps over the layers put neighbours side by side. A machine with too many of
those places for that, which nobody could read either, is shown as a list of its states and their ways out.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import Any

STATE_HEIGHT = 38.0
LINE_HEIGHT = 15.0
GAP_X = 22.0
GAP_Y = 20.0
MARGIN = 22.0
TITLE = 30.0
GUARD_MAX = 34
ANY = "any other state"
# More places than this are a list: sweeping over them would take longer than a second on a slow machine.
PLACES_MAX = 3000
LIST_INDENT = 16.0

# What XML can't hold, by what shows it: the pictures of control characters, and the sign for the rest.
_SHOWN = {
    **{code: 0x2400 + code for code in range(0x20)},
    0x7F: 0x2421,
    **dict.fromkeys((*range(0xD800, 0xE000), 0xFFFE, 0xFFFF), 0xFFFD),
}

STYLE = (
    "text{font:13px ui-sans-serif,system-ui,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2937}"
    ".card{fill:#fff;stroke:#e5e7eb}"
    ".title{font-weight:600;font-size:12px;fill:#6b7280}"
    ".state{fill:#f8fafc;stroke:#94a3b8;stroke-width:1.4}"
    ".final{fill:none;stroke:#94a3b8;stroke-width:1.2}"
    ".any{fill:#fff;stroke:#94a3b8;stroke-width:1.2;stroke-dasharray:4 3}"
    ".here{fill:#2563eb;stroke:#1d4ed8;stroke-width:1.6}"
    ".here-final{fill:none;stroke:#bfdbfe;stroke-width:1.4}"
    ".name{font-weight:600;text-anchor:middle}"
    ".name-here{font-weight:600;text-anchor:middle;fill:#fff}"
    ".name-any{font-style:italic;text-anchor:middle;fill:#64748b}"
    ".edge{fill:none;stroke:#64748b;stroke-width:1.4}"
    ".tip{fill:#64748b}"
    ".start{fill:#475569}"
    ".label{fill:#fff}"
    ".event{font-size:12px;text-anchor:middle;fill:#334155}"
    ".way{font-size:12px;fill:#334155}"
    ".guard{font-size:11px;font-style:italic;text-anchor:middle;fill:#94a3b8}"
)


class _Node:
    """A state, or a place that an arrow, and perhaps its label, passes through."""

    def __init__(self, rank: int, width: float, height: float, name: str | None = None) -> None:
        self.rank = rank
        self.width = width
        self.height = height
        self.name = name
        self.lines: list[tuple[str, str]] = []
        self.before: list[_Node] = []
        self.after: list[_Node] = []
        self.index = 0
        self.middle = 0.0
        self.x = 0.0
        self.y = 0.0


class _Edge:
    """The arrow between two states, with all events that take that way."""

    def __init__(self, source: str, target: str) -> None:
        self.source = source
        self.target = target
        self.lines: list[tuple[str, str]] = []
        self.is_reversed = False
        self.way: list[_Node] = []


def draw(definition: Mapping[str, Any], title: str, marked: str | None = None) -> str:
    """The machine as SVG, with the state `marked` standing out."""
    names, edges = _graph(definition)
    initial = str(definition.get("initial", names[0] if names else ""))
    if len(names) + len(edges) > PLACES_MAX:
        return _list(definition, title, marked, initial, names, edges)
    loops = [edge for edge in edges if edge.source == edge.target]
    ways = [edge for edge in edges if edge.source != edge.target]
    _turn_around(names, initial, ways)
    ranks = _ranks(names, ways)
    crossed = sum(2 * abs(ranks[edge.source] - ranks[edge.target]) - 1 for edge in ways)
    if len(names) + crossed > PLACES_MAX:
        return _list(definition, title, marked, initial, names, edges)
    nodes = {name: _Node(2 * ranks[name], _width(name) + 30, STATE_HEIGHT, name) for name in names}
    layers: list[list[_Node]] = [[] for _ in range(2 * max(ranks.values(), default=0) + 1)]
    for name in names:
        layers[nodes[name].rank].append(nodes[name])
    for edge in ways:
        _lay(edge, nodes, layers)
    for loop in loops:
        _room_for(nodes[loop.source], loop)
    _order(layers)
    _place(layers)
    return _picture(definition, title, marked, initial, nodes, layers, ways, loops)


def _graph(definition: Mapping[str, Any]) -> tuple[list[str], list[_Edge]]:
    names = [
        str(state["name"] if isinstance(state, Mapping) else state)
        for state in definition.get("states", ())
    ]
    known = set(names)
    edges: dict[tuple[str, str], _Edge] = {}
    for row in definition.get("transitions", ()):
        sources = row["from"] if isinstance(row["from"], list) else [row["from"]]
        for source in sources:
            source = ANY if source == "*" else str(source)
            if source not in known:
                known.add(source)
                names.append(source)
            # Without `to` nothing is left or entered, without `event` it is always taken.
            target = str(row.get("to", source))
            edge = edges.setdefault((source, target), _Edge(source, target))
            edge.lines.append(("event", str(row.get("event", "(always)"))))
            if row.get("guard"):
                edge.lines.append(("guard", _cut(f"[{row['guard']}]")))
    return names, [edge for edge in edges.values() if edge.target in known]


def _turn_around(names: list[str], initial: str, edges: list[_Edge]) -> None:
    """Reverses the edges that lead back to where a walk came from, so that no circle is left."""
    leaving: dict[str, list[_Edge]] = {name: [] for name in names}
    for edge in edges:
        leaving[edge.source].append(edge)
    seen: dict[str, bool] = {}
    for root in [initial, *names]:
        if root in seen or root not in leaving:
            continue
        seen[root] = True
        stack = [(root, iter(leaving[root]))]
        while stack:
            name, rest = stack[-1]
            way = next(rest, None)
            if way is None:
                seen[name] = False
                stack.pop()
            elif way.target not in seen:
                seen[way.target] = True
                stack.append((way.target, iter(leaving[way.target])))
            elif seen[way.target]:
                way.is_reversed = True


def _ends(edge: _Edge) -> tuple[str, str]:
    return (edge.target, edge.source) if edge.is_reversed else (edge.source, edge.target)


def _ranks(names: list[str], edges: list[_Edge]) -> dict[str, int]:
    """The length of the longest way to each state; there are no circles any more."""
    ranks = dict.fromkeys(names, 0)
    leaving: dict[str, list[str]] = {name: [] for name in names}
    arriving = dict.fromkeys(names, 0)
    for edge in edges:
        first, second = _ends(edge)
        leaving[first].append(second)
        arriving[second] += 1
    ready = [name for name in names if arriving[name] == 0]
    for name in ready:
        for after in leaving[name]:
            ranks[after] = max(ranks[after], ranks[name] + 1)
            arriving[after] -= 1
            if arriving[after] == 0:
                ready.append(after)
    # Whoever has only ways out stands next to where they lead, not at the very left.
    if ranks.get(ANY) == 0:
        nearest = min((ranks[second] for second in leaving[ANY]), default=1)
        ranks[ANY] = max(0, nearest - 1)
    return ranks


def _lay(edge: _Edge, nodes: dict[str, _Node], layers: list[list[_Node]]) -> None:
    """Gives the edge a place in each layer it crosses, and its label the middle one."""
    first, second = (nodes[name] for name in _ends(edge))
    crossed = range(first.rank + 1, second.rank)
    labelled = crossed[len(crossed) // 2]
    labelled -= 1 - labelled % 2
    before = first
    edge.way = [first]
    for rank in crossed:
        place = _Node(rank, 0.0, 10.0)
        if rank == labelled:
            place.lines = edge.lines
            place.width = _label_width(edge.lines) + 12
            place.height = LINE_HEIGHT * len(edge.lines) + 6
        layers[rank].append(place)
        before.after.append(place)
        place.before.append(before)
        edge.way.append(place)
        before = place
    before.after.append(second)
    second.before.append(before)
    edge.way.append(second)


def _room_for(node: _Node, loop: _Edge) -> None:
    node.height = max(node.height, STATE_HEIGHT + 2 * (LINE_HEIGHT * len(loop.lines) + 26))
    node.width = max(node.width, _label_width(loop.lines) + 12)


def _order(layers: list[list[_Node]]) -> None:
    """Sweeps forth and back, putting each node at the middle of its neighbours."""
    for layer in layers:
        _number(layer)
    for sweep in range(12):
        forth = sweep % 2 == 0
        for layer in layers if forth else reversed(layers):
            for node in layer:
                near = node.before if forth else node.after
                found = sum(other.index for other in near)
                node.middle = found / len(near) if near else float(node.index)
            layer.sort(key=lambda node: node.middle)
            _number(layer)


def _number(layer: list[_Node]) -> None:
    for index, node in enumerate(layer):
        node.index = index


def _place(layers: list[list[_Node]]) -> None:
    x = 0.0
    for layer in layers:
        width = max((node.width for node in layer), default=0.0)
        for node in layer:
            node.x = x + width / 2
        x += width + GAP_X
    for layer in layers:
        y = 0.0
        for node in layer:
            node.y = y + node.height / 2
            y += node.height + GAP_Y
    for sweep in range(40):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted = []
            for node in layer:
                near = node.before + node.after
                wanted.append(sum(other.y for other in near) / len(near) if near else node.y)
            _settle(layer, wanted)
    top = min((node.y - node.height / 2 for layer in layers for node in layer), default=0.0)
    for layer in layers:
        for node in layer:
            node.y -= top


def _settle(layer: list[_Node], wanted: list[float]) -> None:
    """As near to the wanted places as the order and the gaps allow: blocks that share their middle."""
    blocks: list[list[float]] = []  # middle of the first, sum of wishes, count, length
    for index in range(len(layer)):
        blocks.append([wanted[index], wanted[index], 1.0, 0.0])
        while len(blocks) > 1:
            last, previous = blocks[-1], blocks[-2]
            first_of_last = index - int(last[2]) + 1
            step = _step(layer[first_of_last - 1], layer[first_of_last])
            offset = previous[3] + step
            if previous[0] + offset <= last[0]:
                break
            total = previous[1] + last[1] - offset * last[2]
            count = previous[2] + last[2]
            blocks[-2:] = [[total / count, total, count, offset + last[3]]]
    index = 0
    for middle, _, count, _ in blocks:
        y = middle
        for number in range(int(count)):
            if number:
                y += _step(layer[index - 1], layer[index])
            layer[index].y = y
            index += 1


def _step(above: _Node, below: _Node) -> float:
    return (above.height + below.height) / 2 + GAP_Y


def _picture(
    definition: Mapping[str, Any],
    title: str,
    marked: str | None,
    initial: str,
    nodes: dict[str, _Node],
    layers: list[list[_Node]],
    ways: list[_Edge],
    loops: list[_Edge],
) -> str:
    everything = [node for layer in layers for node in layer]
    width = max((node.x + node.width / 2 for node in everything), default=0.0) + 2 * MARGIN + 26
    height = max((node.y + node.height / 2 for node in everything), default=0.0)
    height += 2 * MARGIN + TITLE - 8
    width = max(width, _width(title) + 2 * MARGIN)
    final = {str(name) for name in definition.get("final", ())}
    parts = [*_card(title, width, height)]
    parts.append(f'<g transform="translate({MARGIN + 26:.1f} {MARGIN + TITLE - 8:.1f})">')
    if initial in nodes:
        node = nodes[initial]
        left = node.x - _state_width(node) / 2
        parts.append(f'<circle class="start" cx="{left - 24:.1f}" cy="{node.y:.1f}" r="4.5"/>')
        parts.append(_arrow([(left - 20, node.y), (left, node.y)]))
    ports = _ports(ways)
    parts.extend(_arrow(_points(edge, ports)) for edge in ways)
    parts.extend(_loop(nodes[loop.source], loop) for loop in loops)
    parts.extend(_label(node.x, node.y, node.lines) for node in everything if node.lines)
    parts.extend(_state(node, name in final, name == marked) for name, node in nodes.items())
    parts.append("</g></svg>")
    return "".join(parts)


def _card(title: str, width: float, height: float) -> list[str]:
    """The beginning of the picture: its style, its background and its title."""
    shown = _shown(title)
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" '
        f'aria-label="{shown}"><title>{shown}</title>',
        f"<style>{STYLE}</style>",
        f'<rect class="card" x=".5" y=".5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="10"/>',
        f'<text class="title" x="{MARGIN:.0f}" y="25">{shown}</text>',
    ]


def _list(
    definition: Mapping[str, Any],
    title: str,
    marked: str | None,
    initial: str,
    names: list[str],
    edges: list[_Edge],
) -> str:
    """The states in columns, each with its ways out below it."""
    ways: dict[str, list[str]] = {name: [] for name in names}
    for edge in edges:
        for kind, text in edge.lines:
            if kind == "event":
                ways[edge.source].append(f"{text} \u2192 {edge.target}")
            else:
                ways[edge.source][-1] += f" {text}"
    blocks = [(name, STATE_HEIGHT + 10 + LINE_HEIGHT * len(ways[name])) for name in names]
    widths = {
        name: max(
            [_width(name) + 30, *(LIST_INDENT + 0.92 * _width(way) for way in ways[name])],
        )
        for name in names
    }
    # About as wide as it is high, whatever the names.
    area = sum(high for _, high in blocks) * (max(widths.values(), default=0.0) + 2 * GAP_X)
    column_height = max(math.sqrt(area), *(high for _, high in blocks))
    final = {str(name) for name in definition.get("final", ())}
    parts: list[str] = []
    x, y, column, bottom = MARGIN + 26, MARGIN + TITLE - 8, 0.0, 0.0
    top = y
    for name, high in blocks:
        if y > top and y + high > top + column_height:
            x, y, column = x + column + 2 * GAP_X, top, 0.0
        node = _Node(0, widths[name], STATE_HEIGHT, name)
        node.x, node.y = x + _state_width(node) / 2, y + STATE_HEIGHT / 2
        if name == initial:
            parts.append(f'<circle class="start" cx="{x - 12:.1f}" cy="{node.y:.1f}" r="4.5"/>')
        parts.append(_state(node, name in final, name == marked))
        for index, way in enumerate(ways[name]):
            line = y + STATE_HEIGHT + LINE_HEIGHT * (index + 1)
            parts.append(
                f'<text class="way" x="{x + LIST_INDENT:.1f}" y="{line:.1f}">{_shown(way)}</text>'
            )
        y += high
        column, bottom = max(column, widths[name]), max(bottom, y)
    width = max(x + column + MARGIN, _width(title) + 2 * MARGIN)
    return "".join([*_card(title, width, bottom + MARGIN), *parts, "</svg>"])


def _state_width(node: _Node) -> float:
    return _width(node.name or "") + 30


def _state(node: _Node, is_final: bool, is_here: bool) -> str:
    name = node.name or ""
    wide = _state_width(node)
    x, y = node.x - wide / 2, node.y - STATE_HEIGHT / 2
    kind = "here" if is_here else "any" if name == ANY else "state"
    text = "name-here" if is_here else "name-any" if name == ANY else "name"
    box = f'width="{wide:.1f}" height="{STATE_HEIGHT:.0f}" rx="10"'
    drawn = f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" {box}/>'
    if is_final:
        inner = f'width="{wide - 7:.1f}" height="{STATE_HEIGHT - 7:.0f}" rx="7"'
        kind = "here-final" if is_here else "final"
        drawn += f'<rect class="{kind}" x="{x + 3.5:.1f}" y="{y + 3.5:.1f}" {inner}/>'
    return (
        drawn
        + f'<text class="{text}" x="{node.x:.1f}" y="{node.y + 4.5:.1f}">{_shown(name)}</text>'
    )


def _ports(ways: list[_Edge]) -> dict[tuple[int, bool], list[_Edge]]:
    """The edges at each side of each state, from top to bottom, so that their ends don't cross."""
    ports: dict[tuple[int, bool], list[_Edge]] = {}
    for edge in ways:
        ports.setdefault((id(edge.way[0]), True), []).append(edge)
        ports.setdefault((id(edge.way[-1]), False), []).append(edge)
    for (_, is_right), found in ports.items():
        found.sort(key=lambda edge: edge.way[1 if is_right else -2].y)
    return ports


def _points(edge: _Edge, ports: dict[tuple[int, bool], list[_Edge]]) -> list[tuple[float, float]]:
    points = []
    last = len(edge.way) - 1
    for index, node in enumerate(edge.way):
        if index not in (0, last):
            half = node.width / 2
            points.extend(
                [(node.x - half, node.y), (node.x + half, node.y)] if half else [(node.x, node.y)]
            )
            continue
        is_right = index == 0
        side = ports[id(node), is_right]
        spread = min(9.0, (STATE_HEIGHT - 14) / max(1, len(side) - 1))
        y = node.y + (side.index(edge) - (len(side) - 1) / 2) * spread
        points.append((node.x + _state_width(node) / 2 * (1 if is_right else -1), y))
    return points[::-1] if edge.is_reversed else points


def _arrow(points: list[tuple[float, float]]) -> str:
    """A smooth line that leaves and arrives level, and its tip."""
    x0, (x1, y1) = points[-2][0], points[-1]
    back = 8.0 if x1 > x0 else -8.0
    line = [*points[:-1], (x1 - back, y1)]
    path = f"M{line[0][0]:.1f} {line[0][1]:.1f}"
    for (ax, ay), (bx, by) in zip(line, line[1:]):
        if abs(ay - by) < 0.5:
            path += f"L{bx:.1f} {by:.1f}"
        else:
            bend = (bx - ax) * 0.5
            path += f"C{ax + bend:.1f} {ay:.1f} {bx - bend:.1f} {by:.1f} {bx:.1f} {by:.1f}"
    tip = f"M{x1:.1f} {y1:.1f}l{-back:.1f} -4.2v8.4z"
    return f'<path class="edge" d="{path}"/><path class="tip" d="{tip}"/>'


def _loop(node: _Node, loop: _Edge) -> str:
    top = node.y - STATE_HEIGHT / 2
    x0, x1 = node.x - 13, node.x + 13
    path = f"M{x0:.1f} {top:.1f}C{x0 - 8:.1f} {top - 28:.1f} {x1 + 8:.1f} {top - 28:.1f} {x1:.1f} {top - 7:.1f}"
    tip = f"M{x1:.1f} {top:.1f}l-4.2 -8h8.4z"
    label = _label(node.x, top - 26 - LINE_HEIGHT * len(loop.lines) / 2 + 2, loop.lines)
    return f'<path class="edge" d="{path}"/><path class="tip" d="{tip}"/>{label}'


def _label(x: float, y: float, lines: list[tuple[str, str]]) -> str:
    wide = _label_width(lines) + 6
    high = LINE_HEIGHT * len(lines)
    drawn = (
        f'<rect class="label" x="{x - wide / 2:.1f}" y="{y - high / 2:.1f}" '
        f'width="{wide:.1f}" height="{high:.1f}" rx="4"/>'
    )
    for index, (kind, text) in enumerate(lines):
        below = y - high / 2 + LINE_HEIGHT * index + 11.5
        drawn += f'<text class="{kind}" x="{x:.1f}" y="{below:.1f}">{_shown(text)}</text>'
    return drawn


def _label_width(lines: list[tuple[str, str]]) -> float:
    return max(_width(text) * (0.92 if kind == "event" else 0.82) for kind, text in lines)


def _width(text: str) -> float:
    """About as wide as the text is drawn; wide letters count more."""
    return sum(
        11.0 if ord(c) > 0x2E7F else 8.3 if c.isupper() or c in "mwMW_" else 6.9 for c in text
    )


def _shown(text: str) -> str:
    """The text as it can stand in XML."""
    return html.escape(text.translate(_SHOWN), quote=True)


def _cut(text: str) -> str:
    return text if len(text) <= GUARD_MAX else text[: GUARD_MAX - 1] + "…"
