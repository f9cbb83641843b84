"""User objects as services: names of methods, stubs, `parallel`; and what users see of errors.

`bigmachine` exports what users need. Nothing is imported here, so each module stays cheap.
"""
