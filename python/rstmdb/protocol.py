"""Frames of RCP, of the client published as rstmdb 0.2.1, for its users.

A frame is a header of 18 bytes, an extension of the header, and a payload. The header, in network byte
order: `RCPX`, version, flags, length of the extension, length of the payload, CRC-32C of the payload.
"""

from __future__ import annotations

import struct

from .errors import ProtocolError

__all__ = ["FLAG_CRC_PRESENT", "HEADER_SIZE", "MAGIC", "PROTOCOL_VERSION", "Frame", "crc32c"]

MAGIC = b"RCPX"
PROTOCOL_VERSION = 1
FLAG_CRC_PRESENT = 0x0001
_HEADER = struct.Struct(">4sHHHII")
HEADER_SIZE = _HEADER.size


def _table() -> tuple[int, ...]:
    rows = []
    for row in range(256):
        for _ in range(8):
            row = (row >> 1) ^ (0x82F63B78 if row & 1 else 0)
        rows.append(row)
    return tuple(rows)


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """The CRC-32C (Castagnoli) of `data`."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class Frame:
    """One frame."""

    def __init__(self, payload: bytes, use_crc: bool = True, header_extension: bytes = b"") -> None:
        self.payload = payload
        self.use_crc = use_crc
        self.header_extension = header_extension

    def encode(self) -> bytes:
        """The frame's bytes."""
        header = _HEADER.pack(
            MAGIC,
            PROTOCOL_VERSION,
            FLAG_CRC_PRESENT if self.use_crc else 0,
            len(self.header_extension),
            len(self.payload),
            crc32c(self.payload) if self.use_crc else 0,
        )
        return header + self.header_extension + self.payload

    @classmethod
    def decode(cls, buffer: bytes) -> tuple[Frame | None, bytes]:
        """The first frame of `buffer` and what follows it; None while it is incomplete."""
        if len(buffer) < HEADER_SIZE:
            return None, buffer
        magic, version, flags, extension, length, crc = _HEADER.unpack_from(buffer)
        if magic != MAGIC:
            raise ProtocolError(f"Invalid magic: {magic!r}, expected {MAGIC!r}")
        if version != PROTOCOL_VERSION:
            raise ProtocolError(f"Unsupported version: {version}")
        begin = HEADER_SIZE + extension
        end = begin + length
        if len(buffer) < end:
            return None, buffer
        payload = buffer[begin:end]
        has_crc = bool(flags & FLAG_CRC_PRESENT)
        if has_crc and crc32c(payload) != crc:
            raise ProtocolError(f"CRC mismatch: expected {crc}, got {crc32c(payload)}")
        frame = cls(payload, use_crc=has_crc, header_extension=buffer[HEADER_SIZE:begin])
        return frame, buffer[end:]
