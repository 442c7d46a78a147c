# The commands of the README, each in a virtual environment of its own:
#
#     make demo     a short tour: a server and its clients in separate processes; MONITOR=1 leaves one to look at
#     make test     lint, types, the suite and its coverage; ends with `N passed, M failed`
#     make docs     the documentation site, in site/
#     make conformance   the Autobahn cases against both roles
#     make soak     an hour of stress, then what is left of it; MINUTES=... for another time
#     make fuzz     ten minutes for each fuzz target, guided by coverage where atheris installs; SECONDS=... for less
#     make sanitize  the C extension under AddressSanitizer and UndefinedBehaviorSanitizer (needs gcc)
#     make bench    the benchmarks, side by side with peers, in half an hour; ROWS="roundtrip codec" for some, QUICK=1
#     make bench-check   the same, and what has got worse since the last committed run
#     make clean    removes what these made
#
# PYTHON=... chooses the interpreter, COVERAGE_MIN=... the gate.

PYTHON ?= python3
COVERAGE_MIN ?= 90

# Every environment is made anew when the interpreter, or what has to be installed, has changed.
VERSION := $(shell "$(PYTHON)" -c 'import platform; print(platform.python_version())')
DEMO := .venv-demo
TEST := .venv-test
SOURCES := $(wildcard ezez_ws/*.py ezez_ws/*/*.py)
METADATA := setup.cfg setup.py pyproject.toml $(wildcard ezez_ws/messages/c/*)

# setuptools installs packages without a setup.py in editable mode by way of this pip or a later one.
PIP := pip>=21.3

export PIP_DISABLE_PIP_VERSION_CHECK = 1

MINUTES ?= 60
MONITOR ?=

.PHONY: help demo test node docs conformance soak fuzz sanitize installed bench bench-check clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -n 14

demo: $(DEMO)/installed-$(VERSION)
	@$(DEMO)/bin/python samples/demo.py $(if $(MONITOR),--monitor)

$(DEMO)/installed-$(VERSION): $(METADATA) $(SOURCES)
	@echo "making $(DEMO) (Python $(VERSION))"
	@rm -rf build
	@"$(PYTHON)" -m venv --clear $(DEMO)
	@$(DEMO)/bin/python -m pip install -qq '$(PIP)'
	@$(DEMO)/bin/python -m pip install -qq .
	@touch $@

$(TEST)/installed-$(VERSION): $(METADATA)
	@echo "making $(TEST) (Python $(VERSION))"
	@"$(PYTHON)" -m venv --clear $(TEST)
	@$(TEST)/bin/python -m pip install -qq '$(PIP)'
	@$(TEST)/bin/python -m pip install -qq -e '.[test]'
	@touch $@

# Without npm the tests against Node skip themselves, and say so.
node: $(if $(shell command -v npm),tests/node_modules/installed)

tests/node_modules/installed: tests/package.json
	@echo "installing Node packages for the tests and the benchmarks"
	@npm install --prefix tests --no-package-lock --no-audit --no-fund --loglevel=error && touch $@ || echo "npm install has failed"

test: $(TEST)/installed-$(VERSION) node
	@"$(TEST)/bin/python" -m tests.everything --coverage-min $(COVERAGE_MIN)

DOCS := .venv-docs

$(DOCS)/installed-$(VERSION): $(METADATA)
	@echo "making $(DOCS) (Python $(VERSION))"
	@"$(PYTHON)" -m venv --clear $(DOCS)
	@$(DOCS)/bin/python -m pip install -qq '$(PIP)'
	@$(DOCS)/bin/python -m pip install -qq -e '.[docs]'
	@touch $@

# Without the notice that MkDocs 2 will be another program: setup.cfg asks for the first. With --quiet, --strict would
# not count warnings, so all that is said is kept, and shown where it fails.
docs: $(DOCS)/installed-$(VERSION)
	@rm -rf site
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict >$(DOCS)/log 2>&1 || { cat $(DOCS)/log; exit 1; }
	@$(DOCS)/bin/python -m tests tests.site.built

conformance: $(TEST)/installed-$(VERSION)
	@"$(TEST)/bin/python" -m pip install -qq -e '.[conformance]'
	@"$(TEST)/bin/python" tests/conformance/run.py

soak: $(TEST)/installed-$(VERSION)
	@"$(TEST)/bin/python" -m tests.stress.soak --minutes $(MINUTES)

# Its own environment: where atheris has no wheel, its installation may fail, and fuzzing goes without coverage.
FUZZ := .venv-fuzz
SECONDS ?= 600

$(FUZZ)/installed-$(VERSION): $(METADATA)
	@echo "making $(FUZZ) (Python $(VERSION))"
	@"$(PYTHON)" -m venv --clear $(FUZZ)
	@$(FUZZ)/bin/python -m pip install -qq '$(PIP)'
	@$(FUZZ)/bin/python -m pip install -qq -e .
	@$(FUZZ)/bin/python -m pip install -qq --only-binary atheris -e '.[fuzz]' || echo "atheris does not install: fuzzing goes without coverage"
	@touch $@

fuzz: $(FUZZ)/installed-$(VERSION)
	@"$(FUZZ)/bin/python" -m tests.fuzz --all --seconds $(SECONDS)

# The C extension with AddressSanitizer and UndefinedBehaviorSanitizer, and the suites that call all of it. It is built
# in a copy, beside which the other environments keep theirs. The interpreter has no sanitizer, so libasan is loaded
# before it; PYTHONMALLOC has each object allocated by itself, so that a read past one is noticed. Python itself does
# not free all it has at its end, which would be told as leaks.
SANITIZE := .venv-sanitize
SANITIZED := tests.messages tests.fuzz.test_corpus \
	tests.websocket.test_deflate tests.websocket.test_frames tests.websocket.test_masking
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer

$(SANITIZE)/installed-$(VERSION): $(METADATA)
	@echo "making $(SANITIZE) (Python $(VERSION))"
	@"$(PYTHON)" -m venv --clear $(SANITIZE)
	@$(SANITIZE)/bin/python -m pip install -qq '$(PIP)'
	@$(SANITIZE)/bin/python -m pip install -qq -e . 'hypothesis >= 6.100' 'setuptools >= 64'
	@touch $@

sanitize: $(SANITIZE)/installed-$(VERSION)
	@rm -rf $(SANITIZE)/copy && mkdir $(SANITIZE)/copy
	@cp -R ezez_ws samples tests README.md pyproject.toml setup.cfg setup.py $(SANITIZE)/copy
	@rm -f $(SANITIZE)/copy/ezez_ws/messages/_speedups*
	@cd $(SANITIZE)/copy && CC=gcc CFLAGS="-O1 -g -Wall -Wextra -Werror $(SANITIZERS)" LDFLAGS="$(SANITIZERS)" \
		../bin/python setup.py --quiet build_ext --inplace --force && ls ezez_ws/messages/_speedups*.so >/dev/null
	@cd $(SANITIZE)/copy && LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" PYTHONMALLOC=malloc \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 EZEZ_REQUIRE_SPEEDUPS=1 \
		../bin/python -m tests $(SANITIZED)

# For who runs `make docs` and `make sanitize` while something else uses the repository: this is what changes it.
installed: $(DOCS)/installed-$(VERSION) $(SANITIZE)/installed-$(VERSION)

BENCH := .venv-bench
RESULTS := benchmarks/results/results.json
ROWS ?=
QUICK ?=
BENCHMARKS = "$(BENCH)/bin/python" -m benchmarks $(ROWS) $(if $(QUICK),--quick)

$(BENCH)/installed-$(VERSION): $(METADATA)
	@echo "making $(BENCH) (Python $(VERSION))"
	@"$(PYTHON)" -m venv --clear $(BENCH)
	@$(BENCH)/bin/python -m pip install -qq '$(PIP)'
	@$(BENCH)/bin/python -m pip install -qq -e '.[bench]'
	@touch $@

# Only a whole run replaces the results that are kept.
bench: $(BENCH)/installed-$(VERSION) node
	@$(BENCHMARKS) $(if $(ROWS)$(QUICK),,--json $(RESULTS))

bench-check: $(BENCH)/installed-$(VERSION) node
	@git show HEAD:$(RESULTS) > $(BENCH)/committed.json
	@$(BENCHMARKS) --json $(BENCH)/run.json
	@"$(BENCH)/bin/python" -m benchmarks.check $(BENCH)/committed.json $(BENCH)/run.json

clean:
	rm -rf .venv-* tests/node_modules build dist site *.egg-info .coverage .coverage.* .hypothesis .mypy_cache .ruff_cache
	rm -f ezez_ws/messages/_speedups*.so
	find ezez_ws tests samples benchmarks -name __pycache__ -prune -exec rm -rf {} +
