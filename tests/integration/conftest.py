from __future__ import annotations

from tests.support.cloudbox.fixtures import in_box as in_box
