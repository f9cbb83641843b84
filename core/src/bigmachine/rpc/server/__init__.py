"""The machine's end of the wire; `bigmachine.rpc` exports what others use.

* `_server` accepts connections, as many as `_admission` allows; `_traffic` counts their bytes. Each
  begins as HTTP (`_http`). It may become a `_connection` for frames, or one of `lanes/`. Callers of
  the same host have another one, for large buffers (`_memory_listener`).
* `calls/`: one call, from its arrival to its outcome. POST requests have `_encodings`. What streams
  has `_generators` and `_stream_arguments`.
* `pools/`: what runs the methods. Parallel ones run in `_processes`, and `processes/` is what these
  and the machine say to each other.
* The services are in `_registry`; a `_gate` bounds how many methods of one run at once. A call with
  wrong arguments gets an `_option_hint`.
"""
