"""How a provider's API is called: how fast, how often, and how many at once.

`_rate_limiter` says how fast, `_retries` which requests are repeated, and `_backoff` after which
delay. `_batch` combines many questions in one request; `_parallel` makes several requests at once.
`_quiet` keeps what the provider's library logs meanwhile out of the user's log.
"""
