"""What a person sees while `start` starts machines: on a terminal, in a pipe, in a notebook."""
