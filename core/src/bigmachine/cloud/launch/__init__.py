"""What is purchased, and how, until there are enough instances.

`_launch` tries one `_launch_method` after the other, with what an `_offer` describes and `_budget`
and `_quotas` allow; `_scope` says what an error rules out. `_await_up` waits until instances are
up. Their image needs the driver's Python: `_python_release`.
"""
