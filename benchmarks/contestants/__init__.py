"""One module per contestant; `benchmarks._contestant` says what a contestant must offer."""
