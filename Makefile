# Every target does its own set-up: the environment is made once and made again when pyproject.toml changes.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Images set it to stay small; here hundreds of processes would compile the same source.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test faults lint format generate generate-check bench clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[clickhouse,postgres,dev]'
	touch $@

demo: $(INSTALLED) ## Start everything on this machine, with demo data and credentials
	exec $(BIN)/footfall up --demo

test: $(INSTALLED) ## Run the whole suite on real stores and a real gateway
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

faults: $(INSTALLED) ## Run the fault suite in full, for about 20 minutes: kills, overload, attacks
	@# In the order that tests/scheduling.py gives: what measures times has nothing but the soak beside it.
	$(BIN)/python -m pytest tests/faults --faults full --verbose --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(INSTALLED) generate-check ## Check format, lint, types, layers, protos and the gateway's configuration
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking --against protos/released.binpb
	$(BIN)/footfall gateway --validate

format: $(INSTALLED) ## Format the code and the protos
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/buf format --write

generate: $(INSTALLED) ## Make the stubs and the gateway's descriptor set again from the protos
	rm -f server/footfall/v1/*_pb2*.py*
	$(BIN)/python -m grpc_tools.protoc --proto_path=protos \
	  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --python_out=server --grpc_python_out=server --mypy_out=quiet:server --mypy_grpc_out=quiet:server \
	  protos/footfall/v1/*.proto
	$(BIN)/buf build --exclude-source-info --output gateway/footfall.binpb

generate-check: generate
	@git diff --exit-code --stat -- server/footfall/v1 gateway/footfall.binpb \
	  || { echo 'The generated files differ from the protos: commit what `make generate` made.'; exit 1; }

bench: $(INSTALLED) ## Run the benchmarks and print ratios to floors measured in the same run
	$(BIN)/python -m benchmarks

clean: ## Remove the environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
