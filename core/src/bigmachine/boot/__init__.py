"""How a machine comes up: what the driver hands a backend, and what reaches the machine."""

from .._driver import Driver as Driver
from ..system._request import LaunchRequest as LaunchRequest
from ..system._request import MachineSpec as MachineSpec
from ..system._request import machine_names as machine_names
from ..system.cloud._vm_options import PORT as PORT
from ._config import WorkerConfig as WorkerConfig
from ._user_data import user_data as user_data
