"""What is pickled otherwise than cloudpickle does it, and sent by value.

`_pickler` asks the others. `_modules` decides what no other process can import by name; such
classes are sent by `_classes`, without running the user's code (`_quiet_class`), enums by
`_enums`, and what else cloudpickle can't send by `_by_value`, some of it once (`_once`).
Exceptions are taken apart and made again by `_exception_state`.
"""
