"""Which services have methods that run in processes."""

from __future__ import annotations

from ._decorators import runs_in_processes
from ._names import method_names


def has_parallel_methods(service: object) -> bool:
    """Whether methods of ``service`` run in processes: these need it pickled."""
    methods = [getattr(service, method) for method in method_names(service)]
    return any(map(runs_in_processes, [service, *methods]))
