# make demo   shows a real crash reported
# make test   sets up and runs every check and test
# make bench  measures, beside the peers that are installed
# make lint   the checks without the tests
# PYTHON=/path names another interpreter (3.11 or later) than the one found.

VENV := .venv
PY := $(VENV)/bin/python
LOCKS := requirements/build.txt requirements/runtime.txt
DEV_LOCKS := requirements/build.txt requirements/dev.txt

.PHONY: demo test bench lint lock clean
.DEFAULT_GOAL := demo

# One environment: with the tools of the tests as soon as they were needed once.
$(VENV)/.runtime: $(LOCKS) pyproject.toml tools/make_venv.sh
	@python=$$(sh tools/find_python.sh) && sh tools/make_venv.sh "$$python" $(VENV) $(LOCKS)
	@touch $@

$(VENV)/.dev: $(DEV_LOCKS) pyproject.toml tools/make_venv.sh
	@python=$$(sh tools/find_python.sh) && sh tools/make_venv.sh "$$python" $(VENV) $(DEV_LOCKS)
	@touch $(VENV)/.runtime $@

demo: $(VENV)/.runtime
	@$(PY) demo/demo.py

test: lint
	@sh tools/test_packages.sh
	@sh tools/run_tests.sh $(PY) $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(VENV)/.runtime
	@$(PY) -m bench $(BENCH_ARGS)

# The locked versions, made anew from pyproject.toml.
lock:
	@python=$$(sh tools/find_python.sh) && sh tools/lock.sh "$$python"

clean:
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests bench demo -name __pycache__ -prune -exec rm -rf {} +
