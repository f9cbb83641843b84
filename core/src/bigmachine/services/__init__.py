"""User objects as services: the names of their methods, typed stubs, and `parallel` methods.

`bigmachine` exports what users need. Nothing is imported here, so each module stays cheap.
"""
