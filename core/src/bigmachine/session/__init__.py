"""What a driver opens: a session, asynchronous or synchronous, and what it costs.

`_async` is the session, and `_sync` the same for ordinary threads, whose loop runs in
`_loop_thread`; `_arguments` checks what they are given. Below:

* Its machines: `_starter` starts them, `_fleet` knows them. A service on a machine reaches the
  others by `_peers`.
* What it watches: the cost (`_cost`), machines without work (`_idle`), machines that fall silent
  (`_silence`), and the sleep of the driver's computer (`_suspension`).
* What it finds out of all machines: `_inspection`, `_variables`, both by `_ask`; a dump at Ctrl-\\:
  `_quit_signal`.
* What it logs: `_event_log`, in the thread of `_log_thread`. What machines print is shown in the
  cell of a notebook, or the test, that called: `_cells`. What it shows of itself: `_repr`.
* Its end: `_closing`.

The public names are exported by `bigmachine`; nothing is imported here, since trio is imported
late.
"""
