# Everything that is done to relup, by name. `make demo` and `make test` need only python3 (>= 3.11), make
# and git: the rest is set up on the way.

PYTHON ?= python3
# Kills of one random torture run, mutated archives of one fuzz run.
N ?=
# Some of: cli node journal deploy pause plan. All when empty.
ROOMS ?=
# More words for pytest: make test TESTS="tests/journal -x"
TESTS ?=
WORKERS ?= 2

VENV := .venv/bin
export PYTHON

.PHONY: help venv machine test lint format demo demo-node bench boundaries torture fuzz scale mutants wheel clean

help:
	@echo "make demo        a real upgrade under 200 MQTT clients, from nothing to the restarted node"
	@echo "make demo-node   a running node with clients, to try the commands on"
	@echo "make test        all tests                     TESTS=tests/journal WORKERS=2"
	@echo "make lint        ruff, its format, mypy strict"
	@echo "make bench       the measurements              ROOMS=\"cli node journal deploy pause plan\""
	@echo "make boundaries  kills before and after every journal entry"
	@echo "make torture     kills at random times         N=1000"
	@echo "make fuzz        mutated archives              N=50000"
	@echo "make scale       a hop on a node with 100,000 processes"
	@echo "make mutants     removes guards and looks for the test that goes red"
	@echo "make wheel       the wheel in dist/, tried in a fresh environment"
	@echo "make clean       removes what the targets built, and .venv"

machine:
	@tools/set-up machine

venv: machine
	@tools/set-up venv

test: venv
	@$(VENV)/python -m pytest -n $(WORKERS) $(TESTS)

lint: venv
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy

format: venv
	@$(VENV)/ruff check --fix .
	@$(VENV)/ruff format .

demo: venv
	@$(VENV)/python -m demo

demo-node: venv
	@$(VENV)/python -m demo.node

bench: venv
	@$(VENV)/python -m bench.run $(ROOMS)

boundaries: venv
	@$(VENV)/python -m tests.boundaries

torture: venv
	@$(VENV)/python -m tests.torture $(N)

fuzz: venv
	@$(VENV)/python -m tests.fuzz $(N)

scale: venv
	@SCALE_PROCESSES=100000 $(VENV)/python -m pytest -p no:xdist -q -s tests/engine/test_scale.py

mutants: venv
	@$(VENV)/python -m tests.mutants

wheel: venv
	@tools/check-wheel

clean:
	rm -rf build dist .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
