# `make demo` and `make test` need nothing but Python 3.10 to 3.13 and make.
PYTHON ?= python3
# cpu, or tensorflow for the wheels with CUDA kernels
TENSORFLOW ?= cpu
CAMPAIGN ?= examples/campaigns/digits.toml

VENV := .venv
VENV_TFIO := .venv-tfio
VENV_BENCH := .venv-bench
VENV_TORCH := .venv-torch
VENV_JAX := .venv-jax
export TF_CPP_MIN_LOG_LEVEL ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

comma := ,
empty :=
space := $(empty) $(empty)

.DEFAULT_GOAL := help
.PHONY: help setup setup-tfio setup-bench demo build-sif test test-untimed test-timed test-cluster test-tfio setup-torch test-torch setup-jax test-jax soak bench bench-quick lint clean check-python

help: ## Show what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /  make \1#/p' $(MAKEFILE_LIST) | while IFS='#' read -r name text; do printf '%-20s%s\n' "$$name" "$$text"; done

check-python:
	@command -v $(PYTHON) >/dev/null || { echo "There is no '$(PYTHON)' here: install Python 3.10, 3.11, 3.12 or 3.13, or say make PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { echo "Python 3.10, 3.11, 3.12 or 3.13 is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1): say make PYTHON=python3.11"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module: install your system's python3-venv package"; exit 2; }

# $(call environment,folder,constraints,extras)
define environment
	@echo "Setting up $(1) ($(2)); once, this downloads about 500 MB ..."
	@$(PYTHON) -m venv $(1)
	@$(1)/bin/python -m pip install --quiet --constraint $(2) --editable '.[$(3)]'
	@touch $(1)/.complete
endef

setup: $(VENV)/.complete ## Make .venv with the newest TensorFlow tried (TENSORFLOW=tensorflow for GPUs)
$(VENV)/.complete: pyproject.toml constraints/latest.txt | check-python
	$(call environment,$(VENV),constraints/latest.txt,$(TENSORFLOW)$(comma)embedded$(comma)examples$(comma)test)

setup-tfio: $(VENV_TFIO)/.complete ## Make .venv-tfio: TensorFlow 2.16 with tensorflow-io
$(VENV_TFIO)/.complete: pyproject.toml constraints/tfio.txt | check-python
	$(call environment,$(VENV_TFIO),constraints/tfio.txt,$(TENSORFLOW)$(comma)tfio$(comma)embedded$(comma)examples$(comma)test)

# Each of them may be missing: its rows of the tables then say why.
PEERS := array-record datasets grain pylance
setup-bench: $(VENV_BENCH)/.complete ## Make .venv-bench: what `make bench` compares with (litdata brings PyTorch with CUDA, 5 GB)
$(VENV_BENCH)/.complete: constraints/bench.txt | check-python
	@echo "Setting up $(VENV_BENCH); once, this downloads about 3 GB ..."
	@$(PYTHON) -m venv $(VENV_BENCH)
	@$(VENV_BENCH)/bin/python -m pip install --quiet --constraint constraints/bench.txt $(PEERS)
	@$(VENV_BENCH)/bin/python -m pip install --quiet --constraint constraints/bench.txt litdata || echo "without litdata"
	@touch $(VENV_BENCH)/.complete

# PyPI's PyTorch needs CUDA's libraries. Debian's does not: it and what it links to are unpacked here, and not installed.
PYTHON_TORCH ?= python3.11
DEBIAN_TORCH := $(CURDIR)/$(VENV_TORCH)/debian
DEBIAN_LIBRARIES := usr/lib/$(shell uname -m)-linux-gnu
TORCH_LIBRARIES := $(subst $(space),:,$(addprefix $(DEBIAN_TORCH)/,$(DEBIAN_LIBRARIES) usr/lib lib/$(notdir $(DEBIAN_LIBRARIES)) $(DEBIAN_LIBRARIES)/blas $(DEBIAN_LIBRARIES)/lapack))

setup-torch: $(VENV_TORCH)/.complete ## Make .venv-torch: PyTorch without CUDA (on Debian 12, with Python 3.11)
$(VENV_TORCH)/.complete: pyproject.toml constraints/tfio.txt
	@command -v apt-get >/dev/null && command -v $(PYTHON_TORCH) >/dev/null || { echo "Debian 12 and $(PYTHON_TORCH) are needed: say make PYTHON_TORCH=/path/to/python3.11"; exit 2; }
	@echo "Setting up $(VENV_TORCH) (Debian's python3-torch); once, this downloads about 250 MB ..."
	@rm -rf $(VENV_TORCH) && $(PYTHON_TORCH) -m venv $(VENV_TORCH) && mkdir $(DEBIAN_TORCH)
	@$(VENV_TORCH)/bin/python -m pip install --quiet --constraint constraints/tfio.txt --editable '.[embedded]' pytest pytest-timeout pytest-xdist
	@apt-cache show python3-torch >/dev/null 2>&1 || apt-get update -qq
	@cd $(DEBIAN_TORCH) && apt-get download -qq -o APT::Sandbox::User=root python3-torch $$(apt-get install --simulate --no-install-recommends python3-torch | sed -n 's/^Inst \(lib[^ ]*\|ocl-icd[^ ]*\).*/\1/p' | grep -vx libtorch-test) && for package in *.deb; do dpkg -x $$package . && rm $$package; done
	@echo $(DEBIAN_TORCH)/usr/lib/python3/dist-packages >"$$($(VENV_TORCH)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/debian.pth"
	@LD_LIBRARY_PATH=$(TORCH_LIBRARIES) $(VENV_TORCH)/bin/python -c 'import torch; print("PyTorch", torch.__version__)'
	@touch $(VENV_TORCH)/.complete

