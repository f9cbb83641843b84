"""How machines are purchased: what requests say, and one after the other until enough run."""
