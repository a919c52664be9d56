"""How long agreement waits: when a leader proposes, what a loaded one waits for, and time-outs of views and of leaders
that failed."""

from __future__ import annotations

from core_kit import make_certificate
from simplex_kit import ME, D, X, Y, block, certify, engine, voted

from mpc_sequencer.core import limits
from mpc_sequencer.core.effects import Broadcast
from mpc_sequencer.core.messages import Proposal
from mpc_sequencer.core.types import NOTARIZE, NULLIFY, ZERO_HASH


def test_no_timer_without_work_and_a_nullify_vote_at_the_time_out_with_it() -> None:
    simplex, app = engine()
    simplex.tick(0)
    simplex.tick(10**6)
    assert (simplex.deadline_ms, voted(simplex)) == (None, [])
    app.work = True
    simplex.tick(10**6)
    simplex.tick(10**6 + limits.VIEW_TIMEOUT_MS - 1)
    assert voted(simplex) == []
    simplex.tick(10**6 + limits.VIEW_TIMEOUT_MS)
    assert voted(simplex) == [("nullify", 1)]
    simplex.tick(10**6 + 99 * limits.VIEW_TIMEOUT_MS)
    assert voted(simplex) == []


def test_a_view_whose_work_is_done_is_not_timed_out_and_later_work_has_a_whole_time_out() -> None:
    simplex, app = engine()
    app.work = True
    simplex.tick(0)
    app.work = False
    simplex.tick(limits.VIEW_TIMEOUT_MS)
    assert (simplex.deadline_ms, voted(simplex)) == (None, [])
    app.work = True
    simplex.tick(limits.VIEW_TIMEOUT_MS)
    simplex.tick(2 * limits.VIEW_TIMEOUT_MS - 1)
    assert voted(simplex) == []
    simplex.tick(2 * limits.VIEW_TIMEOUT_MS)
    assert voted(simplex) == [("nullify", 1)]


def test_the_leader_proposes_once_and_only_on_what_it_may_extend() -> None:
    simplex, app = engine()
    for view in (1, 2, 3):
        certify(simplex, NULLIFY, view)
    assert D.committee.leader(simplex.view) == ME
    app.block = block(4)
    simplex.tick(limits.BLOCK_INTERVAL_MS_MIN)
    sent = [e.message for e in simplex.effects if isinstance(e, Broadcast) and isinstance(e.message, Proposal)]
    assert len(sent) == 1
    assert [one.view for one in sent[0].nullifications] == [1, 2, 3]
    simplex.tick(2 * limits.BLOCK_INTERVAL_MS_MIN)
    assert app.parents == [D.committee.genesis_id]


def test_a_loaded_leader_lets_blocks_fill_but_never_so_long_that_it_could_be_nullified() -> None:
    simplex, app = engine()
    app.busy = True
    for view, at_ms in ((1, 0), (2, 30), (3, 60)):
        simplex.on_certificate(make_certificate(D, NULLIFY, view, ZERO_HASH), at_ms)
    assert simplex.propose_at_ms() == 60 + limits.BLOCK_LOADED_WAIT_MS_MAX
    assert limits.BLOCK_LOADED_WAIT_MS_MAX < limits.BLOCK_INTERVAL_LOADED_MS < limits.VIEW_TIMEOUT_MS
    app.block = block(4)
    simplex.tick(simplex.propose_at_ms() - 1)
    assert app.parents == []
    simplex.tick(simplex.propose_at_ms())
    assert app.parents == [D.committee.genesis_id]


def test_a_loaded_leader_whose_last_turn_was_nullified_waits_for_less_than_its_time_out() -> None:
    simplex, app = engine()
    app.busy = True
    for view in range(1, 8):
        simplex.on_certificate(make_certificate(D, NULLIFY, view, ZERO_HASH), 10 * view)
    assert D.committee.leader(simplex.view) == ME
    assert simplex.propose_at_ms() == 70 + limits.BLOCK_LOADED_WAIT_INACTIVE_MS_MAX
    assert limits.BLOCK_LOADED_WAIT_INACTIVE_MS_MAX < limits.VIEW_TIMEOUT_INACTIVE_MS


