# Provost's commands. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Nothing of ours needs cgo; without it the binary is static, and what is tested
# is what is handed out.
export CGO_ENABLED ?= 0

GO       ?= go
PLUGINS  := $(notdir $(patsubst %/,%,$(dir $(wildcard plugins/*/main.go))))
DIST     := $(PLUGINS:%=plugins/dist/%.wasm)
VERSION  ?= $(shell git describe --tags --always --dirty --abbrev=12 2>/dev/null || echo dev)
GO_FILES := $(shell find . -name '*.go' -not -path './.git/*' -not -path '*/node_modules/*')

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

.PHONY: build
build: bin/provost ## bin/provost, with the connectors embedded in it

# A connector is a reactor module for WASI preview 1. Its digest is that of its
# sources: no commit is stamped into it.
plugins/dist/%.wasm: $(GO_FILES) go.mod go.sum
	@echo "connector $*"
	@GOOS=wasip1 GOARCH=wasm $(GO) build -trimpath -buildvcs=false -buildmode=c-shared -ldflags='-s -w' -o $@ ./plugins/$*

bin/provost: $(DIST) $(GO_FILES) go.mod go.sum
	@echo "bin/provost"
	@$(GO) build -trimpath -ldflags='-X main.version=$(VERSION)' -o $@ ./cmd/provost

.PHONY: demo
demo: build ## people's accounts appear, change, go away and are reconciled in a SCIM server; DEMO_STAY=1 leaves it running, with its console
	@bin/provost demo $(if $(DEMO_STAY),--stay)

.PHONY: test
test: $(DIST) ## every test; says at the end what was skipped and why
	@.ci/test

.PHONY: race
race: $(DIST) ## the tests of what runs side by side, under the race detector
	CGO_ENABLED=1 $(GO) test -race -short -timeout 45m ./...

.PHONY: bench
bench: build ## figures against a baseline in the same run -> testdata/bench/latest.json
	@$(GO) run ./cmd/provostbench -o testdata/bench/latest.json

.PHONY: scale
scale: build ## reconciling 10,000 to 1,000,000 accounts in the real daemon -> testdata/bench/scale.json
	@$(GO) run ./cmd/provostbench -scale 10000,100000,1000000 -o testdata/bench/scale.json

.PHONY: package
package: $(DIST) ## what is handed out -> dist: static binary, deb, container root, completions, manual, SBOM, digests
	@VERSION=$(VERSION) .ci/package build

.PHONY: package-check
package-check: package ## installs the package and runs the container's root, as far as it can be done here
	@.ci/package check

.PHONY: reproducible
reproducible: ## builds the commit in two folders, each from nothing, and compares every byte
	@.ci/package reproducible

.PHONY: lint
lint: $(DIST) ## gofmt, go.mod, vet, staticcheck, generated files up to date
	@test -z "$$(gofmt -l $(GO_FILES))" || { gofmt -l $(GO_FILES); echo "run make fmt"; exit 1; }
	@$(GO) mod tidy -diff
	@$(GO) vet ./...
	@$(GO) tool staticcheck ./...
	@$(GO) run ./cmd/contractgen -check
	@$(GO) run ./cmd/configgen -check
	@$(GO) run ./cmd/metricsgen -check
	@cd host/console && $(GO) tool templ generate -check -log-level warn

# What gosec says of these is known, and right here: constants that look like
# secrets (G101), the sandbox's memory (G103), conversions that are checked
# before (G115), addresses, programs and files that an operator names (G107,
# G204, G304, G703), files that are meant for others (G301, G302, G306), jitter
# (G404), SQL of constants (G201, G202), a nonce that the cipher chooses (G407),
# HMAC-SHA1 for targets that want it (G505), cookies that are Secure wherever the
# browser comes by https (G124), and redirects to paths that access.Next has
# looked at (G710). The last two have tests of their own.
GOSEC_KNOWN := G101,G103,G104,G107,G115,G124,G201,G202,G204,G301,G302,G304,G306,G404,G407,G505,G703,G710

.PHONY: security
security: $(DIST) ## gosec over the sources
	@$(GO) tool -modfile=.ci/security/go.mod gosec -quiet -exclude-generated -exclude-dir=testdata -exclude=$(GOSEC_KNOWN) ./...

.PHONY: fmt
fmt: ## format the sources
	@gofmt -w $(GO_FILES)

.PHONY: generate
generate: ## the contract's and the config's JSON Schemas, the list of metrics and the console's pages
	@$(GO) generate ./...

.PHONY: clean
clean: ## remove what was built
	@rm -rf bin dist plugins/dist/*.wasm
