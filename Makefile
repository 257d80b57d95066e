# Two commands do all the set-up: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUITE ?= suites/default.yaml

.PHONY: fuzz kills faults gpu run test quick lint docs bench lock clean browser

run: $(VENV)/installed
	$(BIN)/convbench run $(SUITE)

# A file's tests stay together, for what they share; files are begun in the order of tests/conftest.py, long ones first.
test: $(VENV)/installed-dev lint browser
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# Under a minute, for while you write: everything but what starts processes, trains, compiles or opens a browser.
quick: lint
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow and not browser"

# The documentation, from build/docs into site/: the reference is written from the code, and a dead link is an error.
docs: $(VENV)/installed-dev
	$(BIN)/python docs/reference.py
	$(BIN)/zensical build --strict --clean
	@echo site/index.html

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Accessibility of the report is checked with axe-core where npm is at hand; the tests that need it are skipped elsewhere.
browser:
	@if command -v npm >/dev/null && [ ! -d tests/browser/node_modules ]; then \
		npm ci --prefix tests/browser --no-audit --no-fund --silent || echo "axe-core not installed: its tests are skipped"; fi

# Figures of speed and their peers: more than an hour, on a quiet machine. It writes committed files anew, those of
# reports/ and docs/method/gate-table.md; each script can be run alone. One that misses a goal does not stop the rest.
bench: $(VENV)/installed-dev
	failed=0; for script in tests/bench/[!p]*.py; do $(BIN)/python $$script || failed=1; done; exit $$failed

# 5,000 mutated suites, arguments, stored files and traces; and 200 kills. A quick part of both is in `make test`.
fuzz: $(VENV)/installed-dev
	for kind in suites arguments stored traces; do $(BIN)/python tests/fuzz/fuzz.py $$kind 0 || exit 1; done

# Proves the GPU's figures in four parts of at most nine minutes: PYTHON is one that has torch with CUDA. What it
# needs beside torch can lie on PYTHONPATH; nothing is installed. A part in which something fails does not stop the rest.
gpu:
	failed=0; for part in 1 2 3 4; do $(PYTHON) tests/gpu/kit.py $$part --out build/gpu/$$part || failed=1; done; exit $$failed

kills: $(VENV)/installed-dev
	$(BIN)/python tests/fuzz/kills.py 200

# 30 faults of a real Ray cluster on this machine: nodes, workers and the driver killed, nodes stopped, the store filled.
faults: $(VENV)/installed-dev
	$(BIN)/python tests/fuzz/faults.py 30

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements-dev.txt -e '.[pytest,tensorboard,gpu,video,onnxruntime,openvino,int8,remote,ray,slurm]'
	touch $@

lock: $(VENV)/installed-dev
	sed -n '/^#/p' constraints.txt > constraints.new
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/^torch==\([^+]*\).*/torch==\1/' >> constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
