"""What must be the same at both ends: the driver's environment, captured and described.

A local file passes through these modules, in this order:

1. `_capture`: `capture` describes this process's Python, its distributions and its local folders.
2. `_import_path`: which entries of the import path are the user's own folders.
3. `_places`: whether such a folder is a project's, and not the user's home or a shared one.
4. `_scan`: which files of it are sent; `_ignore_files` and `_secrets` say which are not.
5. `_archive`: its small files go into one archive, and each large file is a part of its own.
6. `_blob`: each of these is a `Blob`, named by its hash in the manifest of an `Environment`.

A distribution passes through `_distributions` and, if a machine needs its wheel, `_wheels`.
What is not sent is a `LeftOut`, from wherever that was decided.
"""

from ._availability import Problem as Problem
from ._blob import Blob as Blob
from ._capture import capture as capture
from ._difference import difference as difference
from ._distributions import Distribution as Distribution
from ._distributions import Origin as Origin
from ._environment import Environment as Environment
from ._left_out import LeftOut as LeftOut
from ._left_out import Reason as Reason
from ._scan import File as File
from ._scan import Folder as Folder
from ._target import Target as Target
