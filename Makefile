# What people and CI run. Every target installs what it needs on Debian.
.DEFAULT_GOAL := help

ARCH := $(shell uname -m)
TRIPLE := $(ARCH)-unknown-linux-gnu
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# glibc is linked in: one file that runs on any Linux of this architecture.
# Naming the target keeps the flag away from build scripts and proc macros.
release: ## build target/kiln, one static binary
	@scripts/need cc=gcc
	RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked --target $(TRIPLE)
	@mkdir -p target
	cp $(TARGET_DIR)/$(TRIPLE)/release/kiln target/kiln

demo: release ## build, push, sign and inspect the examples, and run them
	scripts/demo

test: ## all tests; ends with their summary
	scripts/test-deps
	cargo nextest run --workspace --locked

check: ## format, lints, layering, licences, documentation
	scripts/check

bench: release ## kiln and other builders side by side; writes docs/performance.md
	@scripts/need python3=python3
	bench/run --repeat 3 --report docs/performance.md

stress: release ## kill builds at 50 random moments and look at what is left
	@scripts/need python3=python3
	scripts/kill-test

.PHONY: help release demo test check bench stress
