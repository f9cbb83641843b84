# One-word tasks. `just` is optional: each is one command, shown here and in CONTRIBUTING.md.

# List the tasks.
default:
    @just --list

# Run all tests, or those given.
test *arguments:
    uv run pytest {{arguments}}

# Check style and formatting.
lint:
    uv run ruff check
    uv run ruff format --check

# Check types.
types:
    uv run mypy

# Check who imports whom.
layers:
    uv run lint-imports

# Run the snippets of the documentation; check its links and that nothing is missing.
docs:
    uv run pytest tests/docs

# Write docs/reference.md, from the docstrings.
reference:
    uv run python docs/make_reference.py

# Prove that a backend keeps the contract: `just conformance local`.
conformance *arguments:
    uv run bigmachine conformance {{arguments}}

# Test on a real account, with real money; it asks first: `just test-cloud ec2`.
test-cloud *arguments:
    uv run python -m tests.cloud {{arguments}}

# Make the image that the tests' cloud in a box boots its hosts from. Needs root and apt.
cloudbox:
    uv run python -m tests.cloudbox build

# Run the conformance kit on an EC2 in that box, in a quarter of an hour.
ec2kit *arguments:
    BIGMACHINE_TEST_LONG=1 uv run pytest tests/ec2/test_ec2_box_conformance.py {{arguments}}

# Run a command with an EC2 in that box: `just ec2box bigpi --system ec2`.
ec2box *command:
    uv run python -m tests.ec2 {{command}}

# Measure, with the peers.
bench *arguments:
    uv run --group peers python -m benchmarks {{arguments}}

# Build sdists and wheels into dist/.
build:
    uv build --all-packages

# All that a change must pass.
ci:
    .ci/run
