# `make run` and `make test` do all the set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUITE ?= suites/default.yaml

.PHONY: fuzz kills faults gpu rehearse run test quick lint docs bench tables lock clean browser

run: $(VENV)/installed
	$(BIN)/convbench run $(SUITE)

# The tests of a file run in one process, because they share fixtures. tests/conftest.py puts the longest files first.
test: $(VENV)/installed-dev lint browser
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# For use while you write, under a minute: it omits tests that start processes, train, compile or open a browser.
quick: lint
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow and not browser"

# Builds build/docs into site/. docs/reference.py writes the reference from the code. A dead link is an error.
docs: $(VENV)/installed-dev
	$(BIN)/python docs/reference.py
	$(BIN)/zensical build --strict --clean
	@echo site/index.html

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Installs axe-core, which checks the report's accessibility. Without npm, the tests that need axe-core are skipped.
browser:
	@if command -v npm >/dev/null && [ ! -d tests/browser/node_modules ]; then \
		npm ci --prefix tests/browser --no-audit --no-fund --silent || echo "axe-core not installed: its tests are skipped"; fi

# Measures speed beside comparable tools: more than an hour, on a quiet machine. It rewrites committed files in reports/
# and tables in docs/method/. Each script can run alone, and a script that misses its goal does not stop the others.
bench: $(VENV)/installed-dev
	failed=0; for script in tests/bench/[!p]*.py tests/stored_tables.py; do $(BIN)/python $$script || failed=1; done; exit $$failed

# Writes the marked tables of README and method pages anew from the files in reports/.
tables: $(VENV)/installed-dev
	$(BIN)/python tests/stored_tables.py

# 5,000 mutated suites, arguments, stored files and traces. `make test` runs a short part of this and of `make kills`.
fuzz: $(VENV)/installed-dev
	for kind in suites arguments stored traces; do $(BIN)/python tests/fuzz/fuzz.py $$kind 0 || exit 1; done

# Proves the GPU's figures in four parts of at most nine minutes each. PYTHON must have torch with CUDA; PYTHONPATH can
# hold the other packages. Nothing is installed. A part that fails does not stop the others.
gpu:
	failed=0; for part in 1 2 3 4; do $(PYTHON) tests/gpu/kit.py $$part --out build/gpu/$$part || failed=1; done; exit $$failed

# Runs the four parts with tiny cases on a simulated GPU, so that no mistake costs time on a real one. Needs g++.
rehearse: $(VENV)/installed-dev
	$(BIN)/python tests/gpu/rehearsal/rehearse.py --out build/rehearsal

# 200 runs killed at random.
kills: $(VENV)/installed-dev
	$(BIN)/python tests/fuzz/kills.py 200

# 30 faults in a real Ray cluster on this machine: nodes, workers and the driver killed, nodes stopped, the store filled.
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
