"""For authors of cloud backends: what every cloud needs, and no backend should write again.

`_system` has the hooks that are the same on all clouds; by `_access` the driver is let in to its
machines, at `_machine_addresses`. Below: `launch/`, `resources/`, `requests/`, `errors/`, and for
the machine itself `guest/`. The options of clouds are in `bigmachine.system`.

Importing it imports trio, so a backend's module that is imported first imports it late.
"""

from .._cache_folder import cache_folder as cache_folder
from .._full_names import session_name as session_name
from ._access import Access as Access
from ._access import Firewall as Firewall
from ._machine_addresses import MachineAddresses as MachineAddresses
from ._system import CONTACT_SECONDS as CONTACT_SECONDS
from ._system import CloudSystem as CloudSystem
from .errors._clock_skew import clock_advice as clock_advice
from .errors._clock_skew import clock_skew as clock_skew
from .errors._cloud_error import CloudError as CloudError
from .errors._nearest_name import nearest_name as nearest_name
from .errors._network_advice import network_advice as network_advice
from .errors._note_errors import note_errors as note_errors
from .errors._plain_text import plain_text as plain_text
from .errors._rest_error import RestError as RestError
from .guest import GuestError as GuestError
from .guest import GuestSetup as GuestSetup
from .guest import NvmeDisk as NvmeDisk
from .guest import empty_disk as empty_disk
from .guest import nvme_disks as nvme_disks
from .guest import read_public_keys as read_public_keys
from .guest._metadata import MetadataClient as MetadataClient
from .guest._metadata import MetadataError as MetadataError
from .guest._metadata import parse_time as parse_time
from .launch._await_up import NewVm as NewVm
from .launch._await_up import await_up as await_up
from .launch._await_up import report_down as report_down
from .launch._budget import Prices as Prices
from .launch._budget import affordable as affordable
from .launch._budget import check_max_price as check_max_price
from .launch._budget import check_prices as check_prices
from .launch._budget import price_seconds as price_seconds
from .launch._budget import within_max_price as within_max_price
from .launch._launch import Launch as Launch
from .launch._launch_method import LaunchedVm as LaunchedVm
from .launch._launch_method import LaunchMethod as LaunchMethod
from .launch._launch_method import LaunchResult as LaunchResult
from .launch._offer import Offer as Offer
from .launch._python_release import python_release as python_release
from .launch._quotas import Quota as Quota
from .launch._quotas import Quotas as Quotas
from .launch._scope import Refusals as Refusals
from .launch._scope import RuledOut as RuledOut
from .launch._scope import Scope as Scope
from .requests._backoff import backoff as backoff
from .requests._backoff import poll_intervals as poll_intervals
from .requests._batch import Batch as Batch
from .requests._batch import for_each as for_each
from .requests._parallel import Parallel as Parallel
from .requests._parallel import Pending as Pending
from .requests._quiet import quiet as quiet
from .requests._rate_limiter import RateLimiter as RateLimiter
from .requests._retries import Retries as Retries
from .resources._machine_names import MachineNames as MachineNames
from .resources._resource_names import NAME_PREFIX as NAME_PREFIX
from .resources._resource_names import session_label as session_label
from .resources._resource_names import session_resource_name as session_resource_name
from .resources._resource_names import vm_name as vm_name
from .resources._session_facts import machine_port as machine_port
from .resources._session_facts import resource_details as resource_details
from .resources._session_facts import session_facts as session_facts
from .resources._session_resources import SessionResources as SessionResources
from .resources._session_resources import SessionVm as SessionVm
