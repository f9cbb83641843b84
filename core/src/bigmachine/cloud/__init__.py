"""For authors of cloud backends: what every cloud needs, and no backend should write again.

Importing it imports trio, so a backend's module that is imported first imports it late.
"""

from ._backoff import backoff as backoff
from ._backoff import poll_intervals as poll_intervals
from ._batch import Batch as Batch
from ._batch import for_each as for_each
from ._errors import CloudError as CloudError
from ._metadata import MetadataClient as MetadataClient
from ._metadata import MetadataError as MetadataError
from ._metadata import parse_time as parse_time
from ._rate_limiter import RateLimiter as RateLimiter
from .guest import GuestError as GuestError
from .guest import GuestSetup as GuestSetup
