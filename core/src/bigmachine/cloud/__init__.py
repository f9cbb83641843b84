"""For authors of cloud backends: what every cloud needs, and no backend should write again.

Importing it imports trio, so a backend's module that is imported first imports it late.
"""

from ._access import Access as Access
from ._access import Firewall as Firewall
from ._await_up import NewVm as NewVm
from ._await_up import await_up as await_up
from ._await_up import report_down as report_down
from ._backoff import backoff as backoff
from ._backoff import poll_intervals as poll_intervals
from ._batch import Batch as Batch
from ._batch import for_each as for_each
from ._budget import Prices as Prices
from ._budget import affordable as affordable
from ._budget import check_max_price as check_max_price
from ._budget import check_prices as check_prices
from ._clock_skew import clock_advice as clock_advice
from ._clock_skew import clock_skew as clock_skew
from ._errors import CloudError as CloudError
from ._launch import Launch as Launch
from ._launch_method import LaunchedVm as LaunchedVm
from ._launch_method import LaunchMethod as LaunchMethod
from ._launch_method import LaunchResult as LaunchResult
from ._machine_addresses import MachineAddresses as MachineAddresses
from ._machine_names import MachineNames as MachineNames
from ._metadata import MetadataClient as MetadataClient
from ._metadata import MetadataError as MetadataError
from ._metadata import parse_time as parse_time
from ._nearest_name import nearest_name as nearest_name
from ._network_advice import network_advice as network_advice
from ._offer import Offer as Offer
from ._parallel import Parallel as Parallel
from ._parallel import Pending as Pending
from ._plain_text import plain_text as plain_text
from ._python_release import python_release as python_release
from ._quiet import quiet as quiet
from ._rate_limiter import RateLimiter as RateLimiter
from ._resource_names import NAME_PREFIX as NAME_PREFIX
from ._resource_names import session_label as session_label
from ._resource_names import session_resource_name as session_resource_name
from ._resource_names import vm_name as vm_name
from ._rest_error import RestError as RestError
from ._retries import Retries as Retries
from ._scope import Refusals as Refusals
from ._scope import RuledOut as RuledOut
from ._scope import Scope as Scope
from ._session_resources import SessionResources as SessionResources
from ._session_resources import SessionVm as SessionVm
from ._system import CONTACT_SECONDS as CONTACT_SECONDS
from ._system import CloudSystem as CloudSystem
from .guest import GuestError as GuestError
from .guest import GuestSetup as GuestSetup
from .guest import NvmeDisk as NvmeDisk
from .guest import empty_disk as empty_disk
from .guest import nvme_disks as nvme_disks
from .guest import read_public_keys as read_public_keys
