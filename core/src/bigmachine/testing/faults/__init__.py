"""Faults: a plugin that hurts any system's connections, at a seeded rate."""

from ._plan import Direction as Direction
from ._plan import Fault as Fault
from ._plan import Injection as Injection
from ._plan import plan as plan
from ._plugin import Faults as Faults
