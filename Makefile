# `make run` does Hallmark's main job on this machine; `make test` runs every test. See README.md.
SHELL := /bin/bash
GO ?= go
export CGO_ENABLED := 0
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

.PHONY: run build test unit system vet bench setup clean

run: setup build
	bin/hallmark up
	examples/tour

setup:
	@scripts/setup

build:
	@mkdir -p bin
	$(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/ ./cmd/...

test:
	@scripts/setup --tests
	$(MAKE) --no-print-directory vet
	scripts/test

# The tests that need no root, no machine and no network.
unit:
	$(GO) test ./...

vet:
	@test -z "$$(gofmt -l cmd internal *.go)" || { echo "gofmt would change:"; gofmt -l cmd internal *.go; exit 1; }
	$(GO) vet ./...

bench: setup build
	scripts/bench

clean:
	rm -rf bin dist
