# The two commands: `make demo` shows hyphae at work on this machine, `make test` runs all tests. Both first install
# what is missing, may be run again and again, and leave nothing behind.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
export PATH := $(HOME)/.cargo/bin:$(PATH):/usr/sbin:/sbin

.PHONY: demo test lint build setup sweep bench

demo: setup
	cargo build --workspace --locked
	tools/demo

test: setup
	tools/test

# fmt, clippy and rustdoc: all warnings are errors.
lint: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

build: setup
	cargo build --workspace --all-targets --locked

# From `hyphae apply` to running replicas, beside `ctr run` on the same containerd.
bench: setup
	cargo build --workspace --all-targets --locked
	$(or $(CARGO_TARGET_DIR),target)/debug/examples/apply_bench

setup:
	@tools/setup

# What killed runs left behind.
sweep:
	cargo build --workspace --locked --quiet
	$(or $(CARGO_TARGET_DIR),target)/debug/hyphae-sweep
