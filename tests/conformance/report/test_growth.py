"""What the kit counts as a backend's own, to see whether it grows."""

import functools
from urllib.parse import urlsplit

from bigmachine.testing import InProcessSystem
from bigmachine.testing.conformance._growth import Inventory


class OwnSystem(InProcessSystem):
    pass


@functools.lru_cache
def own(number: int) -> int:
    return number


def test_cache_of_another_librarys_function_is_not_the_backends() -> None:
    own(1)
    urlsplit("http://own.example")
    counts = Inventory(OwnSystem).count(helpers=[], files=0, leftovers=0)
    assert {name for name in counts if name.startswith(f"cached results of {__name__}.")} == {
        f"cached results of {__name__}.own"
    }
