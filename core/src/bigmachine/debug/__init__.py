"""A look inside a running session, over HTTP on loopback: a page, its data, and plain text.

`_server` says who may look and answers requests, `_http` reads and writes them, `_board` knows
what has happened to each machine, `_measures` asks machines how they are while somebody looks, and
`_text` is the page for terminals.
"""
