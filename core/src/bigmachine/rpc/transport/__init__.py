"""How frames get to the other end: their order, their bodies, and TLS.

What is to be sent waits in `_outbox`, messages with large parts as an `_outgoing_body`. What
arrives is read by `_decoder`, the parts of a message into an `_incoming_body`, or into a
`_discarded_body` if there is no memory for them. Between these are a `_channel`, for sockets
that of `_tls`, and for two threads that wait for each other `_lane_channel`.
"""
