"""What a user's object becomes: a named service, its typed stub, its methods in processes.

Its names are exported by `bigmachine`; nothing is imported here, so that each is cheap by itself.
"""
