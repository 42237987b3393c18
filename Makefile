# Ruche: the daily commands. Everything else is in `cargo xtask help`.

CARGO ?= cargo
PREFIX ?= /usr/local
MINUTES ?= 30
FUZZ_MINUTES ?= 10

.DEFAULT_GOAL := help
.PHONY: help run test check bench soak fuzz audit screenshots install clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

run: ## Build everything and start it on this machine, with nothing to set up
	@scripts/run

test: ## The whole test suite, as CI runs it
	@scripts/setup test
	@$(CARGO) xtask check

check: ## Only the fast checks: format, tidy, lints
	@scripts/setup build
	@$(CARGO) xtask check --quick

bench: ## Measure the figures of docs/performance.md beside their goals; BENCH="--only single --quick" for a part
	@scripts/setup build
	@$(CARGO) xtask bench $(BENCH)

soak: ## Repeat the whole-system tests for MINUTES (30) to find what fails seldom
	@scripts/setup test
	@$(CARGO) xtask soak --minutes $(MINUTES)

fuzz: ## Search for bytes that break a decoder, FUZZ_MINUTES (10) in each of them
	@scripts/setup fuzz
	@$(CARGO) xtask fuzz --minutes $(FUZZ_MINUTES)

audit: ## Licences, banned crates and sources of all dependencies
	@scripts/setup build
	@$(CARGO) xtask audit

screenshots: ## Make the pictures of the README anew, on an invisible display
	@scripts/setup test
	@$(CARGO) xtask screenshots

install: ## Install binaries, manual pages and services under PREFIX (/usr/local); needs root for the last step
	@scripts/setup build
	@$(CARGO) build --locked --release -p master -p slave -p client-cli
	@PREFIX=$(PREFIX) packaging/install.sh

clean: ## Remove what was built
	@$(CARGO) clean