# What .venv has, seen from another environment, and JAX.
setup-jax: $(VENV_JAX)/.complete ## Make .venv-jax: that of `make setup`, and JAX (with Python 3.11 or newer)
$(VENV_JAX)/.complete: $(VENV)/.complete constraints/jax.txt
	@echo "Setting up $(VENV_JAX); once, this downloads about 90 MB ..."
	@rm -rf $(VENV_JAX) && $(VENV)/bin/python -m venv $(VENV_JAX)
	@$(VENV)/bin/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' >"$$($(VENV_JAX)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/base.pth"
	@$(VENV_JAX)/bin/python -m pip install --quiet --constraint constraints/jax.txt jax
	@$(VENV_JAX)/bin/python -c 'import jax, tensorflow; print("JAX", jax.__version__)'
	@touch $(VENV_JAX)/.complete

demo: setup ## Run the main job on an embedded, real Kafka: one upload a variant, many trials, one report
	@$(VENV)/bin/deeptool-hpc launch --fresh $(CAMPAIGN)

# The images have another default than .venv, which building them does not change.
IMAGE_TENSORFLOW := $(if $(filter file,$(origin TENSORFLOW)),cuda,$(TENSORFLOW))
build-sif: override TENSORFLOW := cpu
build-sif: setup ## Build the images that have changed into build/ (IMAGES=, BOOTSTRAP=, FROM=, MIRROR=, TENSORFLOW=, ENVIRONMENT=: docs/images.md)
	@$(VENV)/bin/deeptool-hpc images $(IMAGES) --bootstrap "$(or $(BOOTSTRAP),docker)" --from "$(FROM)" --mirror "$(MIRROR)" --tensorflow "$(IMAGE_TENSORFLOW)" --environment "$(or $(ENVIRONMENT),latest)" $(if $(FORCE),--force)

# Tests that compare times with bounds run alone, after the others; long loops run only in `make soak`.
PROCESSES ?= 2
UNTIMED := -m "not timed and not soak" -n $(PROCESSES) --dist loadfile
# ARGS may select tests of one kind only; without ARGS, a run without tests fails.
NONE_OK := $(if $(ARGS),|| [ $$? -eq 5 ])

test: setup ## Run all tests on the newest TensorFlow, with coverage (PROCESSES=2, ARGS="-k name")
	@$(MAKE) --no-print-directory test-untimed
	@$(MAKE) --no-print-directory test-timed

test-untimed: setup
	@rm -f .coverage .coverage.*
	@$(VENV)/bin/coverage run -m pytest $(UNTIMED) $(ARGS) $(NONE_OK)

test-timed: setup
	@$(VENV)/bin/coverage run -m pytest -m "timed and not soak" $(ARGS) $(NONE_OK)
	@$(VENV)/bin/coverage combine --quiet
	@$(VENV)/bin/coverage report

test-cluster: setup ## Run the tests that need Slurm and Apptainer, as an ordinary user
	@$(VENV)/bin/python -m pytest -m "cluster and not soak" tests/cluster $(ARGS)

# What calls TensorFlow and Keras most; copies, orders and rows are NumPy's, and the same on any.
TFIO_TESTS := $(addprefix tests/unit/deeptool/,codec producer pipelines/test_can_fork.py pipelines/test_pipeline_costs.py) \
	$(addprefix tests/unit/deeptool/training/,test_keras_refusals.py test_saved_model.py test_training.py test_training_parts.py) \
	$(addprefix tests/unit/deeptool/reader/,test_tfio_rows.py test_tf_pieces.py test_numpy_batches.py test_stored_batches.py) tests/integration/test_tfio.py
test-tfio: setup-tfio ## Run the tests of the tensorflow-io reader, and of what calls TensorFlow most, on TensorFlow 2.16
	@$(VENV_TFIO)/bin/python -m pytest $(UNTIMED) $(TFIO_TESTS) $(ARGS)

test-torch: setup-torch ## Run the tests of the PyTorch reader
	@LD_LIBRARY_PATH=$(TORCH_LIBRARIES) $(VENV_TORCH)/bin/python -m pytest -m torch -n $(PROCESSES) --dist loadfile $(wildcard tests/unit/deeptool/reader/test_torch_*.py) tests/integration/test_torch.py $(ARGS)

test-jax: setup-jax ## Run the tests of trials on JAX
	@KERAS_BACKEND=jax $(VENV_JAX)/bin/python -m pytest -m jax tests/integration/test_jax.py $(ARGS)

soak: setup ## Run the long loops: kills at random moments, many rounds (those of the cluster need Slurm)
	@$(VENV)/bin/python -m pytest -m soak $(if $(shell command -v sbatch),tests,tests/unit tests/integration) $(ARGS)

bench: setup ## Measure beside other ways to read the same samples: bench-results/, docs/performance.md (half an hour, 16 GB of disk)
	@$(MAKE) --no-print-directory setup-bench || echo "without the peers from PyPI"
	@$(VENV)/bin/python -m bench full

bench-quick: setup ## Measure a tenth of it, and fail below three quarters of a recorded ratio
	@$(VENV)/bin/python -m bench quick

lint: setup ## Check style and types
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy

clean: ## Remove the environments and what tests leave
	rm -rf $(VENV) $(VENV_TFIO) $(VENV_BENCH) $(VENV_TORCH) $(VENV_JAX) build .coverage .coverage.* .hypothesis .pytest_cache .mypy_cache .ruff_cache
