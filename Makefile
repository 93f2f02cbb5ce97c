# Everything a machine needs beyond Python 3.11+ and make is installed from here.

PYTHON ?= python3
BIND   ?= 127.0.0.1:8080
FOLDER ?= uploads
SECONDS ?= 60
JOBS   ?= 4
VENV   := .venv
BIN    := $(VENV)/bin

# Most of the tests wait most of the time, so several processes share them.
SHARED := --numprocesses $(JOBS) --dist worksteal

# What the tests start beside Python: command:package, for Debian and Ubuntu.
TEST_TOOLS := curl:curl htpasswd:apache2-utils nginx:nginx-light logrotate:logrotate openssl:openssl promtool:prometheus strace:strace \
  systemd-analyze:systemd tinyproxy:tinyproxy krb5kdc:krb5-kdc kadmin.local:krb5-admin-server kinit:krb5-user \
  chromium:chromium
# What the extra negotiate is compiled with.
TEST_TOOLS += gcc:gcc krb5-config:libkrb5-dev python3-config:python3-dev

.PHONY: help install run test soak fuzz bench lint types clean test-tools

help: ## say what there is (this)
	@echo "Targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 22
	@echo "For instance: make run BIND=0.0.0.0:8080 FOLDER=/srv/uploads"

install: $(VENV)/.installed ## make .venv with the package and its command, editable

run: $(VENV)/.installed ## serve ./uploads and print commands to paste
	@mkdir -p $(FOLDER)
	$(BIN)/bits-server serve $(FOLDER) --bind $(BIND)

test: $(VENV)/.tested lint types ## install what the tests need and run them all
	$(BIN)/pytest $(SHARED)

soak: $(VENV)/.tested ## run the long figures: many kills, sequences and gigabytes
	$(BIN)/pytest $(SHARED) -m "soak or not soak" --soak tests

fuzz: $(VENV)/.tested ## look for inputs that break something, for SECONDS=60
	@$(BIN)/pip install --quiet 'atheris>=3' || echo "atheris has no wheel for this Python: by chance alone"
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

bench: $(VENV)/.tested ## measure speed beside nginx; some minutes on a quiet machine
	$(BIN)/python -m tests.benchmarks --output tests/benchmarks/RESULTS.md

lint: $(VENV)/.tested ## check style and formatting with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.tested ## check types with mypy, strict
	$(BIN)/mypy

clean: ## remove .venv and what tools left; uploads stay
	rm -rf $(VENV) build packaging/*/build ./*.egg-info packaging/*/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find bits_server tests config -name __pycache__ -type d -prune -exec rm -rf {} +

# A Debian without python3-venv makes an environment without pip: install it, or say so.
$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  tests/support/apt_install.sh python3-venv || \
	  { echo "Install python3-venv first: sudo apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml bits_server/version.py | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/.tested: $(VENV)/.installed | test-tools
	$(BIN)/pip install --quiet --editable '.[test]'
	@$(BIN)/pip install --quiet --editable '.[negotiate,client-negotiate]' || \
	  echo "gssapi could not be built: the tests of Kerberos skip (or fail where CI is set)"
	@touch $@

# Installed where that is allowed; where it is not, the tests that need a tool say so.
test-tools:
	@for tool in $(TEST_TOOLS); do \
	  PATH=$$PATH:/usr/sbin:/sbin command -v $${tool%%:*} >/dev/null || tests/support/apt_install.sh $${tool##*:} || \
	  echo "$${tool%%:*} is missing: the tests that need it skip (or fail where CI is set)"; \
	done
