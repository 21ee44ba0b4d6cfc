# Everything is set up by the targets that need it; `make check` is what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := build/.venv-stamp

.PHONY: check test demo bench duel duel-s3 crash-s3 soak committers fmt lint types pyright mypy setup \
	setup-peers setup-tools setup-servers build clean

check: lint types test

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip setuptools
	$(BIN)/pip install --quiet -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	mkdir -p build && touch $(STAMP)

# Everything: the environment, the peers the tests compare with, the tools and servers they run.
setup: setup-peers setup-tools setup-servers

setup-peers: $(STAMP)
	bash scripts/setup_peers.sh

setup-tools: $(STAMP)
	bash scripts/setup_tools.sh

setup-servers:
	bash scripts/setup_servers.sh

# Files go to workers in their order, which has the slow folders first and the quick one last, so
# that all workers end at one time. The daemon and its workers are started again and again: what
# they are compiled to is kept, whatever the caller's environment says.
test: setup
	PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n $(or $(WORKERS),2) --dist loadfile \
		--no-loadscope-reorder

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	PYTHONSAFEPATH=1 $(BIN)/lint-imports

types: $(STAMP)
	$(MAKE) --no-print-directory --output-sync=target -j2 pyright mypy

pyright: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pyright

mypy: $(STAMP)
	$(BIN)/mypy

fmt: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

demo: $(STAMP)
	$(BIN)/desilt demo

bench: setup
	PYTHONSAFEPATH=1 PYTHONPATH=tests $(BIN)/python -m bench.run $(if $(ONLY),--only $(ONLY))

duel: setup-peers
	PYTHONSAFEPATH=1 PYTHONPATH=tests $(BIN)/python -m bench.duel --seconds $(or $(SECONDS),300)

duel-s3: setup
	PYTHONSAFEPATH=1 PYTHONPATH=tests $(BIN)/python -m bench.duel_s3 --seconds $(or $(SECONDS),300) \
		$(if $(KIND),--kind $(KIND))

crash-s3: setup
	PYTHONSAFEPATH=1 DESILT_EVERY_CALL=1 $(BIN)/pytest -n $(or $(WORKERS),2) -k "s3 and not test_s3_" \
		$(or $(ONLY),tests/fault)

soak: setup-peers
	PYTHONSAFEPATH=1 PYTHONPATH=tests $(BIN)/python -m bench.soak --seconds $(or $(SECONDS),600) \
		$(if $(SEED),--seed $(SEED)) $(if $(ROW),--row $(ROW))

committers: setup-servers
	PYTHONSAFEPATH=1 PYTHONPATH=tests $(BIN)/python -m bench.committers --seconds $(or $(SECONDS),60)

build: $(STAMP)
	rm -rf build/lib dist
	$(BIN)/python -m build --no-isolation

clean:
	rm -rf build dist $(VENV)
