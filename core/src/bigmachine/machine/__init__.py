"""One machine, seen from the driver: its lifecycle, its connection, its output.

`_async` is what users hold, `_async_stream` what its `stream` returns, and `_sync` the same for
ordinary threads, by way of `_portal`. Below:

* `calls/`: calls to it, and their futures. Their time limits, which can stand still, are
  `_time_limits`; `_submitted` are the calls that others must not overtake.
* Its life: `_controller` leads it from state to state (`_lifecycle`). `_startup` connects and
  installs its services; `_link` makes the connection, and makes it again when it is lost;
  `_keepalive` asks for signs of life; `_ending` has it end and be freed.
* `supervisor/`: what the driver has it do and tell by itself.
* Output: it comes from the system, or over the wire (`_log`), is cut into lines (`_output`) and
  shown (`output/`), or read (`_log_lines`).
* What it shows of itself: `_repr`, `_html`.

The public names are exported by `bigmachine`; nothing is imported here, since trio is imported
late.
"""
