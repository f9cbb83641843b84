"""What both ends do in a trio loop: it knows nothing of the wire.

`_tasks` are used again; `_queue` is what other threads have a loop do; `_turns` is what an
exclusive method gives up while it waits; `_silence` tells a silent peer from a late loop.
"""
