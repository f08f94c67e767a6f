# Provost's commands. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
PLUGINS  := $(notdir $(patsubst %/,%,$(dir $(wildcard plugins/*/main.go))))
DIST     := $(PLUGINS:%=plugins/dist/%.wasm)
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GO_FILES := $(shell find . -name '*.go' -not -path './.git/*' -not -path '*/node_modules/*')

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.PHONY: build
build: bin/provost ## bin/provost, with the connectors embedded in it

# A connector is a reactor module for WASI preview 1.
plugins/dist/%.wasm: $(GO_FILES) go.mod go.sum
	@echo "connector $*"
	@GOOS=wasip1 GOARCH=wasm $(GO) build -trimpath -buildmode=c-shared -ldflags='-s -w' -o $@ ./plugins/$*

bin/provost: $(DIST) $(GO_FILES) go.mod go.sum
	@echo "bin/provost"
	@$(GO) build -trimpath -ldflags='-X main.version=$(VERSION)' -o $@ ./cmd/provost

.PHONY: demo
demo: build ## people's accounts appear, change, go away and are reconciled in a SCIM server
	@bin/provost demo

.PHONY: test
test: $(DIST) ## every test; says at the end what was skipped and why
	@.ci/test

.PHONY: race
race: $(DIST) ## the tests of what runs side by side, under the race detector
	$(GO) test -race -short -timeout 20m ./...

.PHONY: bench
bench: build ## figures against a baseline in the same run -> testdata/bench/latest.json
	@$(GO) run ./cmd/provostbench -o testdata/bench/latest.json

.PHONY: scale
scale: build ## reconciling 10,000 to 1,000,000 accounts in the real daemon -> testdata/bench/scale.json
	@$(GO) run ./cmd/provostbench -scale 10000,100000,1000000 -o testdata/bench/scale.json

.PHONY: lint
lint: $(DIST) ## gofmt, vet, staticcheck, generated files up to date
	@test -z "$$(gofmt -l $(GO_FILES))" || { gofmt -l $(GO_FILES); echo "run make fmt"; exit 1; }
	@$(GO) vet ./...
	@$(GO) tool staticcheck ./...
	@$(GO) run ./cmd/contractgen -check
	@$(GO) run ./cmd/configgen -check
	@$(GO) run ./cmd/metricsgen -check

.PHONY: fmt
fmt: ## format the sources
	@gofmt -w $(GO_FILES)

.PHONY: generate
generate: ## the contract's and the config's JSON Schemas and the list of metrics from the Go code
	@$(GO) generate ./...

.PHONY: clean
clean: ## remove what was built
	@rm -rf bin plugins/dist/*.wasm
