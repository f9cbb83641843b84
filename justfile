# Tasks. `just` is optional: each task is one command, which you can also type yourself.

# List the tasks.
default:
    @just --list

# Run the quick tests, or those given: see CONTRIBUTING.md.
test *arguments:
    uv run pytest {{arguments}}

# Check style and formatting.
lint:
    uv run ruff check
    uv run ruff format --check

# Check types.
types:
    uv run mypy

# Check that imports go down the layers only.
layers:
    uv run lint-imports

# Run the snippets of the documentation; check its links and that nothing is missing.
docs:
    uv run pytest tests/docs -m "long or not long"

# Write docs/reference.md from the docstrings.
reference:
    uv run python docs/make_reference.py

# Prove that a backend keeps the contract: `just conformance local`.
conformance *arguments:
    uv run bigmachine conformance {{arguments}}

# Test on a real account, for real money; asks for confirmation first: `just test-cloud ec2`.
test-cloud *arguments:
    uv run python -m tests.live {{arguments}}

# Create the image of the hosts in the tests' cloud in a box. Needs root and apt.
cloudbox:
    uv run python -m tests.support.cloudbox build

# Run the conformance kit on the EC2 in that box; takes a quarter of an hour.
ec2kit *arguments:
    BIGMACHINE_TEST_EC2_KIT=1 uv run pytest tests/conformance/backends/test_ec2_box.py -m long {{arguments}}

# Run a command with the EC2 in that box: `just ec2box bigpi --system ec2`.
ec2box *command:
    uv run python -m tests.support.aws {{command}}

# The same for GCE in a box.
gcpkit *arguments:
    BIGMACHINE_TEST_GCP_KIT=1 uv run pytest tests/conformance/backends/test_gcp_box.py -m long {{arguments}}

# Run a command with the GCE in that box: `just gcpbox bigpi --system gcp`.
gcpbox *command:
    uv run python -m tests.support.gcp {{command}}

# The same for Azure in a box.
azurekit *arguments:
    BIGMACHINE_TEST_AZURE_KIT=1 uv run pytest tests/conformance/backends/test_azure_box.py -m long {{arguments}}

# Run a command with the Azure in that box: `just azurebox bigpi --system azure`.
azurebox *command:
    uv run python -m tests.support.azure {{command}}

# Run the benchmarks, of bigmachine and of other libraries.
bench *arguments:
    uv run --group peers python -m benchmarks {{arguments}}

# Build sdists and wheels into dist/.
build:
    uv build --all-packages

# Run everything that a change must pass.
ci:
    .ci/run
