"""User objects as services: check, names, decorators and stubs; and what users see of errors.

`bigmachine` exports what users need. Nothing is imported here, so each module stays cheap.
"""
