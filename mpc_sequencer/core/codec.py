"""The one wire encoding: MessagePack arrays by msgspec, strict, canonical and bounded.

A value has exactly one encoding. msgspec's encoder writes the shortest form of every length and integer; the decoder
accepts longer forms, so :func:`decode` encodes what it read and compares: what differs is refused. Lengths, ranges
and unknown fields are refused by the types themselves (see :mod:`mpc_sequencer.core.types`), trailing bytes by
msgspec. Every refusal is a :class:`ProtocolError` that names the field, what was seen and what was expected.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar, get_args, get_origin

import msgspec

from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.limits import FRAME_BYTES_MAX
from mpc_sequencer.core.nesting import hold_nesting

T = TypeVar("T")

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODERS: Final[dict[Any, msgspec.msgpack.Decoder[Any]]] = {}
_PATH: Final = re.compile(r" - at `([^`]*)`$")
_STEP: Final = re.compile(r"\[(\d+|\.\.\.)\]")


def encode(value: Any) -> bytes:
    """The canonical encoding of a protocol value."""
    return _ENCODER.encode(value)


def decode(kind: type[T] | Any, data: bytes, *, bytes_max: int = FRAME_BYTES_MAX) -> T:
    """Decode ``data`` as ``kind`` (a struct type or a tagged union of them).

    Raises :class:`ProtocolError` with code ``wire.size``, ``wire.malformed``, ``wire.type``, ``wire.bound`` or
    ``wire.canonical``.
    """
    if len(data) > bytes_max:
        raise ProtocolError("wire.size", _name(kind), f"{len(data)} bytes", f"at most {bytes_max} bytes")
    hold_nesting()
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.msgpack.Decoder(kind)
    try:
        value: T = decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _refusal(kind, data, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError("wire.malformed", _name(kind), str(error), "one complete MessagePack value") from None
    if _ENCODER.encode(value) != data:
        raise ProtocolError("wire.canonical", _name(kind), data, "the shortest MessagePack form")
    return value


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", None) or ("message" if get_args(kind) else str(kind))


def _untyped(data: bytes) -> Any:
    """The bytes as plain values, or None where they are none."""
    try:
        return msgspec.msgpack.decode(data)
    except (ValueError, RecursionError, msgspec.DecodeError):
        return None


def _member(kind: Any, value: Any) -> Any:
    """Of a tagged union the struct whose tag ``value`` starts with; any other kind as it is."""
    tag = value[0] if isinstance(value, list) and value else None
    for one in get_args(kind):
        config = getattr(one, "__struct_config__", None)
        if config is not None and tag is not None and config.tag == tag:
            return one
    return kind


def _refusal(kind: Any, data: bytes, text: str) -> ProtocolError:
    match = _PATH.search(text)
    path = match.group(1) if match else "$"
    cause = text[: match.start()] if match else text
    steps = _STEP.findall(path)
    value = _untyped(data)
    field = _field_name(kind, steps, value)
    code = "wire.bound" if (" of length " in cause or " >= " in cause or " <= " in cause) else "wire.type"
    expected, _, got = cause.partition(", got ")
    expected = expected.removeprefix("Expected ")
    return ProtocolError(code, field, got or _seen(value, steps), expected)


def _seen(value: Any, steps: list[str]) -> str:
    """The value at ``steps``, shortened to its kind and length where it is long."""
    try:
        for step in steps:
            value = value[int(step)]
    except (ValueError, LookupError, TypeError):
        return "another value"
    if isinstance(value, bytes | str | list):
        return f"{type(value).__name__} of length {len(value)}"
    return str(value)


def _field_name(kind: Any, steps: list[str], value: Any) -> str:
    """``Block.heads[...]``-like name of the place an array path leads to, as far as the types tell."""
    kind = _member(kind, value)
    name = _name(kind)
    for step in steps:
        kind = _member(_strip(kind), value)
        try:
            value = value[int(step)]
        except (ValueError, LookupError, TypeError):
            value = None
        fields = getattr(kind, "__struct_fields__", None)
        if fields is None or step == "...":
            arguments = [a for a in get_args(kind) if a is not Ellipsis] if get_origin(kind) is tuple else []
            name += f"[{step}]"
            kind = arguments[0] if arguments else None
            continue
        tagged = getattr(kind.__struct_config__, "tag", None) is not None
        index = int(step) - (1 if tagged else 0)
        if not 0 <= index < len(fields):
            return f"{name}[{step}]"
        name += f".{fields[index]}"
        kind = _annotation(kind, fields[index])
    return name


def _annotation(kind: Any, field: str) -> Any:
    return {f.name: f.type for f in msgspec.structs.fields(kind)}[field]


def _strip(kind: Any) -> Any:
    return get_args(kind)[0] if hasattr(kind, "__metadata__") else kind
