"""What machines print and log: how records of `logging` travel, and what is kept of it all.

The end on the machine needs the standard library only, as each machine and each process of a
parallel method imports it.
"""
