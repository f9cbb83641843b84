"""What frees the leftovers of drivers that died: a process beside the driver, and a command.

Nothing is imported here: the process beside the driver is to be small.
"""
