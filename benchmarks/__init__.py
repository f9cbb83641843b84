"""bigmachine, its baseline and its peers: run `python -m benchmarks` from the repository's root."""
