"""Memory that large buffers are in, and how it is shared between processes of one host.

`_mapping` is what can be shared, and `_write` copies a message to it; `_socket` hands it to the
other end, past the wire, if that is whom it should be (`_peer`) and the user allows it (`_switch`).
`_kept_payload` is what several machines get, written once. Memory that a process has for itself
comes from `_allocation`; `_descriptors` loses none.
"""
