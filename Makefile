# What a person runs and what .ci/run runs: the same targets. `make help` lists them.

# Tools are built from these very versions, once each, into a folder git ignores;
# so go.mod lists what the program is made of. The folder is named after Go's
# version, because an analyser can't read code newer than the Go that built it.
GOLANGCI_LINT_VERSION := v2.15.0
DEADCODE_VERSION      := v0.52.0

TOOLS         := $(CURDIR)/.tools/$(shell go env GOVERSION)
GOLANGCI_LINT := $(TOOLS)/golangci-lint@$(GOLANGCI_LINT_VERSION)
DEADCODE      := $(TOOLS)/deadcode@$(DEADCODE_VERSION)

# To be set by who calls: how long each fuzz target runs, which benchmarks, more
# flags of go test (-count=1) and of the demo (--exit).
FUZZTIME  ?= 10s
BENCH     ?= .
TESTFLAGS ?=
DEMOFLAGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## compile everything; the program is bin/watertight
	go build ./...
	go build -trimpath -o bin/ ./cmd/...

.PHONY: test
test: ## run the tests
	go test $(TESTFLAGS) ./...

.PHONY: race
race: ## run the tests in random order under the race detector
	go test -race -shuffle=on -timeout 20m $(TESTFLAGS) ./...

.PHONY: cover
cover: ## run the tests and say what they cover (cover.out)
	go test -coverprofile=cover.out -coverpkg=./... $(TESTFLAGS) ./...
	go tool cover -func=cover.out | tail -n 1

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME
	.ci/fuzz $(FUZZTIME)

.PHONY: bench
bench: ## compare bulkhead and consumer with what they are made of and with other libraries; exit 1 if an aim is missed
	cd bench && failed=0; for what in bulkhead consumer; do go run ./$$what || failed=1; done; exit $$failed

.PHONY: bench-check
bench-check: ## vet and test the benchmarks' own module
	cd bench && go vet ./... && go test $(TESTFLAGS) ./...

.PHONY: benchmarks
benchmarks: ## run the benchmarks beside the code
	go test -run '^$$' -bench '$(BENCH)' -benchmem $(TESTFLAGS) ./...

.PHONY: mutants
mutants: ## break the code in known ways and see the tests turn red
	go run ./internal/mutants

.PHONY: kills
kills: ## kill services 200 times and the broker 20 times under load, some minutes
	go test -count=1 -v -timeout 30m -run KillsUnderLoad ./cmd/watertight -kills 200

.PHONY: lint
lint: $(GOLANGCI_LINT) ## go vet, and golangci-lint with gofumpt and the floors
	go vet ./...
	$(GOLANGCI_LINT) run

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## format with gofumpt
	$(GOLANGCI_LINT) fmt

.PHONY: deadcode
deadcode: $(DEADCODE) ## fail on functions that neither the program nor a test reaches
	@found=$$($(DEADCODE) -test ./...) && if [ -n "$$found" ]; then echo "$$found"; exit 1; fi

.PHONY: tidy-check
tidy-check: ## fail if go mod tidy would change something
	go mod tidy -diff

.PHONY: images
images: ## make the container images, and stand-ins for what no registry gives
	deploy/images.sh

.PHONY: smoke
smoke: images ## bring the compose file up from nothing and use it as a person would
	deploy/smoke.sh

.PHONY: demo
demo: ## a peak sale with a hanging payment provider, in one process
	go run ./cmd/watertight demo $(DEMOFLAGS)

.PHONY: demo-check
demo-check: build ## run the demo and judge its report: held, and nothing lost
	.ci/demo bin/watertight

.PHONY: ci
ci: ## all that must hold before a change goes in, as .ci/run does it
	.ci/run

.PHONY: clean
clean: ## remove what was built, and the tools
	rm -rf bin cover.out .tools

$(GOLANGCI_LINT): ; $(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,$(GOLANGCI_LINT_VERSION))
$(DEADCODE):      ; $(call install,golang.org/x/tools/cmd/deadcode,$(DEADCODE_VERSION))

# install PACKAGE,VERSION builds into a folder of its own and moves the whole file
# to its place, which an interrupted build never leaves half done.
define install
@mkdir -p $(TOOLS)
GOBIN=$(TOOLS)/new-$(notdir $(1)) go install $(1)@$(2)
@mv $(TOOLS)/new-$(notdir $(1))/$(notdir $(1)) $@ && rmdir $(TOOLS)/new-$(notdir $(1))
endef
