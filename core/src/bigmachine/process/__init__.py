"""How Python processes are started, and what a forked child of the driver must not keep."""

from ._breakpoint import on_breakpoint as on_breakpoint
from ._breakpoint import pass_over_breakpoints as pass_over_breakpoints
from ._breakpoint import warn_once as warn_once
from ._command import module_path as module_path
from ._command import python_command as python_command
from ._command import python_environ as python_environ
from ._command import start_command as start_command
from ._fork import FORKED as FORKED
from ._fork import close_in_children as close_in_children
from ._fork import end_child as end_child
from ._open_files import allow_open_files as allow_open_files
from ._start import open_standard_descriptors as open_standard_descriptors
from ._start import pack as pack
from ._start import prepare_output as prepare_output
from ._start import read_header as read_header
from ._start import unpack as unpack
from ._variables import settable as settable
