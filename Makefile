# The two commands of the README: `make demo` and `make test`. Everything is installed into .venv from the locks.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: setup demo settle test lint soak chaos bench vectors contracts lock clean help

help:
	@echo "make setup      install everything into .venv"
	@echo "make demo       run a committee of four on real orders, settle, audit (about two minutes)"
	@echo "make settle     deposit, withdraw, force, rotate, freeze and exit; compare engine and contract (about three minutes)"
	@echo "make test       lint, type-check and run all tests"
	@echo "make soak       simulate committees under all faults, 10,000 runs and 200 with a dark market (some 65 minutes on two quiet cores; goes on where it was stopped)"
	@echo "make chaos      kill members of a trading committee for three minutes, compare what they leave"
	@echo "make bench      measure the cryptography, latency over regions, cost by committee size, the market (about three minutes)"
	@echo "make vectors    write the vectors of the cryptography again"
	@echo "make contracts  compile the contracts again"
	@echo "make lock       resolve the locked dependencies again"

# The project itself is put on the path by a .pth file: nothing is built, nothing is fetched.
define link_project
	@$(BIN)/python -c "import pathlib, sysconfig; pathlib.Path(sysconfig.get_path('purelib'), 'mpc_sequencer.pth').write_text(str(pathlib.Path.cwd()) + '\n')"
	@printf '#!%s/%s/python\nfrom mpc_sequencer.cli import main\n\nif __name__ == "__main__":\n    main()\n' "$(CURDIR)" "$(BIN)" > $(BIN)/mpcseq
	@chmod +x $(BIN)/mpcseq
endef

$(VENV)/runtime.stamp: requirements.lock
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "error: python 3.11 or newer is needed"; echo "hint: make PYTHON=python3.11 ..."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked dependencies into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements.lock
	$(link_project)
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock tests/anvil/package-lock.json $(VENV)/runtime.stamp
	@echo "installing the locked development dependencies ..."
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@command -v npm >/dev/null || { echo "error: npm is needed for the chain node of the tests"; echo "hint: install Node.js 20 or newer"; exit 2; }
	@cd tests/anvil && npm ci --ignore-scripts --silent
	@touch $@

setup: $(VENV)/dev.stamp

demo: $(VENV)/runtime.stamp
	@$(BIN)/mpcseq demo $(DEMO)

settle: $(VENV)/runtime.stamp
	@for scenario in live rotate exit; do $(BIN)/mpcseq devnet settle $$scenario $(SETTLE) || exit $$?; done

test: lint
	$(BIN)/python -m pytest $(PYTEST)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/mypy

# 10,000 runs: seeds by committee size, more of the small ones, which cost less than a quarter of the large.
SOAK ?= --first-seed 0 --faults all

soak: $(VENV)/dev.stamp
	@MARKET_STEPS=10000 $(BIN)/python -m pytest -q tests/market/test_market_model.py
	@$(BIN)/mpcseq sim run $(SOAK) --nodes 4 --seeds 6000 --state run/soak-4.jsonl
	@$(BIN)/mpcseq sim run $(SOAK) --nodes 7 --seeds 3000 --state run/soak-7.jsonl
	@$(BIN)/mpcseq sim run $(SOAK) --nodes 13 --seeds 1000 --state run/soak-13.jsonl
	@$(BIN)/mpcseq sim run $(SOAK) --dark --nodes 5 --seeds 200 --state run/soak-dark.jsonl

chaos: $(VENV)/runtime.stamp
	@$(BIN)/mpcseq devnet chaos $(CHAOS)

bench: $(VENV)/runtime.stamp
	@$(BIN)/mpcseq bench crypto
	@$(BIN)/mpcseq bench regions --orders 13
	@$(BIN)/mpcseq bench scale --nodes 4,7,13 --orders 96 --rounds 2
	@$(BIN)/mpcseq bench market --batches 1000,10000 --resting 0,10000 --rounds 1

vectors: $(VENV)/dev.stamp
	$(BIN)/python tests/vectors/make_sealing.py
	$(BIN)/python tests/vectors/make_coin.py
	$(BIN)/python tests/vectors/make_dkg.py
	$(BIN)/python tests/vectors/make_boxes.py

contracts: $(VENV)/dev.stamp
	$(BIN)/python contracts/build.py

lock:
	uv pip compile pyproject.toml --universal --generate-hashes --no-header --no-emit-index-url --quiet -o requirements.lock
	uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-header --no-emit-index-url --quiet -c requirements.lock -o requirements-dev.lock

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build run
