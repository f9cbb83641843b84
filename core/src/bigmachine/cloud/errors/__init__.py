"""A provider's errors: what kind they are, and what to tell the user.

`_cloud_error` is the base of all, and `_rest_error` that of REST APIs, whose answers may also be
`_plain_text`. `_note_errors` goes on after an error, and raises it later. Advice: `_clock_skew`,
`_nearest_name`, `_network_advice`.
"""
