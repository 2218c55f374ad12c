"""An order service: FastAPI on a database of its own, with a live page.

    pip install fastapi uvicorn          # beside the wheel of rstmdb
    uvicorn order_service:app            # then open http://127.0.0.1:8000

`ORDERS_URL` names the database: a directory (`./orders` unless told otherwise) or a server.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any, Optional

from fastapi import FastAPI, Header, Request
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel

import rstmdb
from rstmdb import Machine


class State(str, Enum):
    CREATED = "created"
    PAID = "paid"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


class Event(str, Enum):
    PAY = "PAY"
    SHIP = "SHIP"
    DELIVER = "DELIVER"
    CANCEL = "CANCEL"


ORDER = Machine("order", 1, states=State, events=Event, initial=State.CREATED)
ORDER.on(Event.PAY, State.CREATED, State.PAID, guard="ctx.total > 0")
ORDER.on(Event.SHIP, State.PAID, State.SHIPPED)
ORDER.on(Event.DELIVER, State.SHIPPED, State.DELIVERED)
ORDER.on(Event.CANCEL, State.CREATED, State.CANCELLED)

STATUS = {"not_found": 404, "already_exists": 409, "rejected": 409, "conflict": 409, "invalid": 422}


class NewOrder(BaseModel):
    total: float
    customer: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with rstmdb.open(os.environ.get("ORDERS_URL", "./orders")) as db:
        app.state.orders = db.machine(ORDER)
        await app.state.orders.put()
        yield


app = FastAPI(title="Orders", lifespan=lifespan)


@app.exception_handler(rstmdb.RstmdbError)
async def refused(request: Request, error: rstmdb.RstmdbError) -> JSONResponse:
    """An error of the database is an answer: its kind says which."""
    answer = {"code": error.code, "message": error.message, "context": error.context}
    headers = {"Retry-After": "1"} if error.retryable else None
    return JSONResponse(answer, STATUS.get(error.kind, 503), headers)


@app.post("/orders", status_code=201)
async def create(
    order: NewOrder, request: Request, idempotency_key: Optional[str] = Header(None)
) -> dict[str, Any]:
    made = await request.app.state.orders.create(
        initial_ctx=order.model_dump(), idempotency_key=idempotency_key
    )
    return {"id": made.instance_id, "state": made.state}


@app.post("/orders/{order_id}/{event}")
async def apply(
    order_id: str,
    event: Event,
    request: Request,
    payload: Optional[dict[str, Any]] = None,
    idempotency_key: Optional[str] = Header(None),
) -> dict[str, Any]:
    result = await request.app.state.orders.apply(
        order_id, event, payload, idempotency_key=idempotency_key
    )
    return {"id": order_id, "state": result.to_state, "order": result.ctx}


@app.get("/orders/{order_id}")
async def show(order_id: str, request: Request) -> dict[str, Any]:
    order = await request.app.state.orders.get(order_id)
    return {"id": order_id, "state": order.state, "order": order.ctx}


@app.get("/events")
async def events(
    request: Request, last_event_id: Optional[str] = Header(None)
) -> StreamingResponse:
    """Server-sent events: each has its place as id, so a browser that comes back misses nothing.

    With the history beside the offset, data that was put back from a copy is an error and not a gap.
    """
    offset, *history = last_event_id.split() if last_event_id else [""]
    watch = await request.app.state.orders.watch(
        from_offset=int(offset) + 1 if offset else None,
        history_id=history[0] if history else None,
    )

    async def stream() -> AsyncIterator[str]:
        async with watch:
            yield ": watching\n\n"
            async for event in watch:
                said = {"id": event.instance_id, "event": event.event, "state": event.to_state}
                place = f"{event.wal_offset} {event.history_id or ''}".rstrip()
                yield f"id: {place}\ndata: {json.dumps(said)}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    return PAGE.replace("<!--diagram-->", ORDER.diagram().svg())


PAGE = """<!doctype html><title>Orders</title>
<style>body{font:16px system-ui;margin:2rem auto;max-width:56rem}td{padding:.2rem 1rem .2rem 0}</style>
<h1>Orders</h1><!--diagram-->
<form><input name=customer placeholder=customer required> <input name=total type=number value=40>
<button>Order</button></form><table id=orders></table>
<script>
const send = (path, body) => fetch(path, {method: "POST", body: JSON.stringify(body),
  headers: {"content-type": "application/json", "idempotency-key": crypto.randomUUID()}});
const next = {created: ["PAY", "CANCEL"], paid: ["SHIP"], shipped: ["DELIVER"]};
function show(id, state) {
  let row = document.getElementById(id) || document.getElementById("orders").insertRow(0);
  row.id = id; row.replaceChildren();
  for (const text of [id, state]) row.insertCell().textContent = text;
  for (const event of next[state] || []) {
    const button = document.createElement("button");
    button.textContent = event; button.onclick = () => send(`/orders/${id}/${event}`);
    row.insertCell().append(button);
  }
}
document.forms[0].onsubmit = async event => {
  event.preventDefault();
  const form = new FormData(event.target);
  const order = {customer: form.get("customer"), total: +form.get("total")};
  const made = await (await send("/orders", order)).json();
  show(made.id, made.state);
};
new EventSource("/events").onmessage = message => {
  const {id, state} = JSON.parse(message.data); show(id, state);
};
</script>"""
