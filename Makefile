# Storebeat. "make help" lists what there is.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO         ?= go
PACKAGES   ?= ./...
# How long each fuzz target runs in "make fuzz".
FUZZTIME   ?= 10s
# How often each fault strikes in "make bench-failover".
RUNS       ?= 20
# On what it strikes them: local, or NFS, with hosts in emulation; and the timing profiles.
STORAGE    ?= local
PROFILES   ?= default,fast
# Given to "storebeat demo", such as DEMO="--hosts 4 --keep".
DEMO       ?=
# How many random schedules "make sim-long" runs, and from which seed on.
SEEDS      ?= 10000
FROM       ?= 1
# Given to "go test", such as TESTFLAGS="-run TestDemo -v".
TESTFLAGS  ?=
# What "storebeat version" says.
VERSION    ?= $(shell scripts/version)
# Where "make build" puts the program.
OUTPUT     ?= bin/storebeat
# Where "make deb" puts the package.
DIST       ?= dist

.PHONY: help build lab deb demo faults test check race nfs-lab sim sim-long mutants fuzz bench bench-failover clean install-dependencies

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-22s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/storebeat, one static binary, the same bytes each time
	@mkdir -p $(dir $(OUTPUT))
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -buildid= -X main.version=$(VERSION)' -o $(OUTPUT) ./cmd/storebeat

faults: install-dependencies ## strike a lab with every real fault, one package alone
	go run ./scripts/testsummary -timeout=20m ./test/faults -args -all

nfs-lab: install-dependencies ## tests on hosts with a kernel, an NFS client and a watchdog of their own, one package alone
	go run ./scripts/testsummary -timeout=30m $(TESTFLAGS) ./test/nfslab -args -all

lab: install-dependencies build ## build bin/storebeat-lab: a cluster on this computer to strike with real faults
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -o $(dir $(OUTPUT))storebeat-lab ./test/lab/cmd/storebeat-lab

deb: ## build the Debian package dist/storebeat_VERSION_ARCHITECTURE.deb; GOARCH=arm64 for another architecture
	VERSION=$(VERSION) scripts/deb $(DIST)

demo: install-dependencies build ## three hosts, two datastores, six machines on this computer; one host dies
	bin/storebeat demo $(DEMO)

test: install-dependencies ## run the whole suite and count the tests; the simulator takes all processors, and comes last
	$(GO) run ./scripts/testsummary -last=./test/sim/... $(TESTFLAGS) $(PACKAGES)

check: ## formatting, vet, staticcheck and the rules of the repository
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [[ -n $$unformatted ]]; then printf 'not formatted, run "gofmt -w":\n%s\n' "$$unformatted" >&2; exit 1; fi
	$(GO) vet $(PACKAGES)
	$(GO) tool staticcheck $(PACKAGES)
	$(GO) test -count=1 ./test/repository

race: install-dependencies ## run the whole suite under the race detector
	$(GO) run ./scripts/testsummary -last=./test/sim/... -race $(TESTFLAGS) $(PACKAGES)

sim: ## run the simulator at full speed: every scenario, 2,000 random schedules
	$(GO) run ./scripts/testsummary -count=1 -timeout=15m ./test/sim/...

sim-long: ## run SEEDS random schedules from seed FROM on, with progress and sums
	$(GO) run ./scripts/simlong -from $(FROM) -seeds $(SEEDS)

mutants: ## break one rule after the other and show which schedule of the simulator finds it
	$(GO) run ./scripts/mutants

fuzz: ## run each fuzz target for FUZZTIME
	scripts/fuzz $(FUZZTIME)

bench: ## run the benchmarks, with allocations
	$(GO) test -run '^$$' -bench . -benchmem $(PACKAGES)

bench-failover: install-dependencies build ## measure RUNS failovers of each kind, an hour or so, and write docs/failover.json and docs/performance.md
	$(GO) run ./scripts/benchfailover -runs $(RUNS) -storage $(STORAGE) -profiles $(PROFILES)

clean: ## remove what the build made
	rm -rf bin dist

install-dependencies: ## install the Debian packages that tests and demo use, when root
	@scripts/install-dependencies
