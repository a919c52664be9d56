"""Which committees may run dark markets: four times the faults and one, keys that can be dealt, orders that fit; at the
start and after a rotation, for members and for the auditor."""

from __future__ import annotations

import msgspec
import pytest
from core_kit import refused
from dark_words_kit import GRID, dark_deployment, dark_market

from mpc_sequencer.audit.rotation import refusal
from mpc_sequencer.core import limits
from mpc_sequencer.core.committee import Committee, Genesis
from mpc_sequencer.core.darkterms import check_dark, order_bytes
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.rotation import check_next
from mpc_sequencer.dark.orders import Parties, box_bytes, dark_params
from mpc_sequencer.market import Market
from mpc_sequencer.market.types import DarkGrid
from mpc_sequencer.sim import make_deployment

SHOWN = msgspec.structs.replace(GRID, demonstration=1)


def genesis_of(n: int, *markets: Market) -> Genesis:
    genesis = make_deployment(n).committee.genesis
    return msgspec.structs.replace(genesis, markets=(*genesis.markets, *markets), threshold=(n - 1) // 3 + 1)


@pytest.mark.parametrize(("n", "f"), [(5, 1), (7, 1), (8, 1), (9, 2), (12, 2), (13, 3)])
def test_f_is_a_quarter_where_a_market_is_dark(n: int, f: int) -> None:
    committee = Committee(genesis_of(n, dark_market()))
    assert (committee.f, committee.q) == (f, n - f) and n >= 4 * f + 1
    assert committee.solid is None, "receive order is another matter"


@pytest.mark.parametrize(("n", "f"), [(4, 1), (7, 2), (10, 3)])
def test_a_demonstration_takes_what_a_committee_may_have(n: int, f: int) -> None:
    assert Committee(genesis_of(n, dark_market(SHOWN))).f == f
    with pytest.raises(ConfigError):
        Committee(genesis_of(4, dark_market(SHOWN), dark_market(GRID, 8)))


WIDE = DarkGrid(
    ticks=512, price_first_ticks=1, price_step_ticks=1, quantity_bits=4, slack_bits=28, orders_max=2, interval_ms=1
)
FULL = msgspec.structs.replace(GRID, orders_max=1_536, quantity_bits=40)
UNSAFE = {
    "four members": (4, [dark_market()], "tolerate no fault"),
    "fourteen members": (14, [dark_market()], "a deal of the dark keys"),
    "too many keys": (21, [dark_market()], "keys, expected at most"),
    "a batch beyond the prime": (13, [dark_market(FULL)], "prime"),
    "a row beyond an order": (9, [dark_market(WIDE)], "an order takes"),
    "a row beyond a box": (5, [dark_market(msgspec.structs.replace(WIDE, ticks=700))], "a party's box"),
    "five dark markets": (5, [dark_market(market=7 + i) for i in range(5)], "5 dark markets"),
}


@pytest.mark.parametrize("name", UNSAFE)
def test_a_committee_that_cannot_run_a_dark_market_is_refused_with_the_bound(name: str) -> None:
    n, markets, text = UNSAFE[name]
    genesis = genesis_of(n)
    genesis = msgspec.structs.replace(genesis, markets=(*genesis.markets, *markets))
    with pytest.raises(ConfigError, match=text) as info:
        Committee(genesis)
    assert info.value.hint


def test_as_many_dark_markets_as_there_may_be_are_taken() -> None:
    markets = [dark_market(market=7 + i) for i in range(limits.DARK_MARKETS_MAX)]
    assert Committee(genesis_of(5, *markets)).dark_topic is not None


@pytest.mark.parametrize("n", [5, 9, 13])
def test_the_size_of_an_order_is_that_of_its_boxes_and_little_more(n: int) -> None:
    f = (n - 1) // 4
    box = box_bytes(dark_params(GRID, Parties(bytes(32), 0, (bytes(20),) * n, f)))
    assert 0 < order_bytes(n, f, GRID) - n * box < 512
    check_dark(n, f, [dark_market()])


def test_no_committee_follows_that_could_not_run_the_dark_markets() -> None:
    d = dark_deployment(5, joiners=9)
    for people, threshold in ((range(4), 3), (range(14), 8)):
        target = d.next_committee(people, threshold)
        with refused("rotation.committee"):
            check_next(d.committee, target)
        assert refusal(d.committee, target) is not None
    for people, threshold in ((range(1, 6), 4), (range(9), 7), (range(13), 9)):
        target = d.next_committee(people, threshold)
        check_next(d.committee, target)
        assert refusal(d.committee, target) is None
    lit = make_deployment(5, joiners=9)
    check_next(lit.committee, lit.next_committee(range(14), 8))


def test_a_rotation_of_a_deployment_with_dark_markets_tolerates_a_quarter() -> None:
    d = dark_deployment(5, joiners=4)
    with refused("rotation.committee"):
        check_next(d.committee, d.next_committee(range(9), 2))  # f = 2
    check_next(d.committee, d.next_committee(range(8), 2))  # f = 1
