"""`Faults`: a plugin that injects faults into the connections of any system."""

from ._plan import Direction as Direction
from ._plan import Fault as Fault
from ._plan import Injection as Injection
from ._plugin import Faults as Faults
