"""One machine, seen from the driver: its lifecycle, its connection, its output.

Its names are exported by `bigmachine`; nothing is imported here, since trio is imported late.
"""
