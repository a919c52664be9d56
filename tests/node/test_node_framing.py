"""Frames: what a stream yields does not depend on how the network cuts it."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mpc_sequencer.node.framing import FrameSplitter, frame

BYTES_MAX = 300
contents = st.lists(st.binary(min_size=1, max_size=BYTES_MAX), max_size=8)


def fed(stream: bytes, cuts: list[int]) -> tuple[list[bytes], FrameSplitter]:
    splitter = FrameSplitter(BYTES_MAX)
    frames: list[bytes] = []
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in pairwise(edges):
        frames += splitter.feed(stream[start:end])
    return frames, splitter


@given(contents, st.lists(st.integers(min_value=0), max_size=20))
def test_frames_split_at_any_byte_are_the_same_frames(items: list[bytes], cuts: list[int]) -> None:
    frames, splitter = fed(b"".join(map(frame, items)), cuts)
    assert frames == items
    assert not splitter.partial and splitter.fault is None


@given(
    contents, st.sampled_from([0, BYTES_MAX + 1, 2**32 - 1]), st.lists(st.integers(min_value=0), max_size=20)
)
def test_frames_before_a_bad_length_count_and_none_after(
    items: list[bytes], length: int, cuts: list[int]
) -> None:
    stream = b"".join(map(frame, items)) + length.to_bytes(4, "big") + frame(b"later")
    frames, splitter = fed(stream, cuts)
    assert frames == items
    assert splitter.fault is not None
    assert splitter.fault.code == "wire.size"
    assert splitter.fault.seen == f"{length} bytes"
    assert splitter.feed(frame(b"later")) == []


def test_every_single_cut_of_two_frames() -> None:
    stream = frame(b"one") + frame(b"twotwo")
    for cut in range(len(stream) + 1):
        frames, _ = fed(stream, [cut])
        assert frames == [b"one", b"twotwo"]


def test_an_incomplete_frame_is_partial() -> None:
    splitter = FrameSplitter(BYTES_MAX)
    assert splitter.feed(frame(b"one")[:-1]) == []
    assert splitter.partial
    assert splitter.feed(b"e") == [b"one"]
    assert not splitter.partial
