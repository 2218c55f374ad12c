"""A bare connection to a server, of the client published as rstmdb 0.2.1, for its users.

`Client` does not use it any more; `rstmdb.open` is the way to all that a server can do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

from .errors import ConnectionError, ProtocolError, ServerError
from .models import Operation, Request, Response, StreamEvent
from .protocol import Frame

__all__ = ["Connection"]


class Connection:
    """One connection: requests, their responses, and the events between them."""

    def __init__(
        self,
        host: str,
        port: int = 7401,
        *,
        ssl_context: ssl.SSLContext | None = None,
        connect_timeout: float = 10.0,
        request_timeout: float = 30.0,
    ) -> None:
        self.host = host
        self.port = port
        self.ssl_context = ssl_context
        self.connect_timeout = connect_timeout
        self.request_timeout = request_timeout
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[str, asyncio.Future[Response]] = {}
        self._events: asyncio.Queue[StreamEvent | None] = asyncio.Queue()
        self._last_id = 0

    @property
    def is_connected(self) -> bool:
        """Whether requests can be sent."""
        return self._reading is not None and not self._reading.done()

    async def connect(self, client_name: str = "rstmdb-py", auth_token: str | None = None) -> None:
        """Connects, and presents the token when there is one."""
        place = f"{self.host}:{self.port}"
        opening = asyncio.open_connection(self.host, self.port, ssl=self.ssl_context)
        try:
            self._reader, self._writer = await asyncio.wait_for(opening, self.connect_timeout)
        except asyncio.TimeoutError as error:
            raise ConnectionError(f"Connection to {place} timed out") from error
        except OSError as error:
            raise ConnectionError(f"Failed to connect to {place}: {error}") from error
        self._reading = asyncio.create_task(self._read())
        hello = await self.request(
            Operation.HELLO,
            {
                "protocol_version": 1,
                "client_name": client_name,
                "wire_modes": ["binary_json"],
                "features": ["idempotency", "batch"],
            },
        )
        if hello.status != "ok":
            await self.close()
            message = hello.error.message if hello.error else "Unknown error"
            raise ConnectionError(f"Handshake failed: {message}")
        if auth_token:
            auth = await self.request(Operation.AUTH, {"method": "bearer", "token": auth_token})
            if auth.status != "ok":
                await self.close()
                if auth.error:
                    raise ServerError(auth.error.code, auth.error.message)
                raise ConnectionError("Authentication failed")

    async def request(self, op: Operation, params: dict[str, Any]) -> Response:
        """Sends a request and waits for its response."""
        if self._writer is None or not self.is_connected:
            raise ConnectionError("Not connected")
        self._last_id += 1
        request = Request(id=str(self._last_id), op=op, params=params)
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = future
        try:
            self._writer.write(Frame(request.model_dump_json().encode()).encode())
            await self._writer.drain()
            return await asyncio.wait_for(future, self.request_timeout)
        except asyncio.TimeoutError as error:
            raise ConnectionError("Request timed out") from error
        except OSError as error:
            raise ConnectionError(str(error)) from error
        finally:
            self._waiting.pop(request.id, None)

    async def events(self) -> AsyncIterator[StreamEvent]:
        """The events of all watches of this connection, until it is closed."""
        while True:
            event = await self._events.get()
            if event is None:
                return
            yield event

    async def close(self) -> None:
        """Closes the connection."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
            self._writer = None

    async def _read(self) -> None:
        error: Exception = ConnectionError("Connection closed by server")
        buffer = b""
        try:
            while self._reader is not None:
                data = await self._reader.read(1 << 16)
                if not data:
                    break
                buffer += data
                while True:
                    frame, buffer = Frame.decode(buffer)
                    if frame is None:
                        break
                    self._receive(json.loads(frame.payload))
        except asyncio.CancelledError:
            error = ConnectionError("Connection closed")
        except ProtocolError as problem:
            error = problem
        except (OSError, ValueError) as problem:
            error = ConnectionError(str(problem))
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(error)
            self._events.put_nowait(None)

    def _receive(self, message: dict[str, Any]) -> None:
        if message.get("type") == "event":
            # A creation or deletion has no event: these models can't hold it.
            with contextlib.suppress(ValueError):
                self._events.put_nowait(StreamEvent.model_validate(message))
            return
        future = self._waiting.get(str(message.get("id")))
        if future is None or future.done():
            return
        try:
            future.set_result(Response.model_validate(message))
        except ValueError as error:
            future.set_exception(ProtocolError(f"Failed to parse response: {error}"))
