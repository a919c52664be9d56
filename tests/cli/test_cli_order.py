"""``mpcseq order``: sealing works offline, inspecting shows everything, and bad input has its code and
status 2.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mpc_sequencer.client.inspection import ENVELOPE_FILE_BYTES_MAX
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.types import Envelope
from mpc_sequencer.devnet.layout import Devnet

Run = Callable[..., Any]


def seal(mpcseq: Run, devnet: Devnet, out: Path, **changes: object) -> Any:
    options: dict[str, object] = {
        "committee": devnet.committee_path,
        "key-file": devnet.account_keys()[0],
        "out": out,
        "side": "sell",
        "price": "61800.3",
        "quantity": "0.25",
        "nonce": 7,
    }
    words = [
        word
        for name, value in (options | changes).items()
        if value is not None
        for word in (f"--{name}", value)
    ]
    return mpcseq("order", "seal", *words, "--json")


def test_a_sealed_order_passes_inspection_and_shows_label_and_ciphertext_in_hex(
    mpcseq: Run, devnet: Devnet, sealed: Path
) -> None:
    ran = mpcseq("order", "inspect", sealed, "--committee", devnet.committee_path, "--json")
    envelope: Envelope = decode(Envelope, sealed.read_bytes())
    shown = ran.json
    assert ran.status == 0 and shown["valid"]
    assert shown["order_id"] == envelope.order_id().hex()
    assert (shown["label_hex"], shown["ciphertext_hex"]) == (envelope.label.hex(), envelope.ciphertext.hex())
    assert shown["label"]["size_bucket_bytes"] == 256
    people = mpcseq("order", "inspect", sealed, "--committee", devnet.committee_path)
    assert people.status == 0
    for text in (envelope.label.hex(), envelope.ciphertext.hex(), envelope.order_id().hex(), "sealing proof"):
        assert text in people.out


def test_sealing_prints_what_was_written_and_takes_ticks_and_lots_too(
    mpcseq: Run, devnet: Devnet, tmp_path: Path
) -> None:
    ran = seal(mpcseq, devnet, tmp_path / "a")
    assert ran.status == 0
    assert set(ran.json) == {
        *("order_id", "action", "file", "bytes", "account", "sponsor", "nonce", "valid_from_ms", "valid_until_ms")
    }
    changes: dict[str, object] = {
        "price": None,
        "quantity": None,
        "price-ticks": 618_003,
        "quantity-lots": 250,
    }
    assert seal(mpcseq, devnet, tmp_path / "b", **changes).status == 0


def test_a_withdrawal_is_sealed_by_the_assets_name(mpcseq: Run, devnet: Devnet, tmp_path: Path) -> None:
    changes: dict[str, object] = {
        "side": None,
        "price": None,
        "quantity": None,
        "withdraw": "BTC",
        "amount": "0.5",
    }
    assert seal(mpcseq, devnet, tmp_path / "w", **changes).status == 0
    assert (tmp_path / "w").stat().st_size == 610


PLAIN: dict[str, object] = {"side": None, "price": None, "quantity": None}


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        ({"kind": "market", "price": "62000"}, "order"),
        ({"kind": "market", "price": None, "reference-price": "61800.37", "slippage": "0.005", "tif": "fok"}, "order"),
        ({"kind": "stop", "stop-price": "60000", "client-id": 77}, "order"),
        ({"kind": "stop_limit", "stop-ticks": 600_000}, "order"),
        ({"display": "0.01", "self-trade": "cancel_both", "tif": "GTD", "expires-ms": 1 << 50}, "order"),
        ({"replace": 6}, "replace"),
        (PLAIN | {"cancel": 6}, "cancel"),
        (PLAIN | {"cancel-all": "every"}, "cancelall"),
        (PLAIN | {"cancel-all": "BTCUSDT"}, "cancelall"),
    ],
)
def test_every_action_is_sealed_from_the_command_line(
    mpcseq: Run, devnet: Devnet, tmp_path: Path, changes: dict[str, object], action: str
) -> None:
    ran = seal(mpcseq, devnet, tmp_path / "a", **changes)
    assert ran.status == 0 and ran.json["action"] == action
    assert mpcseq("order", "inspect", tmp_path / "a", "--committee", devnet.committee_path).status == 0


def test_post_only_is_a_word_without_a_value(mpcseq: Run, devnet: Devnet, tmp_path: Path) -> None:
    words = ("--committee", devnet.committee_path, "--key-file", devnet.account_keys()[0], "--side", "buy")
    terms = ("--price-ticks", 5, "--quantity-lots", 1, "--nonce", 1, "--post-only")
    assert mpcseq("order", "seal", *words, *terms, "--out", tmp_path / "a").status == 0
    ran = mpcseq("order", "seal", *words, *terms, "--tif", "IOC", "--out", tmp_path / "b")
    assert ran.error()[0].startswith("order.post_only: ")


def test_an_existing_file_is_kept(mpcseq: Run, devnet: Devnet, sealed: Path) -> None:
    before = sealed.read_bytes()
    cause, hint = seal_error(mpcseq, devnet, sealed)
    assert "exists" in cause and "--force" in hint
    assert sealed.read_bytes() == before


def seal_error(mpcseq: Run, devnet: Devnet, out: Path, **changes: object) -> tuple[str, str]:
    ran = seal(mpcseq, devnet, out, **changes)
    assert ran.status == 2 and ran.out == ""
    shown = msgspec.json.decode(ran.err)
    assert set(shown) == {"error", "hint"}
    return shown["error"], shown["hint"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"price": "61800.35"}, "order.price_tick"),
        ({"price": "1e5"}, "order.price"),
        ({"quantity": "0.0001"}, "order.dust"),
        ({"side": "long"}, "order.side"),
        ({"side": None}, "order.side"),
        ({"time-in-force": "DAY"}, "order.time_in_force"),
        ({"market": "ETHUSDT"}, "market.unknown"),
        ({"lifetime": "601"}, "label.validity"),
        ({"kind": "peg"}, "order.kind"),
        ({"kind": "market", "tif": "GTC"}, "order.time_in_force"),
        ({"kind": "stop", "stop-price": "0"}, "order.price"),
        ({"stop-price": "60000"}, "order.stop_price"),
        ({"display": "0.5"}, "order.display"),
        ({"self-trade": "never"}, "order.self_trade"),
        ({"expires-ms": 5}, "order.expiry"),
        ({"tif": "GTD", "expires-ms": 5}, "order.expired"),
        ({"price": None, "reference-price": "61800", "slippage": "2"}, "order.protection"),
        ({"cancel": 7}, "cancel.target"),
        ({"cancel-all": "ETHUSDT"}, "market.unknown"),
        ({"withdraw": "ETH", "amount": "1"}, "asset.unknown"),
        ({"withdraw": "BTC", "amount": "0.000000001"}, "withdrawal.amount"),
    ],
)
def test_bad_terms_have_their_code_and_write_nothing(
    mpcseq: Run, devnet: Devnet, tmp_path: Path, changes: dict[str, object], code: str
) -> None:
    cause, _ = seal_error(mpcseq, devnet, tmp_path / "x", **changes)
    assert cause.startswith(f"{code}: ")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "changes",
    [
        *({"price-ticks": 1}, {"price": None}, {"nonce": None}, {"nonce": -1}, {"nonce": "x"}),
        *({"slippage": "0.1"}, {"reference-price": "1", "slippage": "0.1"}, {"kind": "stop"}),
        *({"cancel": 1, "cancel-all": "every"}, {"replace": 1, "withdraw": "BTC"}),
    ],
)
def test_contradicting_or_missing_options_are_errors(
    mpcseq: Run, devnet: Devnet, tmp_path: Path, changes: dict[str, object]
) -> None:
    cause, hint = seal_error(mpcseq, devnet, tmp_path / "x", **changes)
    assert cause and hint


def edited(sealed: Path, **changes: Any) -> bytes:
    envelope: Envelope = decode(Envelope, sealed.read_bytes())
    return encode(msgspec.structs.replace(envelope, **changes))


def flipped(data: bytes, index: int) -> bytes:
    return data[:index] + bytes((data[index] ^ 1,)) + data[index + 1 :]


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda p: p.read_bytes()[:-1], "wire.malformed"),
        (lambda p: p.read_bytes() + b"\0", "wire.malformed"),
        (lambda p: b"\0" * (ENVELOPE_FILE_BYTES_MAX + 1), "larger than"),
        (lambda p: edited(p, label=flipped(decode(Envelope, p.read_bytes()).label, 8)), "label.chain"),
        (lambda p: edited(p, label=flipped(decode(Envelope, p.read_bytes()).label, 30)), "label.key"),
        (
            lambda p: edited(p, ciphertext=flipped(decode(Envelope, p.read_bytes()).ciphertext, 0)),
            "ciphertext.version",
        ),
        (
            lambda p: edited(p, ciphertext=flipped(decode(Envelope, p.read_bytes()).ciphertext, 200)),
            "tdh2.proof",
        ),
        (
            lambda p: edited(p, ciphertext=decode(Envelope, p.read_bytes()).ciphertext[:-1]),
            "ciphertext.length",
        ),
        (lambda p: edited(p, sponsor_signature=bytes(65)), "signature.encoding"),
    ],
)
def test_a_bad_envelope_file_has_its_code_when_inspected_and_is_not_submitted(
    mpcseq: Run, devnet: Devnet, sealed: Path, tmp_path: Path, edit: Callable[[Path], bytes], code: str
) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(edit(sealed))
    inspected = mpcseq("order", "inspect", bad, "--committee", devnet.committee_path)
    assert code in inspected.error()[0]
    submitted = mpcseq("order", "submit", bad, "--committee", devnet.committee_path)
    assert code in submitted.error()[0]


def test_an_expired_order_is_shown_and_refused(mpcseq: Run, devnet: Devnet, sealed: Path) -> None:
    ran = mpcseq(
        "order", "inspect", sealed, "--committee", devnet.committee_path, "--at-ms", 10**13, "--json"
    )
    assert ran.status == 2
    assert [row["verdict"] for row in ran.json["checks"]].count("refused") == 1
    assert "label.expired" in msgspec.json.decode(ran.err)["error"]


def test_an_unreachable_committee_is_an_error_with_a_hint(mpcseq: Run, devnet: Devnet, sealed: Path) -> None:
    cause, hint = mpcseq(
        "order", "submit", sealed, "--committee", devnet.committee_path, "--timeout", 0.5
    ).error()
    assert "reached 0 of the 2 members" in cause and "node status" in hint


def test_the_state_of_an_order_needs_an_id_and_a_member(mpcseq: Run, devnet: Devnet) -> None:
    cause, _ = mpcseq("order", "status", "12", "--committee", devnet.committee_path).error()
    assert "no order id" in cause
    ran = mpcseq(
        "order", "status", "ab" * 32, "--committee", devnet.committee_path, "--json", "--timeout", 0.5
    )
    assert ran.status == 2
    assert ran.json["agreed"] is None and len(ran.json["nodes"]) == 4


def test_sealing_needs_no_chain_client_and_no_market_simulator() -> None:
    """What `order seal` imports decides how fast it starts."""
    import subprocess
    import sys

    code = "import sys; sys.argv=['mpcseq','order','seal','--help']; import mpc_sequencer.cli as c\n"
    code += "try: c.main()\nexcept SystemExit: pass\n"
    code += "import mpc_sequencer.cli.sealing\n"
    code += "print([m for m in ('web3', 'eth', 'eth_account', 'vyper') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
