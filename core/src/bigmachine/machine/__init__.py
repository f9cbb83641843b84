"""One machine, seen from the driver: its lifecycle, its connection, its output.

`_async` is what users hold, and `_sync` the same for ordinary threads, by way of `_portal`. Below:

* Its life: `_controller` leads it from state to state (`_lifecycle`). `_startup` connects and
  installs its services (`_service_batch`, large ones by `_service_relay`); `_link` makes the
  connection, and makes it again when it is lost; `_keepalive` asks for signs of life; `_ending`
  has it end and be freed.
* What the driver asks it by itself goes through `_supervisor_client`. So it learns whether the
  machine has work (`_activity`), what is in its memory (`_memory_report`), its notices
  (`_notices`) and its spans (`_spans`), and sets its loggers' levels (`_log_levels`). `_ask` asks
  all machines of a session the same.
* Calls: `_calls` makes each, by `_call_options` and `_time_limits`; `_observed_call` tells
  observers. What `stream` returns is `_async_stream`, what `submit` returns `_future`, on machines
  `_yielding_future`; with `_callbacks`, `_submitted`, `_unfinished` and `_unasked_error`.
* Output: it comes from the system, or over the wire (`_log`), is cut into lines (`_output`) and
  shown (`_stderr`, `_stderr_entries`, `_pace`, `_text_streams`) beside a live table (`_screen`), or
  read (`_log_lines`). Its log records are handled by `_handle_record`.
* What it shows of itself: `_repr`, `_html`.

The public names are exported by `bigmachine`; nothing is imported here, since trio is imported
late.
"""
