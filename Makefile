# On a fresh machine, `make demo` or `make test` is the only command to type; `make help` lists the others.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
# Which kernels the tests of hooks run on besides this machine's: one for every change, all for the table in docs.
VM ?= 6.12
KERNELS := 5.10 6.1 6.12 6.18 7.3
# In a virtual machine: what this machine's kernel may lack, and a template of every kind.
# HOOK_TESTS="-q -m hook tests/kernel" runs everything there; that takes an hour for all kernels.
HOOK_TESTS ?= -q -m hook $(addprefix tests/kernel/test_,hook_tracing.py hook_control.py hook_struct_ops.py templates.py templating_hooks.py bcc_tools.py)

.PHONY: help setup python system demo test test-host test-kernel test-unit test-browser test-vm test-kernels test-tools lab lint bench notebooks recordings clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## install what is missing: system packages, a virtual environment, this package

demo: setup ## run the quickstart notebook against this kernel and write build/quickstart.html
	@$(BIN)/ebpflab demo --output build/quickstart.html

# The browser's tests mostly wait, and a virtual machine has one CPU: they share the time, and each is shown when it is done.
test: setup ## run all tests: on this machine's kernel, and on another in a virtual machine
	@failed=0; \
	$(MAKE) --no-print-directory --keep-going test-kernel test-unit || failed=1; \
	$(MAKE) --no-print-directory --keep-going --jobs=2 --output-sync=target test-browser test-vm || failed=1; \
	exit $$failed

test-host: test-kernel test-unit test-browser ## run the tests on this machine's kernel only

test-kernel: setup
	EBPFLAB_HOOK_REPORT=build/hooks.json $(BIN)/python -m pytest tests/kernel
	$(BIN)/python -m tests.hook_table build/hooks.json

test-unit: setup
	$(BIN)/python -m pytest --numprocesses=auto --ignore=tests/kernel --ignore=tests/browser tests

test-browser: setup
	$(BIN)/python -m pytest tests/browser

# Where QEMU cannot be had, that is said, and is a failure only where CI asks for everything.
test-vm: setup ## run the tests of hooks on a stock kernel in QEMU; VM="6.1 7.3" chooses others
	@if $(BIN)/python -m tests.vm setup --install; then $(BIN)/python -m tests.vm test $(VM) -- $(HOOK_TESTS); \
	else echo "not run: the tests of hooks in a virtual machine"; test -z "$$EBPFLAB_REQUIRE_KERNEL"; fi

test-kernels: test-host ## run the tests of hooks on all kernels and make docs/hooks.md
	$(BIN)/python -m tests.vm setup --install
	$(BIN)/python -m tests.vm test $(KERNELS) -- $(HOOK_TESTS)
	$(BIN)/python -m tests.hook_table --save build/hooks.json $(KERNELS:%=build/vm/%/hooks.json)

test-tools: setup ## load every tool of bpf_src on all kernels
	$(BIN)/python -m tests.vm setup --install
	$(BIN)/python -m tests.vm test $(KERNELS) -- -q tests/kernel/test_tools.py -k attaches

lab: setup ## open JupyterLab on the notebooks
	@$(BIN)/ebpflab lab

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup ## measure, beside the peers, in the same run
	$(BIN)/python -m benchmarks

notebooks: setup ## run all notebooks and save them with their outputs
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace notebooks/*.ipynb

recordings: setup ## record the cells of the notebooks, for those who have no access to a kernel
	$(BIN)/python -m tests.make_recordings

clean: ## remove everything that these commands made in this folder
	rm -rf build dist $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

python:
	@command -v $(PYTHON) >/dev/null || { echo "ebpflab needs Python 3.10 or newer: no $(PYTHON) on PATH"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; \
	sys.exit(sys.version_info < (3, 10) and "ebpflab needs Python 3.10 or newer, and $(PYTHON) is " + v)'

# Runs each time, because packages and mounts come and go without this folder; it takes a fraction of a second.
system: python
	@$(PYTHON) -m ebpflab setup --mount $(SETUP)

# Recordings are replayed without clang and libbpf, where these cannot be installed.
demo lab: SETUP := --may-lack

# A virtual environment holds absolute paths: one that was made for another folder is made anew.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

$(STAMP): pyproject.toml | system
	@test "$$(cat $@ 2>/dev/null)" = "$(CURDIR)" || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[dev]'
	@echo "$(CURDIR)" > $@
