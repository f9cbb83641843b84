"""Traces of a session by OpenTelemetry: its boots and its calls, across driver and machines.

::

    from bigmachine.otel import OpenTelemetry

    with bm.Session("local", plugins=[OpenTelemetry()]) as session: ...

Needs the extra ``bigmachine[otel]``.
"""

from ._observer import OpenTelemetry as OpenTelemetry
