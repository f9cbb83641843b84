"""Where the machines' time and memory go: profiles, thread dumps, and how they are shown.

Machines take them of their own process, by the standard library alone; the driver merges them.
"""

from __future__ import annotations

from ._profile import Profile as Profile
from ._samples import Frame as Frame
from ._samples import Sample as Sample
from ._samples import ValueType as ValueType
from ._thread_dump import ThreadDump as ThreadDump
from ._thread_dump import ThreadStack as ThreadStack
