"""One call of a method, from its arrival to its outcome.

`_call` is what all calls have in common. A call arrives as a frame (`_framed_call`), over a
connection (`_connection_call`) or a lane (`_lane_call`), or as a POST request (`_post_call`); with
a trace context it is a `_traced_call`. `_process_work` is what runs for a call of a parallel
method. What a ``def`` method returned may go on in the loop: `_result_in_loop`. `_asyncio` says
what to do instead of asyncio, and `_running_method` which method a frame runs.
"""
