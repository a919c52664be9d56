"""Cost by committee size: the fit on known data, the parts of a small run, the plot and the command."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mpc_sequencer.bench.growth import named, power_law
from mpc_sequencer.bench.meter import Meter
from mpc_sequencer.bench.plot import draw_scale
from mpc_sequencer.bench.scale import PARTS, growth, measure, measure_sizes, parts_ns
from mpc_sequencer.cli.app import app
from mpc_sequencer.core import signing
from mpc_sequencer.core.signing import Signer

SIZES = (4, 7, 13, 31)


@given(exponent=st.floats(-1, 3), factor=st.floats(0.01, 1e6))
def test_the_fit_finds_the_exponent_of_a_power_law(exponent: float, factor: float) -> None:
    found = power_law(SIZES, [factor * n**exponent for n in SIZES])
    assert found == pytest.approx((exponent, factor), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("exponent", "name"),
    [(0.0, "does not grow"), (0.5, "slower than n"), (1.0, "like n"), (1.4, "faster than n"), (2.0, "n^2")],
)
def test_growth_has_a_name(exponent: float, name: str) -> None:
    assert name in named(exponent)
    assert named(3.0) == "grows faster than n^2"


@pytest.mark.parametrize(
    ("sizes", "costs"), [((4,), (1.0,)), ((4, 4), (1.0, 2.0)), ((4, 7), (1.0, 0.0)), ((4, 7), (1.0,))]
)
def test_a_fit_needs_two_sizes_and_positive_costs(sizes: tuple[int, ...], costs: tuple[float, ...]) -> None:
    with pytest.raises(ValueError):
        power_law(sizes, costs)


def test_a_meter_counts_while_it_is_open_and_leaves_nothing_behind() -> None:
    signer, digest = Signer(b"\x01" * 32), b"\x02" * 32
    originals = (Signer.sign_digest, signing.recover_key)
    with Meter(timed=True) as meter:
        signing.check_signer(digest, signer.sign_digest(digest), signer.address, "signature")
        with pytest.raises(RuntimeError), Meter():
            pass
    signer.sign_digest(digest)
    assert meter.calls == {"sign": 1, "recover": 1}
    assert meter.total_ns == sum(meter.spent_ns.values()) > 0
    assert (Signer.sign_digest, signing.recover_key) == originals


def test_signature_checks_of_orders_are_told_from_those_of_statements() -> None:
    calls = Counter(recover=10, sign=5)
    parts = parts_ns(calls, Counter(recover=1_000, sign=500, check=70, share=1, combine=2, open=3, verify_coin=4), 3)
    assert parts == {"door": 70 + 300 + 300, "account": 300, "statements": 400 + 200, "reveal": 6, "coin": 4}


def test_a_small_committee_does_the_work_of_an_order_once_per_member() -> None:
    (row,) = measure_sizes((4,), 12, 1)
    assert (row["n"], row["q"], row["t"]) == (4, 3, 3)
    for name in ("check", "share", "combine", "open"):
        assert row["calls"][name] == 1.0
    assert row["calls"]["recover"] > 2.0, "sponsor, account, and what members sign"
    assert set(row["parts_us"]) == set(PARTS) and min(row["parts_us"].values()) > 0
    assert sum(row["parts_us"].values()) == pytest.approx(row["us"], abs=1.0)
    assert row["us_all"] == pytest.approx(4 * row["us"], rel=0.01)
    assert row["blocks"] >= 1 and row["messages"] > 0 and row["bytes"] > 100


def test_what_members_say_to_each_other_grows_with_their_number_and_what_an_order_asks_of_each_does_not() -> None:
    result = measure((4, 10), orders=12, rounds=1)
    small, large = result["sizes"]
    assert large["calls"]["check"] == small["calls"]["check"]
    assert large["calls"]["verify_coin"] > 2 * small["calls"]["verify_coin"]
    assert result["growth"]["messages"]["exponent"] > 0.8


def rows(factor: float) -> list[dict[str, object]]:
    return [
        {
            "n": n,
            "us": 100.0 + n,
            "us_all": n * (100.0 + n),
            "parts_us": {part: (0.0 if part == "coin" else factor * n) for part in PARTS},
            "messages": n / 10,
            "bytes": 100 * n,
        }
        for n in SIZES
    ]


def test_growth_leaves_out_what_is_nothing_somewhere() -> None:
    found = growth(rows(2.0))
    assert "coin" not in found
    assert found["door"] == {"exponent": 1.0, "name": "grows like n"}
    assert growth(rows(2.0)[:1]) == {}


def test_the_plot_is_an_svg_with_a_curve_and_a_name_per_figure_inside_its_frame() -> None:
    result = {"orders": 12, "sizes": rows(0.02), "growth": growth(rows(0.02))}
    root = ElementTree.fromstring(draw_scale(result))
    lines = root.findall("{*}polyline")
    assert len(lines) == 1 + len(PARTS) - 1 + 2, "in all, the parts that are something, bytes and messages"
    texts = [one.text or "" for one in root.findall("{*}text")]
    assert "door  n^1.00" in texts and not any("coin" in one for one in texts)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for line in lines:
        numbers = [float(one) for one in re.findall(r"[\d.]+", line.attrib["points"])]
        assert all(0 < x < width for x in numbers[::2]) and all(0 < y < height for y in numbers[1::2])
    with pytest.raises(ValueError):
        draw_scale({**result, "sizes": rows(1.0)[:1]})


def test_the_command_prints_sizes_and_growth_and_draws_them(tmp_path: Path) -> None:
    out = tmp_path / "scale.svg"
    arguments = ["bench", "scale", "--nodes", "5,4", "--orders", "6", "--rounds", "1", "--plot", str(out), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert set(value) == {"orders", "rounds", "sizes", "growth"}
    assert [size["n"] for size in value["sizes"]] == [4, 5]
    assert {"us", "us_all", "messages", "bytes"} <= set(value["growth"])
    assert out.read_text(encoding="utf-8").startswith("<svg")
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code != 0, "the plot is not overwritten"
