"""How a machine comes up: what the driver hands a backend, and what reaches the machine."""

from .._driver import Driver as Driver
from ._order import Boot as Boot
from ._order import MachineBoot as MachineBoot
from ._order import WorkerConfig as WorkerConfig
from ._order import machine_names as machine_names
from ._user_data import PORT as PORT
from ._user_data import modules as modules
from ._user_data import user_data as user_data
