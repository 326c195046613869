# One command per intent. `make demo` needs only the base install; the others use the development environment.
PYTHON ?= python3
VENV ?= .venv
DEMO_VENV ?= .venv-demo
# Folder of clean photographs, the one the weights were trained on; `make bench` scores its held-out tenth.
PHOTOS ?= ../shared/data/photos
BIN = $(VENV)/bin

.PHONY: demo test check format bench bench-speed clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(DEMO_VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

demo: $(DEMO_VENV)/installed
	mkdir -p demo
	$(DEMO_VENV)/bin/alen sample demo/sample.dng --force
	$(DEMO_VENV)/bin/alen enhance demo/sample.dng -o demo/ --force --compare
	@echo "Before and after, side by side: demo/sample.compare.jpg"

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(VENV)/installed
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

format: $(VENV)/installed
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

# How good: photographs and charts, about half an hour. How fast: twelve minutes on an idle machine.
bench: $(VENV)/installed
	$(BIN)/python -m benchmarks.quality --photos $(PHOTOS)
	$(BIN)/python -m benchmarks.quality --photos $(PHOTOS) --cfa xtrans
	$(BIN)/python -m benchmarks.hard_cases
	$(BIN)/python -m benchmarks.auto_ratio --photos $(PHOTOS)

bench-speed: $(VENV)/installed
	$(BIN)/python -m benchmarks.speed

clean:
	rm -rf $(VENV) $(DEMO_VENV) demo out .mypy_cache .pytest_cache .ruff_cache
