"""Counters, gauges and histograms: users' own, and what a machine knows of itself.

Standard library only: the server that counts its calls imports it, and so does a service's module.
"""

from __future__ import annotations

from ._instruments import Counter as Counter
from ._instruments import Gauge as Gauge
from ._instruments import Histogram as Histogram
from ._metric import Metric as Metric
from ._metric import Series as Series
from ._openmetrics import OPENMETRICS_TYPE as OPENMETRICS_TYPE
from ._registry import counter as counter
from ._registry import gauge as gauge
from ._registry import histogram as histogram
from ._session_variables import SessionVariables as SessionVariables
from ._value import Value as Value
from ._variables import Variables as Variables
