# `make demo` and `make test` do all set-up by themselves; a second run skips what is done.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

SEED ?= 0
TESTS ?= test
export PYTHON TORCH_INDEX

# The nodes of this machine talk to each other, not to every robot in the building.
export ROS_AUTOMATIC_DISCOVERY_RANGE ?= LOCALHOST
# MuJoCo renders in software where there is no display.
ifeq ($(MUJOCO_GL)$(DISPLAY)$(WAYLAND_DISPLAY),)
export MUJOCO_GL := osmesa
endif

# A sourced ROS 2 is used; otherwise ROS 2 Jazzy comes from PyPI.
ROS := $(if $(and $(ROS_DISTRO),$(AMENT_PREFIX_PATH)),$(ROS_DISTRO),wheels)
ENVIRONMENT := .venv/.stamp-$(ROS)
MESSAGES := build/cmake/.stamp
INSTALLED := .venv/.stamp-installed

# Folders count as well: their time changes when a file in them is deleted.
SOURCES := $(shell find resfit_ros launch config -name __pycache__ -prune -o -print 2>/dev/null)
INTERFACES := CMakeLists.txt package.xml msg srv $(wildcard msg/* srv/* scripts/*.in)

RUN := . .venv/share/resfit_ros/local_setup.sh &&
# Plugins that a sourced ROS brings along and that lag behind pytest.
PYTEST := .venv/bin/python -m pytest -p no:launch_testing -p no:launch_ros -p no:launch_pytest

.PHONY: help setup demo test soak clean
help:
	@echo 'make demo [SEED=0]     train a residual on the simulated robot, from nothing to the report'
	@echo 'make test [TESTS=test] run the tests'
	@echo 'make soak              run the fault tests with their full counts: several minutes'
	@echo 'make setup             only the set-up, into .venv; PYTHON=<interpreter> and'
	@echo '                       TORCH_INDEX=<package index> choose others than the defaults'
	@echo 'make clean             remove .venv and everything built (not runs/)'

setup: $(INSTALLED)

demo: setup
	$(RUN) .venv/bin/resfit demo --seed $(SEED)

test: setup
	$(RUN) $(PYTEST) -q -ra --durations=10 $(TESTS)

soak: setup
	$(RUN) RESFIT_SOAK=1 $(PYTEST) -q -ra --durations=10 test/fault

clean:
	rm -rf .venv build install log .pytest_cache .hypothesis
	find resfit_ros launch test -name __pycache__ -prune -exec rm -rf {} +

# A moved folder breaks the absolute paths inside .venv: the stamp names the place it was made for.
ifneq ($(shell cat $(ENVIRONMENT) 2>/dev/null),$(CURDIR))
.PHONY: $(ENVIRONMENT)
endif
$(ENVIRONMENT): $(wildcard requirements/*.txt) scripts/setup_environment.sh
	@scripts/setup_environment.sh $@ $(ROS)

$(MESSAGES): $(ENVIRONMENT) $(INTERFACES) scripts/cmake_package.py
	@echo 'Building the messages'
	@.venv/bin/python scripts/cmake_package.py build build/cmake .venv
	@touch $@

$(INSTALLED): $(MESSAGES) $(SOURCES)
	@.venv/bin/python scripts/cmake_package.py install build/cmake .venv
	@touch $@
