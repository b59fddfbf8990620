# Every target sets up the project's own .venv by itself; see scripts/venv.sh.

.PHONY: help demo demo-core test torture failover scale recall bench bench-quick check lint format types clean venv-core venv-demo venv-dev venv-bench venv-upstream venv-newest venv-oldest venv-docs venv-failover venv-release docs upstream test-newest test-oldest lock release
# A third of a test run is waiting for disks and servers: three processes keep two cores busy.
JOBS ?= 3
# Lint, types and tests would only get in each other's way.
.NOTPARALLEL:

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

demo: venv-demo  ## LangChain, a kill, LlamaIndex, and what is remembered: three days in one SQLite file
	@.venv/bin/python examples/two_frameworks.py

demo-core: venv-core  ## a conversation over three days without a framework
	@.venv/bin/python examples/three_days.py

test: venv-dev  ## the whole suite, against real servers (ARGS="-k name" to choose, JOBS=1 for one process)
	@.venv/bin/python -m pytest --numprocesses $(JOBS) $(ARGS)

test-newest: venv-newest  ## the suite with what the package index has today, whatever is locked
	@.venv-newest/bin/python -m pytest -rx --numprocesses $(JOBS) $(ARGS)

test-oldest: venv-oldest  ## the suite with the floors of pyproject.toml, on Python 3.11
	@.venv-oldest/bin/python -m pytest -rx --numprocesses $(JOBS) $(ARGS)

torture: venv-dev  ## real processes under a nemesis (ARGS="--seconds 60 --seed 7")
	@.venv/bin/python -m tests.torture $(ARGS)

failover: venv-failover  ## three PostgreSQL under Patroni, of which one is lost (ARGS="--only switchover")
	@.venv-failover/bin/python -m tests.failover $(ARGS)

scale: venv-dev  ## a million messages, 100,000 sessions, and searches among them (ARGS="--small")
	@.venv/bin/python -m bench.scale $(ARGS)

recall: venv-dev  ## which turns a search brings back, by words and by meaning (DATA=folder, ARGS="--postgres")
	@.venv/bin/python -m scripts.recall $(DATA) $(ARGS)

bench: venv-bench  ## beside the peers, with plots: ten to twenty minutes (ARGS="--only append")
	@.venv-bench/bin/python -m bench --into docs/reference/benchmarks $(ARGS)

bench-quick: venv-bench  ## the same in two minutes, rougher
	@.venv-bench/bin/python -m bench --quick $(ARGS)

upstream: venv-upstream  ## the frameworks' own suites, with our classes in them (FROM=folder, ARGS="--only pregel")
	@.venv-upstream/bin/python -m scripts.upstream $(FROM) $(ARGS)

docs: venv-docs  ## the site, into build/site: warnings are errors, and every link is checked
	@.venv-docs/bin/python -m scripts.site

check: lint types test  ## what has to pass before a change is taken

lint: venv-dev  ## ruff: rules and formatting
	@.venv/bin/python -m ruff check
	@.venv/bin/python -m ruff format --check

format: venv-dev  ## let ruff fix what it can
	@.venv/bin/python -m ruff check --fix
	@.venv/bin/python -m ruff format

types: venv-dev  ## mypy, strict
	@.venv/bin/python -m mypy

lock:  ## write requirements/ anew from pyproject.toml, with uv (ARGS=--upgrade takes the newest)
	@scripts/lock.sh $(ARGS)

release: venv-release  ## build the packages, try them in empty environments; uploads nothing (ARGS=--dirty)
	@.venv-release/bin/python -m scripts.release $(ARGS)

clean:  ## remove .venv and everything that was built or cached
	rm -rf .venv .venv-* build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

venv-core:
	@scripts/venv.sh core

venv-demo:
	@scripts/venv.sh demo

venv-dev:
	@scripts/venv.sh dev

venv-upstream:
	@scripts/venv.sh upstream

venv-docs:
	@scripts/venv.sh docs

venv-failover:
	@scripts/venv.sh failover

venv-release:
	@scripts/venv.sh release

venv-newest:
	@scripts/venv.sh newest

venv-oldest:
	@scripts/venv.sh oldest

venv-bench:
	@scripts/venv.sh bench