def test_a_loaded_leader_does_not_wait_where_views_take_long_anyway() -> None:
    simplex, app = engine()
    app.busy = True
    slow_ms, entered_ms = limits.BLOCK_INTERVAL_LOADED_MS + 30, 0
    waits_ms = []
    for view in range(1, 20):
        entered_ms += slow_ms
        simplex.on_certificate(make_certificate(D, NOTARIZE, view, X), entered_ms)
        waits_ms.append(simplex.propose_at_ms() - entered_ms)
    assert waits_ms == sorted(waits_ms, reverse=True), "what others do not wait for is soon waited for no longer"
    assert waits_ms[-1] == 0
    for view in range(20, 30):
        entered_ms += slow_ms + waits_ms[-1]
        simplex.on_certificate(make_certificate(D, NOTARIZE, view, X), entered_ms)
        waits_ms.append(simplex.propose_at_ms() - entered_ms)
    assert waits_ms[-1] == 0


def test_loaded_views_that_are_quick_take_the_interval_with_their_wait() -> None:
    simplex, app = engine()
    app.busy = True
    quick_ms, entered_ms, wait_ms = 45, 1_000, 0
    for view in range(1, 20):
        entered_ms += quick_ms + wait_ms
        simplex.on_certificate(make_certificate(D, NOTARIZE, view, X), entered_ms)
        wait_ms = simplex.propose_at_ms() - entered_ms
    assert wait_ms + quick_ms == limits.BLOCK_INTERVAL_LOADED_MS


def test_time_outs_are_short_for_a_leader_that_failed_and_double_in_a_bad_row() -> None:
    simplex, _ = engine()
    assert simplex._timeout_ms() == limits.VIEW_TIMEOUT_MS
    for view in range(1, 5):
        certify(simplex, NULLIFY, view)
    assert D.committee.leader(simplex.view) == 1
    assert simplex._timeout_ms() == limits.VIEW_TIMEOUT_INACTIVE_MS << 3
    certify(simplex, NOTARIZE, 5, X)
    assert simplex._timeout_ms() == limits.VIEW_TIMEOUT_INACTIVE_MS
    for view in range(6, 60):
        certify(simplex, NULLIFY, view)
    assert simplex._timeout_ms() <= limits.VIEW_TIMEOUT_MS << limits.VIEW_TIMEOUT_DOUBLINGS_MAX


def test_a_leader_that_failed_gets_twice_the_time_that_views_take_here() -> None:
    simplex, app = engine()
    app.work = True
    simplex.tick(1_000)
    simplex.on_certificate(make_certificate(D, NOTARIZE, 1, X, nodes=(1, 2, 3)), 1_300)
    for view in range(2, 6):
        certify(simplex, NULLIFY, view)
    certify(simplex, NOTARIZE, 6, Y)
    assert D.committee.leader(simplex.view) == 3, "whose last view was nullified"
    assert simplex._timeout_ms() == 600
    for _ in range(9):
        simplex.tick(2_000)
        simplex.on_certificate(make_certificate(D, NOTARIZE, simplex.view, X, nodes=(1, 2, 3)), 9_999)
    assert 600 < simplex._pace_ms <= limits.VIEW_TIMEOUT_MS
    certify(simplex, NULLIFY, simplex.view)
    for _ in range(3):
        simplex.tick(2_000)
        simplex.on_certificate(make_certificate(D, NOTARIZE, simplex.view, X, nodes=(1, 2, 3)), 2_000)
    assert simplex._timeout_ms() == limits.VIEW_TIMEOUT_MS, "never more than any leader gets"
    for _ in range(160):
        simplex.tick(3_000)
        simplex.on_certificate(make_certificate(D, NOTARIZE, simplex.view, X, nodes=(1, 2, 3)), 3_000)
    assert simplex._pace_ms < 100, "slow views are forgotten"
