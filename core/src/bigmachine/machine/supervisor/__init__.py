"""What the driver has a machine do and tell by itself, by the methods of its supervisor.

`_client` has these methods. By them the driver installs services (`_service_batch`, large ones by
`_service_relay`), learns whether the machine has work (`_activity`), what is in its memory
(`_memory_report`), its `_notices` and its `_spans`, and sets its loggers' levels (`_log_levels`).
"""
