"""What the HTTP client and the HTTP server must agree on."""

from __future__ import annotations

PROTOCOL = "bigmachine/1"
"""The upgrade token: the protocol's name and version."""

LIMIT_HEADER = "bigmachine-limit"
"""The header of the 101 response that has the largest message accepted, in bytes."""

CONNECTION_HEADER = "bigmachine-connection"
"""The header of the 101 response that names a connection to which lanes can be added."""

LANE_HEADER = "bigmachine-lane"
"""The header of an upgrade request for a lane: the connection's name, a space, and its number."""

LOOP_LANE = " loop"
"""What follows in it for a lane to the machine's loop; else the lane is one to a thread."""

MEMORY_HEADER = "bigmachine-memory"
"""The header of a 101 response that offers shared memory: a Unix socket's name, and a secret."""

STATUS_RAISED = 590
"""The status if the method raised: the body is the pickled error, or JSON that describes it."""

PICKLE_TYPE = "application/x-pickle"
"""The content type of pickled arguments and results."""
