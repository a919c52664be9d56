"""Order commits: the chain of them, each near miss refused for its own reason, and what a result needs of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import boa
import pytest
from settlement_house import ALICE, BOB, CAROL, GENESIS_ROOT, TERMS, House, as_address, deploy_house, header

from mpc_sequencer.core.signing import GROUP_ORDER
from mpc_sequencer.settlement.payloads import Delta, pack_deltas, signature_fields

TRADE = (Delta(ALICE, 0, -100, 0), Delta(BOB, 0, 100, 0))
NOTHING = (0, 0, bytes(32), 0, 0)


def test_commits_follow_each_other_by_hash_and_any_quorum_will_do(house: House) -> None:
    assert house.contract.last_commit() == NOTHING and not house.contract.is_committed(0)
    first = house.commit(height=3)
    house.post_commit(first)
    (event,) = [log for log in house.contract.get_logs() if type(log).__name__ == "CommitPosted"]
    assert (event.height, event.commit_hash, event.ciphertext_root) == (3, first.struct_hash, first.ciphertext_root)
    second = house.commit(height=6)
    assert second.prev_hash == first.struct_hash
    with boa.env.prank(as_address(CAROL)):
        house.post_commit(second, 1, 2, 3)
    assert house.contract.last_commit() == (0, 6, second.struct_hash, house.block - 1, 0)
    assert [house.contract.is_committed(height) for height in (2, 3, 4, 6)] == [False, True, False, True]
    with boa.reverts("commit: height went back"):
        house.post_commit(second)


COMMIT_MISSES: list[tuple[dict[str, Any], str]] = [
    ({"epoch": 1}, "signatures: unknown epoch"),
    ({"epoch": 2}, "signatures: unknown epoch"),
    ({"height": 3}, "commit: height went back"),
    ({"height": 2}, "commit: height went back"),
    ({"height": 2**48}, "commit: height above 2^48-1"),
    ({"prev_hash": bytes(32)}, "commit: wrong predecessor"),
    ({"prev_hash": bytes(31) + b"\x01"}, "commit: wrong predecessor"),
    ({"l1_head": 0}, "commit: l1 head went back"),
    ({"forced_head": 0}, "commit: forced head went back"),
    ({"forced_head": 3}, "commit: forced entry not queued"),
]


@pytest.mark.parametrize(("changes", "reason"), COMMIT_MISSES)
def test_commit_near_misses(house: House, changes: dict[str, Any], reason: str) -> None:
    house.force()
    house.force()
    house.mine(TERMS.forced_delay_blocks + 1)
    house.post_commit(house.commit())
    before = house.contract.last_commit()
    assert before[4] == 1
    house.mine()
    good = house.commit()
    with boa.reverts(reason):
        house.post_commit(replace(good, **changes))
    assert house.contract.last_commit() == before
    house.post_commit(good)


def test_l1_head_in_the_future(house: House) -> None:
    good = house.commit()
    for ahead in (1, 2, 2**40):
        with boa.reverts("commit: l1 head in the future"):
            house.post_commit(replace(good, l1_head=good.l1_head + ahead))
    house.post_commit(good)


def test_forced_head_one_short(house: House) -> None:
    house.force()
    entry = house.contract.forced_entry(0)
    assert entry == (4, house.block, house.block + TERMS.forced_delay_blocks)
    # A block before it is due nobody need cover it; a block later a commit that names that block must.
    house.mine(entry[2] - house.block)
    house.post_commit(house.commit())
    assert house.contract.last_commit()[3:] == (entry[2] - 1, 0)
    house.mine()
    short = house.commit(forced_head=0)
    with boa.reverts("commit: due entry not covered"):
        house.post_commit(short)
    # What was due at its own l1 head counts, not what is due when it is posted.
    house.post_commit(replace(short, l1_head=entry[2] - 1))
    house.post_commit(house.commit())
    assert house.contract.last_commit()[3:] == (entry[2], 1)


def test_an_entry_is_not_covered_before_the_block_in_which_it_was_queued(house: House) -> None:
    house.mine()
    house.force()
    early = house.commit(forced_head=1)
    with boa.reverts("commit: forced entry not queued"):
        house.post_commit(early)
    house.mine()
    house.post_commit(replace(early, l1_head=house.block - 1))
    assert house.contract.last_commit()[4] == 1


def test_a_commit_needs_a_quorum_of_distinct_low_s_signatures(house: House) -> None:
    good = house.commit()
    bitmap, signatures = house.signed(good.struct_hash)
    s = GROUP_ORDER - int.from_bytes(signatures[32:64], "big")
    flipped = signatures[:32] + s.to_bytes(32, "big") + bytes([55 - signatures[64]]) + signatures[65:]
    for bent, reason in (
        ((0b011, signatures[:130]), "signatures: no quorum"),
        ((bitmap, signatures[:65] * 2 + signatures[130:]), "signatures: bad signature"),
        ((bitmap, flipped), "signatures: high s"),
        ((bitmap, signatures[:130]), "signatures: one missing"),
        ((bitmap | 16, signatures), "signatures: unknown signer"),
        ((0b011, signatures), "signatures: one left over"),
    ):
        with boa.reverts(reason):
            house.contract.post_commit(good.fields, *bent)
    assert house.contract.last_commit() == NOTHING


def test_a_commit_before_the_start() -> None:
    with boa.env.anchor():
        house = deploy_house()
        with boa.reverts("settlement: not started"):
            house.post_commit(house.commit())


def test_digest_of_a_commit_is_the_contracts(house: House) -> None:
    from mpc_sequencer.core.eip712 import digest

    commit = house.commit(epoch=9, forced_head=77)
    assert house.council.commit_digest(commit.fields) == digest(house.separator, commit.struct_hash)


# ------------------------------------------------------------------------------------------ commits and results


def strict_house() -> House:
    house = deploy_house(terms=replace(TERMS, commits_required=True))
    for account in (ALICE, BOB):
        house.fund(account, 0, 1_000)
    house.start()
    return house


def test_a_result_without_its_commit_is_refused() -> None:
    with boa.env.anchor():
        house = strict_house()
        signed = house.sign(house.result(*TRADE))
        with boa.reverts("result: no order commit"):
            house.post(signed)
        for other in (2, 4):
            with boa.env.anchor():
                house.post_commit(house.commit(height=other))
                with boa.reverts("result: no order commit"):
                    house.post(signed)
        house.post_commit(house.commit(height=3))
        house.post(signed)
        assert house.balance(BOB, 0) == (1_100, 0)
        with boa.reverts("commit: height went back"):
            house.post_commit(house.commit(height=3))


def test_commits_run_ahead_of_results() -> None:
    """Also over 256 heights, where the record of earlier commits changes its slot."""
    with boa.env.anchor():
        house = strict_house()
        heights = (3, 6, 255, 257, 600)
        for height in heights:
            house.post_commit(house.commit(height=height))
        for height in heights:
            assert house.contract.is_committed(height)
            with boa.reverts("result: no order commit"), boa.env.anchor():
                house.post(house.sign(house.result(last_height=height + 1)))
            house.post(house.sign(house.result(last_height=height)))
        with boa.reverts("result: no order commit"):
            house.post(house.sign(house.result(last_height=601)))


def test_both_in_one_transaction() -> None:
    with boa.env.anchor():
        house = strict_house()
        signed, commit = house.sign(house.result(*TRADE)), house.commit(height=3)
        result = (header(signed.result), *signature_fields(signed), pack_deltas(TRADE))
        bent = replace(commit, height=4)
        with boa.reverts("result: no order commit"):
            house.contract.post_both(bent.fields, *house.signed(bent.struct_hash), *result)
        with boa.reverts("result: deltas cut off"):
            empty = house.result()
            cut = house.signed(_result_hash(house, empty, b"\x00"))
            house.contract.post_both(commit.fields, *house.signed(commit.struct_hash), header(empty), *cut, b"\x00")
        assert house.contract.last_commit() == NOTHING
        house.contract.post_both(commit.fields, *house.signed(commit.struct_hash), *result)
        assert house.contract.last_posted()[1] == 3 and house.contract.last_posted()[2] != GENESIS_ROOT
        assert house.balance(ALICE, 0) == (900, 0) and house.balance(BOB, 0) == (1_100, 0)


def _result_hash(house: House, result: Any, packed: bytes) -> bytes:
    import hashlib

    from mpc_sequencer.settlement.payloads import BATCH_RESULT

    return BATCH_RESULT(*header(result), hashlib.sha256(packed).digest())
