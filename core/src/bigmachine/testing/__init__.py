"""For tests: of programs that use machines, and of backends that bring them."""
