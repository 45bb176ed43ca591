# What is done often; `make` alone lists it. Works with make 3.81, which macOS has.
#
# LOCKED=--locked makes cargo fail where Cargo.lock would change. CI sets it.

# TARGETS="--bins --tests" builds the programs with the tests' dependencies too. Cargo then settles on other features for
# some crates, so a run that builds both wants this from the start; CI sets it.

LOCKED ?=
TARGETS ?= --bins
FUZZ := conf/table/fuzz proxy/wire/fuzz
COMPARE_PYTHON := PYTHONPATH=loadtest .tools/compare/bin/python

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Start daemon and proxy, make cells, register tenants, kill the daemon; ONCE=1 ends by itself
	@bash loadtest/demo.sh

.PHONY: tools
tools: ## Install what the build needs (a C compiler, cmake), or say what to type
	@bash loadtest/setup-tools.sh build

.PHONY: build
build: tools ## Build all programs, for development
	cargo build $(LOCKED) --workspace $(TARGETS)

.PHONY: release
release: tools ## Build all programs, for production; slow
	cargo build $(LOCKED) --workspace --exclude cellgate-benches --bins --release

# The end-to-end tests start the programs that stand in the target folder, and some read what lies in the sources of a
# dependency; cargo tells where only if it has them all. Doc tests come first, so that the last lines
# are the summary of all other tests.
.PHONY: test
test: ## Run every test; installs what they use if it can
	@bash loadtest/setup-tools.sh build tests
	@$(MAKE) --no-print-directory fuzz-build
	cargo fetch $(LOCKED) --quiet
	cargo build $(LOCKED) --workspace --bins --tests
	cargo test $(LOCKED) --workspace --doc
	@if cargo nextest --version >/dev/null 2>&1; then \
	  set -x; cargo nextest run $(LOCKED) --workspace --lib --bins --tests \
	    --test-threads $$((2 * $$(getconf _NPROCESSORS_ONLN))); \
	else \
	  set -x; cargo test $(LOCKED) --workspace --lib --bins --tests; \
	fi

# The fuzz targets have workspaces of their own, as cargo-fuzz wants it, and only have to go on building here.
.PHONY: fuzz-build
fuzz-build:
	@if command -v c++ >/dev/null; then \
	  set -ex; for fuzz in $(FUZZ); do \
	    cargo build $(LOCKED) --manifest-path $$fuzz/Cargo.toml --target-dir target/fuzz; \
	  done; \
	else \
	  echo "SKIPPED: the fuzz targets, which need a C++ compiler"; \
	fi

# ARGS="--rounds 3 --only small,64k" makes it shorter; docs/performance.md explains all options. Examples come with the
# dependencies of tests, and so with other features: together with one the proxy would not be what `make release` builds.
.PHONY: compare
compare: tools ## Compare with nginx, HAProxy, Envoy and Caddy; 25 minutes, on a machine that does nothing else
	@bash loadtest/setup-tools.sh compare
	cargo build $(LOCKED) --release -p cellgate-proxy --bins
	cargo build $(LOCKED) --release -p cellgate-proxy --example bare-pingora
	@$(COMPARE_PYTHON) -B -m compare $(ARGS)

# Of the comparison only what can be tested without measuring.
.PHONY: test-compare
test-compare:
	@if python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	  cd loadtest && python3 -B -m unittest discover -q -s compare/tests -t .; \
	else \
	  echo "SKIPPED: the tests of the comparison, which need Python 3.11"; \
	fi

.PHONY: lint
lint: tools ## Look for mistakes: clippy, the borders between the rooms, circles among files
	cargo clippy $(LOCKED) --workspace --all-targets -- -D warnings
	@bash .ci/borders
	@$(MAKE) --no-print-directory test-compare

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all

# With the example comes what tests depend on, and so the features that `make lint` has checked the dependencies with:
# without it many are checked once more. A program with its library's name has no documentation of its own.
.PHONY: doc
doc: tools ## Build the documentation of the code
	RUSTDOCFLAGS="-D warnings" cargo doc $(LOCKED) --workspace --no-deps --lib --examples \
	  --bin cellctl --bin count-instructions --bin demo-cell

.PHONY: deny
deny: ## Check licences, sources and bans of the dependencies; installs cargo-deny into .tools
	@bash .ci/deny

.PHONY: bench
bench: tools ## Run the benchmarks
	cargo bench $(LOCKED) -p cellgate-benches

# ARGS=--write makes new budgets of what is counted; docs/performance.md says when.
.PHONY: instructions
instructions: ## Count instructions of a request's way; fails above their budgets
	@bash loadtest/setup-tools.sh build tests
	@if command -v valgrind >/dev/null; then \
	  set -x; \
	  cargo run $(LOCKED) --profile instructions -p cellgate-benches --bin count-instructions -- $(ARGS); \
	else \
	  echo "SKIPPED: instructions are not counted, because valgrind is missing"; \
	fi

.PHONY: schemas
schemas: build ## Write the JSON schemas of proxy.yaml, table.yaml and control.yaml
	@bash .ci/schemas write

.PHONY: clean
clean: ## Remove what was built, but not .tools
	cargo clean
