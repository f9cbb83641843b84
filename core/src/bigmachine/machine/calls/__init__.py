"""The calls to one machine, and their futures.

`_calls` makes each, by its `_options`; `_observed_call` tells observers. What `submit` returns is
a `_future`, in a method on a machine a `_yielding_future`; its done-callbacks run in `_callbacks`.
An error of one that nobody asks for is logged by `_unasked_error`. What could not be finished in
the caller's thread is `_unfinished`.
"""
