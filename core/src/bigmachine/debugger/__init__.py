"""pdb on machines, at the driver's terminal: breakpoints, and failed calls after the event.

A machine's side is `_breakpoints`, with one pdb for each method that is stopped (`_pdb`). The
driver's is `_debugger`, which talks with it for the person at the terminal (`_console`).
"""
