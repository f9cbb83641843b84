"""What runs on a bare machine: the standard library only, Python 3.9 and later.

`bigmachine.boot.user_data` sends these modules to it, joined into one file.
"""
