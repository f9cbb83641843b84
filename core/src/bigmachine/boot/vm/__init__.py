"""What runs on a bare machine: standard library only, Python 3.9 and later.

`bigmachine.boot.user_data` sends the boot program, `program` and all that it imports, joined
into one file; see `bigmachine.boot._bundle`. `builder` and `tools` follow later, with the
manifest.
"""
