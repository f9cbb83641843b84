"""How what machines print and log is given to the driver's user.

`machine._output` cuts it into lines. `_stderr` shows them, as the text of `_stderr_entries`, as
fast as a person reads (`_pace`), on whatever stream there is (`_text_streams`), beside a live table
(`_screen`). Log records go to the driver's `logging` by `_handle_record`.
"""
