"""What a machine and the processes of its parallel methods say to each other.

`rpc.server._processes` starts and uses them. What goes over the socket between them is in
`_messages`: `_profiles`, `_traces` and, as `_reports`, what they count.
"""
