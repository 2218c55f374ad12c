# The front door. `make` alone lists the targets; CI runs `make test` and nothing else.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# A shell that skips the profile still finds what rustup installed.
# What `make tools` fetched comes last.
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
export PATH := $(PATH):$(HOME)/.cargo/bin:$(abspath $(TARGET_DIR))/tools/usr/bin
# Seconds that `make soak` gives to each fuzz target.
FUZZ_SECONDS ?= 60
# A machine to try with `make run`; the quotes are for echo.
DOOR := {\"states\":[\"shut\",\"open\"],\"initial\":\"shut\",\"transitions\":[{\"from\":\"shut\",\"event\":\"OPEN\",\"to\":\"open\"},{\"from\":\"open\",\"event\":\"SHUT\",\"to\":\"shut\"}]}

.PHONY: help run cluster demo test check fix generate bench bench-compare soak soak-cluster examples conform chaos interop diagrams wheels npm-pack portable clib try-install programs install crates publish-crates \
	doc clean toolchain tools languages test-core test-languages check-languages

# What `cargo add rstmdb` and `cargo install rstmdb-cli` need.
CRATES := rstmdb-types rstmdb-threads rstmdb-machine rstmdb-engine rstmdb-cluster rstmdb-protocol rstmdb-client rstmdb rstmdb-server rstmdb-cli
# A folder for each language, each with a Makefile of its own. C first: Go is built on it.
LANGUAGES := bindings/c bindings/go python node
# The crates whose tests run on every system; the rest of the tests need Linux.
CORE := $(filter-out rstmdb-server rstmdb-cli,$(CRATES))

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-22s%s\n", $$1, $$2 }'

run: toolchain ## build the server and rstmdb-cli, and serve ./data on 127.0.0.1:7401
	@cargo build --release --locked --package rstmdb-server --package rstmdb-cli
	@echo
	@echo "In another terminal:"
	@echo "  $(TARGET_DIR)/release/rstmdb-cli put-machine -n door -v 1 '$(DOOR)'"
	@echo "  $(TARGET_DIR)/release/rstmdb-cli create-instance -m door -i front --idempotency-key front"
	@echo "  $(TARGET_DIR)/release/rstmdb-cli apply-event -i front -e OPEN --idempotency-key first"
	@echo "rstmdb-cli alone is a shell, rstmdb-cli tail shows what happens, make demo is a tour."
	@echo "Ctrl-C stops the server; the data stays in ./data."
	@echo
	@"$(TARGET_DIR)/release/rstmdb" --data ./data

cluster: toolchain ## build the server and rstmdb-cli, and serve ./cluster-data by three nodes on this machine
	@cargo build --release --locked --package rstmdb-server --package rstmdb-cli
	@PROGRAMS="$(TARGET_DIR)/release" packaging/cluster.sh

demo: toolchain ## build rstmdb-cli and run its demo on ./demo-data
	@cargo build --release --locked --package rstmdb-cli
	@"$(TARGET_DIR)/release/rstmdb-cli" demo

test: toolchain tools check doc ## check, build the documentation, then every test and example in every language
	@cargo xtask test --workspace
	@cargo xtask test --package rstmdb-engine --features guard-check --test guards
	@cargo xtask test --package rstmdb-engine --features shuttle --lib shuttle_
	@cargo xtask test --package rstmdb-cluster --features simulation --test simulated --test mutants
	@$(MAKE) --no-print-directory test-languages
	@$(MAKE) --no-print-directory examples
	@$(MAKE) --no-print-directory conform

test-core: toolchain ## the tests of the core's crates alone, as on macOS and Windows
	@cargo xtask test $(CORE:%=--package %)

check: toolchain ## format, lints, types, import direction, tidiness, licences, generated files; writes nothing
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@cargo xtask check
	@$(MAKE) --no-print-directory check-languages

test-languages: languages
	@for folder in $(LANGUAGES); do \
	    if [ -f "$(TARGET_DIR)/without/$$folder" ]; then continue; fi; \
	    echo "== $$folder: test"; $(MAKE) --no-print-directory -C "$$folder" test; \
	done

check-languages: languages
	@for folder in $(LANGUAGES); do \
	    if [ -f "$(TARGET_DIR)/without/$$folder" ]; then continue; fi; \
	    echo "== $$folder: check"; $(MAKE) --no-print-directory -C "$$folder" check; \
	done

fix: toolchain ## the writing twin of check: format, apply lints, generate
	cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged --locked
	@cargo xtask generate
	cargo fmt --all

generate: toolchain ## write the generated files
	@cargo xtask generate

bench: toolchain ## run the benchmarks
	@$(MAKE) --no-print-directory -C packaging etcd
	cargo bench --package rstmdb-benches --locked

# The newest revision that is a day old.
bench-compare: REV ?= $(shell git rev-list -1 --before='1 day ago' HEAD)
bench-compare: toolchain ## the benchmarks of another revision (of a day ago) and of this tree in turns: REV=HEAD~1 ARGS="--turns 5 durable"
	@cargo xtask bench-compare $(REV) $(ARGS)

soak: toolchain languages ## the random tests with many more seeds, a minute of each fuzz target, a Next.js application
	@RSTMDB_SOAK=1 cargo xtask test --release --workspace
	@if [ -f fuzz/Cargo.toml ]; then \
	    cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked; \
	    export RUSTC_BOOTSTRAP=1; \
	    targets=$$(cargo fuzz list); \
	    for target in $$targets; do \
	        echo "soak: fuzz target $$target for $(FUZZ_SECONDS) s"; \
	        cargo fuzz run "$$target" -- -max_total_time=$(FUZZ_SECONDS); \
	    done; \
	    echo "soak: no fuzz target failed: $$(echo $$targets)"; \
	fi
	@if [ ! -f "$(TARGET_DIR)/without/node" ]; then $(MAKE) --no-print-directory -C node next; fi

# As many seeds of a group, and faults of servers, as are asked for, or as the minutes allow, which each of the two has.
SEEDS ?= 100000
FAULTS ?= 1000
MINUTES ?= 60
# Each has about a thousand crash points.
CRASH_SEEDS ?= 1000
# The revision whose servers are replaced by those of this tree.
OLD ?= HEAD^
soak-cluster: toolchain languages ## groups under simulation by many more seeds, crash points of their logs, chaos, a rolling upgrade: SEEDS=100000 FAULTS=1000 MINUTES=60 OLD=HEAD^
	@RSTMDB_SEEDS=$(SEEDS) RSTMDB_MINUTES=$(MINUTES) cargo xtask test --release --package rstmdb-cluster --features simulation --test simulated keeps_its_word -- --nocapture
	@RSTMDB_SEEDS=$(CRASH_SEEDS) RSTMDB_MINUTES=$(MINUTES) cargo xtask test --release --package rstmdb-engine --test behaviour a_replicated_log_is_whole -- --nocapture
	@cargo xtask chaos --faults $(FAULTS) --minutes $(MINUTES)
	@other="$(abspath $(TARGET_DIR))/rolling"; mkdir -p "$$other"; \
	if [ ! -e "$$other/source/.git" ]; then git clone --quiet --shared --no-checkout . "$$other/source"; fi; \
	git -C "$$other/source" checkout --quiet --detach "$$(git rev-parse --verify '$(OLD)^{commit}')"; \
	(cd "$$other/source" && CARGO_TARGET_DIR="$$other/target" cargo build --locked --package rstmdb-server); \
	RSTMDB_OLD_SERVER="$$other/target/debug/rstmdb" cargo xtask test --package rstmdb-server --test cluster rolling -- --nocapture

examples: toolchain languages ## every example and quick start, twice, all on one server
	@cargo build --quiet --locked --package rstmdb-server --package rstmdb-cli
	@cargo build --quiet --locked --package rstmdb --examples
	@made="rust cli"; python=python3; \
	has() { [ ! -f "$(TARGET_DIR)/without/$$1" ]; }; \
	if has bindings/c; then $(MAKE) --no-print-directory -C bindings/c examples; made+=" c"; fi; \
	if has bindings/go; then $(MAKE) --no-print-directory -C bindings/go examples; made+=" go"; fi; \
	if has python; then \
	    $(MAKE) --no-print-directory -C python build-debug; made+=" python"; \
	    if [ -x "$(TARGET_DIR)/python/venv/bin/python" ]; then python="$(abspath $(TARGET_DIR))/python/venv/bin/python"; fi; \
	fi; \
	if has node; then $(MAKE) --no-print-directory -C node build examples; made+=" node"; fi; \
	examples/twice.sh "$(CURDIR)" "$(abspath $(TARGET_DIR))" "$$python" $$made

conform: toolchain languages ## the conformance scenarios and seeded programs: languages by targets
	@cargo xtask conform $(ARGS)

chaos: toolchain languages ## groups of servers on a network of namespaces, under faults: ARGS="--faults 30 --seed 7"
	@cargo xtask chaos $(ARGS)

interop: toolchain ## the vectors, the client and import-peer against the published server 0.3.0
	@peer="$(abspath $(TARGET_DIR))/peers/bin/rstmdb"; \
	if [ ! -x "$$peer" ]; then \
	    cargo install rstmdb --version 0.3.0 --locked --root "$(abspath $(TARGET_DIR))/peers"; \
	fi; \
	RSTMDB_PEER="$$peer" cargo xtask test --package rstmdb-tests --package rstmdb-cli interop -- --ignored

diagrams: toolchain ## what Mermaid and Graphviz read from diagrams with hard names
	@cargo build --locked --package rstmdb-cli
	@mkdir -p "$(TARGET_DIR)/diagrams"
	@cp tests/diagrams/{package.json,package-lock.json,.npmrc,check.mjs} "$(TARGET_DIR)/diagrams"
	@npm ci --silent --prefix "$(TARGET_DIR)/diagrams"
	@node "$(TARGET_DIR)/diagrams/check.mjs" "$(abspath $(TARGET_DIR))/debug/rstmdb-cli" tests/diagrams/names.json

# GLIBC=2.28 also fails when something in wheels, npm-pack or clib needs a newer one.
wheels: toolchain languages ## build the Python wheel and sdist, and try them in an empty environment
	@$(MAKE) --no-print-directory -C python package

npm-pack: toolchain languages ## build the npm packages, and try them in an empty folder
	@$(MAKE) --no-print-directory -C node package

clib: toolchain languages ## build librstmdb with header and pkg-config file, and try it in an empty prefix
	@$(MAKE) --no-print-directory -C bindings/c package

portable: toolchain languages ## wheels and addons for any Linux with glibc 2.28 or musl, on x86-64 and arm64, built by zig
	@$(MAKE) --no-print-directory -C packaging portable

try-install: wheels npm-pack clib ## make all packages, and run the install commands of the guide with them
	@cargo build --release --locked --package rstmdb-server --package rstmdb-cli --package rstmdb-c
	@$(MAKE) --no-print-directory -C packaging documented

programs: toolchain ## build the server and rstmdb-cli, and pack them with manual pages and completions
	@cargo build --release --locked --package rstmdb-server --package rstmdb-cli
	@$(MAKE) --no-print-directory -C packaging programs

install: toolchain ## build the server and rstmdb-cli, and install them with manual pages and completions; PREFIX=/usr/local
	@cargo build --release --locked --package rstmdb-server --package rstmdb-cli
	@$(MAKE) --no-print-directory -C packaging install

crates: toolchain ## package the Rust crates as they are published
	cargo package --locked --no-verify $(CRATES:%=--package %)

publish-crates: toolchain ## publish the Rust crates; needs a token of crates.io
	cargo publish --locked --no-verify $(CRATES:%=--package %)

doc: toolchain ## build the documentation of the crates; warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	@echo "$(TARGET_DIR)/doc/rstmdb/index.html"

clean: ## remove what was built, and the demo's data
	cargo clean
	rm -rf demo-data

# What the languages need beside Rust. Outside CI a language whose tools are missing is left out, and said so.
languages:
	@rm -rf "$(TARGET_DIR)/without"; \
	without() { \
	    echo "make: $$2" >&2; \
	    if [ "$${CI:-}" = true ]; then exit 1; fi; \
	    echo "make: $$1 is left out" >&2; \
	    mkdir -p "$$(dirname "$(TARGET_DIR)/without/$$1")"; touch "$(TARGET_DIR)/without/$$1"; \
	}; \
	if ! command -v cc >/dev/null 2>&1 || ! command -v c++ >/dev/null 2>&1; then \
	    without bindings/c "cc or c++ is missing; install gcc and g++, or clang (Debian: apt-get install build-essential)"; \
	    without bindings/go "Go needs a C compiler for cgo"; \
	fi; \
	if ! command -v go >/dev/null 2>&1; then \
	    without bindings/go "go is missing; install Go 1.24 or newer from https://go.dev/dl"; \
	fi; \
	if ! python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then \
	    without python "Python 3.10 or newer with venv is missing; install it from https://www.python.org (Debian: apt-get install python3-venv)"; \
	fi; \
	if ! node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then \
	    without node "Node.js 18 or newer with npm is missing; install it from https://nodejs.org"; \
	fi

# Programs beside the languages. A test whose program can't be had says so, and fails in CI.
tools: ## fetch what tests need beside the languages
	@$(MAKE) --no-print-directory -C packaging tools

# Rust itself is the one thing that is not installed without being asked for; rust-toolchain.toml
# pins the version, and rustup fetches that version on first use.
toolchain:
	@if ! command -v cargo >/dev/null 2>&1; then \
	    echo "make: cargo is missing; install Rust from https://rustup.rs and try again" >&2; \
	    exit 1; \
	fi
	@if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then \
	    if command -v rustup >/dev/null 2>&1; then \
	        rustup component add rustfmt clippy; \
	    else \
	        echo "make: cargo fmt or cargo clippy is missing; install Rust from https://rustup.rs" >&2; \
	        exit 1; \
	    fi; \
	fi
