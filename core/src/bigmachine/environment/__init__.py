"""What must be the same at both ends: the driver's environment, described and made to travel.

`capture` looks at this process's Python, at all that is installed and at the local
folders that modules are imported from. The `Environment` it returns says what to
send to a machine, and opens it.
"""

from ._availability import Problem as Problem
from ._blob import Blob as Blob
from ._capture import capture as capture
from ._difference import difference as difference
from ._distributions import Distribution as Distribution
from ._distributions import Origin as Origin
from ._environment import Environment as Environment
from ._scan import File as File
from ._scan import Folder as Folder
from ._sizes import size_text as size_text
from ._target import Target as Target
