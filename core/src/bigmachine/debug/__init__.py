"""A look inside a running session, over HTTP: a page, its data, and plain text.

`_server` says who may look and answers requests, `_http` reads and writes them, `_board` knows
what has happened to each machine, `_measures` asks machines how they are while somebody looks,
`_text` is the page for terminals, and `_dump` puts all of it into an archive. `_local_socket`
serves the same to the user's other programs, which find it in the `_socket_folder`.
"""
