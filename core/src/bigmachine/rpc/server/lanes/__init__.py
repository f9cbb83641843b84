"""The machine's end of lanes: connections that carry one call at a time.

`_served_lane` is what they have in common; a `_thread_lane` leads to a thread, for ``def`` methods,
a `_loop_lane` to the loop, for ``async def`` methods. Calls of threads: `calls/_lane_call`.
"""
