"""bigmachine beside its floor and its peers: run `python -m benchmarks` from the repo root."""
