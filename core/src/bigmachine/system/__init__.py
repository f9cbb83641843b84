"""The hook spec of backends, `System`, and the types of its arguments and results."""

from .._events import Event as Event
from .._identity import Identity as Identity
from .._values import Instance as Instance
from .._values import Keepalive as Keepalive
from .._values import LinePart as LinePart
from .._values import Notice as Notice
from .._values import Termination as Termination
from ._check import CheckedRequest as CheckedRequest
from ._check import CheckReport as CheckReport
from ._check import Verdict as Verdict
from ._cloud_options import CloudOptions as CloudOptions
from ._driver_address import DriverAddresses as DriverAddresses
from ._driver_address import public_address as public_address
from ._driver_address import source_address as source_address
from ._options import NoOptions as NoOptions
from ._options import check_options as check_options
from ._request import LaunchRequest as LaunchRequest
from ._request import MachineSpec as MachineSpec
from ._system import Capability as Capability
from ._system import System as System
from ._system import gives_notices as gives_notices
from ._system import hookimpl as hookimpl
from ._system import hookspec as hookspec
