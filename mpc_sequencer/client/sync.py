"""The same client for programs without an event loop: trio runs in a thread of its own.

Every method may be called from any thread and blocks until its answer or time-out.
:meth:`SyncSequencerClient.close` (or leaving the ``with`` block) closes the links and ends the thread.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from mpc_sequencer.client.committee_key import CommitteeKey
from mpc_sequencer.client.errors import NotConnected
from mpc_sequencer.client.keysearch import KEY_S_MAX, Progress
from mpc_sequencer.client.link import Connector, Newcomers, open_member
from mpc_sequencer.client.member_client import PROOF_S_MAX
from mpc_sequencer.client.questions import REPLY_S_MAX
from mpc_sequencer.client.receipts import ReceiptStore
from mpc_sequencer.client.sequencer import SequencerClient, open_sequencer
from mpc_sequencer.client.tracker import OrderRecord, Submission
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.messages import MarketReply, OrderReply, StatusReply
from mpc_sequencer.core.resultproof import ResultProof
from mpc_sequencer.core.types import Envelope

if TYPE_CHECKING:
    from mpc_sequencer.client.dark_keys import DarkKeys

START_S_MAX: Final = 10.0
T = TypeVar("T")


class SyncSequencerClient:
    """A blocking :class:`~mpc_sequencer.client.sequencer.SequencerClient`."""

    def __init__(
        self,
        committee: Committee,
        connector: Connector,
        nodes: Sequence[int] | None = None,
        *,
        receipts: ReceiptStore | None = None,
        newcomers: Newcomers = open_member,
    ) -> None:
        self._committee = committee
        self._arguments = (committee, connector, nodes, receipts, newcomers)
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._client: SequencerClient | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._stop: trio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="sequencer client", daemon=True)
        self._thread.start()
        self._ready.wait(START_S_MAX)
        if self._failure is not None:
            raise self._failure

    @property
    def committee(self) -> Committee:
        """Seal with this one: it learns the threshold key (:meth:`key`), which the committee file may not have."""
        if self._client is not None:
            self._committee = self._client.committee
        return self._committee

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:  # handed to the thread that waits for us
            self._failure = error
        finally:
            self._client = None
            self._ready.set()

    async def _serve(self) -> None:
        committee, connector, nodes, receipts, newcomers = self._arguments
        async with open_sequencer(committee, connector, nodes, receipts=receipts, newcomers=newcomers) as client:
            self._token = trio.lowlevel.current_trio_token()
            self._stop = trio.Event()
            self._client = client
            self._ready.set()
            await self._stop.wait()

    def _call(self, function: Callable[[SequencerClient], Awaitable[T]]) -> T:
        client, token = self._client, self._token
        if client is None or token is None:
            raise NotConnected("the client is closed", "open a new one")
        try:
            return trio.from_thread.run(function, client, trio_token=token)
        except trio.RunFinishedError:
            raise NotConnected("the client is closed", "open a new one") from None

    def wait_connected(self, count: int, timeout_s: float = REPLY_S_MAX) -> list[int]:
        """As :meth:`SequencerClient.wait_connected`."""
        return self._call(lambda client: client.wait_connected(count, timeout_s))

    def key(self, timeout_s: float = KEY_S_MAX, progress: Progress | None = None) -> CommitteeKey:
        """As :meth:`SequencerClient.key`; ``progress`` is called in the client's thread."""
        return self._call(lambda client: client.key(timeout_s, progress))

    def submit(self, envelopes: Sequence[Envelope], timeout_s: float = REPLY_S_MAX) -> list[Submission]:
        """As :meth:`SequencerClient.submit`."""
        return self._call(lambda client: client.submit(envelopes, timeout_s))

    def wait_final(self, order_ids: Iterable[bytes], timeout_s: float) -> list[OrderRecord]:
        """As :meth:`SequencerClient.wait_final`."""
        return self._call(lambda client: client.wait_final(order_ids, timeout_s))

    def wait_executed(self, order_ids: Iterable[bytes], timeout_s: float) -> list[OrderRecord]:
        """As :meth:`SequencerClient.wait_executed`."""
        return self._call(lambda client: client.wait_executed(order_ids, timeout_s))

    def wait_ended(self, order_ids: Iterable[bytes], timeout_s: float) -> list[OrderRecord]:
        """As :meth:`SequencerClient.wait_ended`."""
        return self._call(lambda client: client.wait_ended(order_ids, timeout_s))

    def dark_keys(self, timeout_s: float = 60.0, *, again: bool = False) -> DarkKeys:
        """As :meth:`SequencerClient.dark_keys`."""
        return self._call(lambda client: client.dark_keys(timeout_s, again=again))

    def status(self, node: int, timeout_s: float = REPLY_S_MAX) -> StatusReply:
        """As :meth:`SequencerClient.status`."""
        return self._call(lambda client: client.status(node, timeout_s))

    def order(self, node: int, order_id: bytes, timeout_s: float = REPLY_S_MAX) -> OrderReply:
        """As :meth:`SequencerClient.order`."""
        return self._call(lambda client: client.order(node, order_id, timeout_s))

    def market(self, node: int, market: int, levels: int = 20, timeout_s: float = REPLY_S_MAX) -> MarketReply:
        """As :meth:`SequencerClient.market`."""
        return self._call(lambda client: client.market(node, market, levels, timeout_s))

    def prove(
        self, node: int, kind: int, identifier: bytes, height: int = 0, timeout_s: float = PROOF_S_MAX
    ) -> ResultProof:
        """As :meth:`SequencerClient.prove`."""
        return self._call(lambda client: client.prove(node, kind, identifier, height, timeout_s))

    def close(self) -> None:
        """Close the links and wait for the thread; harmless when closed."""
        token, stop = self._token, self._stop
        if token is not None and stop is not None and self._thread.is_alive():
            with contextlib.suppress(trio.RunFinishedError):  # it may end between the two lines
                token.run_sync_soon(stop.set)
        self._thread.join()

    def __enter__(self) -> SyncSequencerClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
