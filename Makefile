# carlien: `make help` lists the targets. Every target sets up first what it needs; that's a no-op when done.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

LOCAL := .venv/bin/carlien-local

##@ Start here
.PHONY: help setup
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} /^[a-zA-Z_-]+:.*## / {printf "  \033[36m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install everything: .venv/, Kafka's jars, Fabric's binaries (and Debian packages when root)
	@deploy/local/setup.sh

##@ The stack on this machine (CARLIEN_PORT_BASE=21000 moves its ports)
.PHONY: up down reset status logs
up: setup ## Start PostgreSQL, Kafka, Fabric, the services and Prometheus (ONLY=infra: without the services)
	@$(LOCAL) up $(if $(ONLY),--only $(ONLY))

# What runs can be looked at and ended although a set-up is half done, so these three don't insist on it.
$(LOCAL):
	@deploy/local/setup.sh

down: | $(LOCAL) ## End every process of the stack; data are kept
	@$(LOCAL) down

reset: | $(LOCAL) ## End every process and delete all data, keys and logs
	@$(LOCAL) reset

status: | $(LOCAL) ## What runs where (FORMAT=json: machine-readable); fails when something doesn't
	@$(LOCAL) status $(if $(filter json,$(FORMAT)),--json)

logs: | $(LOCAL) ## The end of a part's log: make logs s=kafka
	@$(LOCAL) logs $(or $(s),$(error Name the part: make logs s=NAME (make status lists them)))

##@ Generated files
.PHONY: protos docs lock
protos: setup ## Generate the Python package of protos/ anew
	@protos/generate.sh

docs: setup ## Write the API reference in docs/api anew, from the protos and the policies
	@.venv/bin/python docs/api.py

lock: setup ## Resolve the Python dependencies anew into requirements/
	@requirements/lock.sh

##@ One loan, end to end
.PHONY: demo dashboards sample-data
demo: up ## Start everything and run one loan from VIN search to discharge; leaves the stack up
	@source .local/env && PYTHONPATH=integration-tests .venv/bin/python -m loan_scenario.story --report .local/demo-report.json --data-source "$$CARLIEN_MODEL_SOURCE"

dashboards: up ## Draw the dashboards from the running stack's Prometheus into .local/dashboards (MINUTES=30: how far back)
	@source .local/env && .venv/bin/python charts/carlien/pictures.py --prometheus "$$PROMETHEUS_URL" --out .local/dashboards $(if $(MINUTES),--minutes $(MINUTES))

sample-data: setup ## Listings of our own market simulator and their mapping, into .local/sample (ROWS=6000 SEED=1)
	@.venv/bin/carlien-valuation sample-data --out .local/sample $(if $(ROWS),--rows $(ROWS)) $(if $(SEED),--seed $(SEED))

##@ Checks and tests
.PHONY: check test test-faults test-chart test-chart-live soak bench scan
check: setup ## Format, lint, types, import contracts, protos, generated code, chaincode vet, secret and hash scan
	@.ci/check

test: setup ## Unit, contract and integration tests against a PostgreSQL, Kafka and Fabric of their own (KEEP=1 leaves those up)
	@go -C services/lien-registry/chaincode test ./...
	@integration-tests/run.sh -m "not faults and not containers"

test-faults: setup ## Every kill and cut, on the tests' own stack
	@integration-tests/run.sh -m faults

soak: setup ## Work with faults by chance on a stack of its own, then all compared with all (MINUTES=30)
	@integration-tests/soak.sh $(or $(MINUTES),30)

bench: up ## Measure the running stack, each figure beside its reference, into .local/bench.json (B=area: one area)
	@source .local/env && PYTHONPATH=integration-tests .venv/bin/python -m benchmarks.run $(if $(B),--area $(B))

scan: setup ## The quarterly code scan of the chaincode (dated report in .local/scan), and known vulnerabilities of every dependency
	@go -C services/lien-registry/chaincode/scan test ./... && go -C services/lien-registry/chaincode/scan run . -out "$(CURDIR)/.local/scan"
	@.venv/bin/python .ci/cve.py

HELM := $(HOME)/.cache/carlien/tools/helm
$(HELM):
	@echo "building helm 3.22 (3 minutes) ..." && GOBIN=$(dir $@) go install helm.sh/helm/v3/cmd/helm@v3.22.0
test-chart: setup $(HELM) ## Lint the Helm chart, compare it with its golden renders, validate it for three Kubernetes versions
	@HELM=$(HELM) .venv/bin/python -m pytest charts/carlien/tests --ignore=charts/carlien/tests/live

test-chart-live: setup $(HELM) ## Install, upgrade, roll back and uninstall the chart on a Kubernetes API server built here (10 minutes once)
	@kubernetes=$$(deploy/kubernetes/build.sh) && HELM=$(HELM) KUBERNETES=$$kubernetes .venv/bin/python -m pytest charts/carlien/tests/live

##@ Containers (they need a Docker engine)
.PHONY: images
images: ## Build the services' images (S=pricing: one; BASE_IMAGE=…: on that base); prints their sizes
	@deploy/images/build.sh $(S)

.PHONY: test-containers
test-containers: setup ## Contract tests with PostgreSQL and Kafka from testcontainers, on images built here
	@deploy/compose/build.sh postgres kafka
	@env -u POSTGRES_ADMIN_DSN -u KAFKA_BOOTSTRAP CARLIEN_TEST_STRICT=1 .venv/bin/python -m pytest -m "not faults" \
	    services/common/tests/contract services/telematics/tests/contract services/pricing/tests/contract services/valuation/tests/contract
