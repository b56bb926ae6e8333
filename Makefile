# Carepost's commands.  Each installs what it needs first (bootstrap.sh says what and why) and is instant
# about that when nothing is missing; after the first run nothing here needs the network.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo test test-repeat mutants check bench simulate soak chaos cross

# rustup's folder is not on the PATH of every shell that runs make.
export PATH := $(PATH):$(HOME)/.cargo/bin
# Most of what a story does is wait: two for each core keep it busy.
export RUST_TEST_THREADS ?= $(shell echo $$((2 * $$(nproc))))
target := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Start a server and four kiosks on loopback; CHECK=1 runs the whole story instead, without a person
	./bootstrap.sh build reader
	cargo build --release --workspace --locked
	$(target)/release/carepost-demo

test: ## Build everything and run every test (debug)
	./bootstrap.sh build reader browser clock
	cargo build --workspace --all-targets --locked
	cargo test --workspace --doc --locked
	cargo test --workspace --lib --bins --tests --locked

test-repeat: ## Run the integration tests TIMES=10 times in a row; with BUSY=1 while every core is kept busy
	./bootstrap.sh build reader browser clock
	cargo build --workspace --all-targets --locked
	tests/repeat.sh $(if $(TIMES),$(TIMES),10) $(BUSY)

mutants: ## Change the pure crates in small ways, for an hour or two: their own tests catch 19 of 20; FILE=role.rs changes one file
	./bootstrap.sh build
	tests/mutants.sh $(target) --jobs $(if $(JOBS),$(JOBS),2) $(if $(FILE),--file '$(FILE)')

check: ## Formatting, lints, documentation, the house rules (tests/it/tidy) and, where cargo-deny is here, dependencies
	./bootstrap.sh build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	cargo test --workspace --test it --locked tidy::
	@if command -v cargo-deny >/dev/null; then \
		cargo deny --offline --locked check bans licenses sources; \
	else \
		echo "check: cargo-deny is not installed, so deny.toml's licences and sources were not checked (its bans are: tidy)"; \
	fi

bench: ## Measure (release) and print the figures; also written to target/bench.json
	./bootstrap.sh build reader
	cargo build --release --workspace --locked
	$(target)/release/carepost-bench

simulate: ## Tell many stories of failing networks, devices and clocks (SEEDS=1000 of them), or one of them again (SEED=17)
	./bootstrap.sh build reader
	cargo build --release --workspace --locked
	$(target)/release/carepost-simulate $(if $(SEED),--seed $(SEED),--seeds $(if $(SEEDS),$(SEEDS),1000))

soak: ## A device with a million entries after a week offline sends them all (release); CARE=200000, and AUDIT=4 with each
	./bootstrap.sh build
	cargo build --release --workspace --locked
	$(target)/release/carepost-soak $(if $(CARE),--care $(CARE)) $(if $(AUDIT),--audit-each $(AUDIT))

chaos: ## Ten agents and a server under loss, cuts, delays and kills for MINUTES=10; with privileges in network namespaces
	./bootstrap.sh build chaos
	cargo build --release --workspace --locked
	$(target)/release/carepost-chaos --minutes $(if $(MINUTES),$(MINUTES),10)

cross: ## Build the agent for a 64-bit Raspberry Pi and run its doctor under emulation
	cross/build.sh aarch64
	cross/doctor.sh aarch64
