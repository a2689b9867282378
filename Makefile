# The front door: every target installs what is missing (see scripts/packages.txt), then does what its line says.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

N ?= 20
BROKER ?=
REPLICAS ?=
CASE ?=
LABELS ?=
FUZZ_TIME_S ?= 60
export LC_ALL ?= C.UTF-8

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
	  while IFS='|' read -r target text; do printf '  make %-12s%s\n' "$$target" "$$text"; done

.PHONY: build
build: deps-build ## builds the executable: build/release/millrace
	@[ -e build/release/build.ninja ] || cmake --preset release -DMILLRACE_TESTS=OFF
	@cmake --build --preset release --target millrace

.PHONY: demo
demo: build deps-demo ## shows it at work: N=20 files, BROKER=URL or nats (embedded without), REPLICAS=3 workers
	@N='$(N)' BROKER='$(BROKER)' REPLICAS='$(REPLICAS)' scripts/demo.sh

.PHONY: test
test: deps-test ## all tests: LABELS="unit contract ..." and TESTS=REGEX narrow them
	@scripts/run_tests release $(LABELS)

.PHONY: test-asan
test-asan: deps-test ## unit, simulation and fuzz-corpus tests under ASan and UBSan (LABELS=... for others)
	@scripts/run_tests asan $(or $(LABELS),unit sim fuzz)

.PHONY: test-tsan
test-tsan: deps-test ## unit and simulation tests under TSan (LABELS=... for others)
	@scripts/run_tests tsan $(or $(LABELS),unit sim)

.PHONY: test-guest
test-guest: deps-test deps-guest ## the launcher's tests in a virtual machine: cgroup v2 alone, Debian's kernel
	@cmake --preset release -DMILLRACE_TESTS=ON >/dev/null
	@cmake --build --preset release --target millrace integration_launcher contract_executor
	@scripts/test_guest build/release

.PHONY: soak
soak: deps-test ## the long tests: thousands of events while processes are killed and power is lost
	@scripts/run_tests release soak

.PHONY: lint
lint: deps-test deps-lint ## format, layers, headers, text; clang-tidy of what changed since main
	@scripts/lint

.PHONY: lint-all
lint-all: deps-test deps-lint ## the same, with clang-tidy of everything
	@scripts/lint --all

.PHONY: format
format: deps-lint ## formats all C++ sources
	@git ls-files -z --cached --others --exclude-standard '*.h' '*.cc' | xargs -0 -r clang-format-19 -i

.PHONY: bench
bench: deps-bench ## benchmarks, each beside its baseline: CASE=NAME for some
	@scripts/run_bench '$(CASE)'

.PHONY: fuzz
fuzz: deps-fuzz ## every fuzz target for FUZZ_TIME_S=60 seconds; CASE=NAME for one
	@scripts/run_fuzz '$(FUZZ_TIME_S)' $(CASE)

.PHONY: ci
ci: ## what must pass before a change is merged: lint, test, test-asan
	@.ci/run

.PHONY: clean
clean: ## removes everything that was built (caches outside the tree stay)
	@rm -rf build

# deps-<target>: the packages of scripts/packages.txt that the target needs.
.PHONY: deps-build deps-demo deps-test deps-lint deps-bench deps-fuzz deps-guest
deps-build:
	@scripts/install_packages build run
deps-demo:
	@scripts/install_packages demo $(if $(REPLICAS),replicas)
	@scripts/make_user
deps-test:
	@scripts/install_packages build run demo test
	@scripts/make_user
deps-lint:
	@scripts/install_packages build lint
deps-bench:
	@scripts/install_packages build run bench
deps-fuzz:
	@scripts/install_packages build run fuzz
deps-guest:
	@scripts/install_packages guest
