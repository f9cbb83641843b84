"""What a driver opens: a session, asynchronous or synchronous, and what it costs.

Its names are exported by `bigmachine`; nothing is imported here, since trio is imported late.
"""
