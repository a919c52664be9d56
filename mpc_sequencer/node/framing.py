"""Frames on a byte stream: u32 big-endian length, then one canonical message.

A length of zero, or above the connection's bound, is a fault (``wire.size``): the stream cannot be read on
from there. Whatever was complete before the fault still counts, so the frames a stream yields do not depend
on how the network cut it into pieces.
"""

from __future__ import annotations

import struct
from typing import Final

from mpc_sequencer.core.errors import ProtocolError

LENGTH_BYTES: Final = 4
_LENGTH: Final = struct.Struct(">I")


def frame(data: bytes) -> bytes:
    """``data`` with its length before it."""
    return _LENGTH.pack(len(data)) + data


class FrameSplitter:
    """Cuts a byte stream back into frames. Holds at most one incomplete frame and the last piece fed."""

    __slots__ = ("_buffer", "_bytes_max", "fault")

    def __init__(self, bytes_max: int) -> None:
        self._buffer = bytearray()
        self._bytes_max = bytes_max
        self.fault: ProtocolError | None = None

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and is not complete."""
        return bool(self._buffer)

    def feed(self, data: bytes | bytearray) -> list[bytes]:
        """The frames that ``data`` completes. A bad length sets :attr:`fault`; nothing is read after it."""
        if self.fault is not None:
            return []
        buffer = self._buffer
        buffer += data
        frames: list[bytes] = []
        start, size = 0, len(buffer)
        while size - start >= LENGTH_BYTES:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if not 0 < length <= self._bytes_max:
                self.fault = ProtocolError(
                    "wire.size", "frame.length", f"{length} bytes", f"1 .. {self._bytes_max} bytes"
                )
                buffer.clear()
                return frames
            end = start + LENGTH_BYTES + length
            if end > size:
                break
            frames.append(bytes(memoryview(buffer)[start + LENGTH_BYTES : end]))
            start = end
        if start:
            del buffer[:start]
        return frames
