PYTHON ?= python3.11
VENV := .venv
# For example DEMO_ARGS="--seed 1 --controls"; see ladle demo --help.
DEMO_ARGS ?=
# Processes that the tests are dealt out to, at about 2 GB each.
TEST_WORKERS ?= 2
STAMP := $(VENV)/.installed
# The environment of another ROS 2 or virtual environment must not leak into ours.
RUN := env -u PYTHONPATH -u PYTHONHOME -u LD_LIBRARY_PATH -u _ROS_WHEELS_BOOTSTRAP_COMPLETE

.PHONY: setup demo test lint clean

setup: $(STAMP)

$(STAMP): requirements.txt pyproject.toml setup_system.sh
	@command -v $(PYTHON) >/dev/null || { echo "Ladle needs Python 3.11 for its demo: no $(PYTHON) on PATH (PYTHON=/path/to/python3.11 make setup)" >&2; exit 2; }
	@bash setup_system.sh
	@echo "Installing into $(VENV): about two minutes and 4 GB"
	$(RUN) $(PYTHON) -m venv $(VENV)
	$(RUN) $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(RUN) $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $(STAMP)

demo: setup
	$(RUN) $(VENV)/bin/ladle demo $(DEMO_ARGS)

test: setup lint
	$(RUN) $(VENV)/bin/python -m pytest -n $(TEST_WORKERS) -m "not alone"
	$(RUN) $(VENV)/bin/python -m pytest -m alone

lint: setup
	$(RUN) $(VENV)/bin/ruff check .
	$(RUN) $(VENV)/bin/pyright
	$(RUN) $(VENV)/bin/pyright -p pyright.strict.json

clean:
	rm -rf $(VENV)
