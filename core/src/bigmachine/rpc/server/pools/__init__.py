"""What runs the methods, threads and tasks, and the account of their calls.

`_pools` is all of it. `_threads` run ``def`` methods, each as a `_thread_job`; `_place_watch` names
those that hold their places and wait. `_work` is what a call sees of what runs for it.
`_call_ledger` is the account of all calls; `_call_span` has their traces.
"""
