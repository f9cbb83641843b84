"""User objects as services: their check, the names and decorators of their methods, stubs.

`bigmachine` exports what users need. Nothing is imported here, so each module stays cheap.
"""
