"""Instances of all sessions: listed, found by their tags, and terminated."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import trio

from bigmachine.cloud import Batch, for_each, poll_intervals
from bigmachine.system import Instance

from ..api._api import Api
from ..api._errors import AwsError
from ..options import _tags
from ..options._options import TAG_PREFIX
from ._vm import Vm

logger = logging.getLogger("bigmachine.ec2")

_MAX_VALUES = 200  # values that a filter takes, by the API reference of DescribeInstances
LIVE_STATES = ("pending", "running", "stopping", "stopped", "shutting-down")


class Vms:
    """The instances of all sessions in one region. Tasks that ask at once share requests."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._describe = Batch(self._describe_all, max_keys=_MAX_VALUES)
        self._terminate = Batch(self._terminate_all, max_keys=_MAX_VALUES)
        self._cut_off = Batch(self._cut_all_off, max_keys=_MAX_VALUES)

    async def describe(self, id: str) -> Vm | None:
        """Return an instance as it is now; None if EC2 has no such instance. Raises `AwsError`."""
        return await self._describe(id)

    async def await_ours(self, id: str) -> Vm | None:
        """Return an instance as it is now, once EC2 finds it and its tags if it is new.

        Returns None if there is no such instance, or if no session launched it.
        """
        for delay in poll_intervals():
            vm = await self.describe(id)
            if vm is not None and vm.is_ours:
                return vm
            if not self._api.is_new(id):
                break
            await trio.sleep(delay)
        return None

    async def find(self, **tags: Sequence[str]) -> list[Vm]:
        """Return the instances of all sessions that are not terminated, filtered by tags.

        A filter is the tag's name without its prefix: ``session=``, or ``request=`` for what the
        requests with these tokens launched. Raises `AwsError`.
        """
        filters = [
            {"Name": "instance-state-name", "Values": [*LIVE_STATES]},
            {"Name": "tag-key", "Values": [_tags.SESSION]},
            *_tags.filters({TAG_PREFIX + key: values for key, values in tags.items()}),
        ]
        return await self._describe_instances(filters)

    async def find_ours(self, instance: Instance) -> str:
        """Return an instance's id, found by its id or its name; "" unless a session launched it."""
        if instance.id:
            return instance.id if await self.await_ours(instance.id) else ""
        session = instance.name.partition(".")[2]
        if not session:
            return ""
        found = await self.find(session=[session])
        return next((vm.id for vm in found if vm.name == instance.name), "")

    async def tag_labels(self, labels: Mapping[str, str]) -> None:
        """Tag instances with their labels, given by id, for other processes. Raises `AwsError`."""

        async def tag(batch: tuple[list[str], dict[str, str]]) -> None:
            ids, tags = batch
            await self._api.write("ec2:CreateTags", Resources=ids, Tags=_tags.pairs(tags))

        await for_each(_tags.machines_tags(labels), tag)

    async def terminate(self, ids: Iterable[str], *, done: Container[str] = ()) -> None:
        """Terminate instances; return when all are terminated. Raises `AwsError`.

        The operating systems of those that are ``done`` are not shut down, if AWS can do without.
        """

        async def terminate(id: str) -> None:
            await self._terminate_one(id, self._cut_off if id in done else self._terminate)

        await for_each(ids, terminate)

    async def _terminate_one(self, id: str, request: Batch[bool]) -> None:
        is_requested = False
        for delay in poll_intervals():
            is_requested = is_requested or bool(await request(id))
            vm = await self.describe(id)
            if vm.is_terminated if vm else not self._api.is_new(id):
                return
            await trio.sleep(delay)

    async def _describe_all(self, ids: Sequence[str]) -> dict[str, Vm]:
        # By a filter, because an unknown id is no error there.
        found = await self._describe_instances([{"Name": "instance-id", "Values": [*ids]}])
        return {vm.id: vm for vm in found}

    async def _describe_instances(self, filters: Sequence[Mapping[str, Any]]) -> list[Vm]:
        reservations = await self._api.read_all(
            "ec2:DescribeInstances", "Reservations", Filters=[*filters]
        )
        found = [
            Vm.from_response(raw)
            for reservation in reservations
            for raw in reservation["Instances"]
        ]
        self._api.note_new(*(vm.id for vm in found if vm.is_ours and not vm.is_terminated))
        return found

    async def _cut_all_off(self, ids: Sequence[str]) -> dict[str, bool]:
        """Terminate these without a shutdown of their operating systems, if that is possible.

        AWS has had the parameter since July 2025 ("Methods for terminating an instance" in the EC2
        User Guide), and older versions of botocore refuse it.
        """
        if await self._api.takes("ec2:TerminateInstances", "SkipOsShutdown"):
            try:
                return await self._terminate_all(ids, SkipOsShutdown=True)
            except AwsError as error:
                if error.is_temporary:
                    raise
                logger.debug("SkipOsShutdown is refused: %s", error)
        return await self._terminate_all(ids)

    async def _terminate_all(self, ids: Sequence[str], **parameters: bool) -> dict[str, bool]:
        """Terminate these; return which of them EC2 knows. One unknown id fails a whole request.

        EC2 denies it for one that is gone, or whose tags are, if the policy permits tagged ones
        only (karpenter-provider-aws, issue 2100 and pull request 2253). "Tags … may no longer be
        visible on the terminated instance after a short while" ("Terminate Amazon EC2 instances").
        """
        try:
            await self._api.write(
                "ec2:TerminateInstances", waits_for_new=False, InstanceIds=[*ids], **parameters
            )
        except AwsError as error:
            if error.is_not_found and len(ids) == 1:
                return {ids[0]: False}
            if not (error.is_not_found or error.is_denied):
                raise
            found = await self._describe_all(ids)
            left = [id for id, vm in found.items() if not vm.is_terminated]
            if error.is_denied and len(left) == len(ids):
                raise
            accepted = (
                await self._terminate_all(left, **parameters) if 0 < len(left) < len(ids) else {}
            )
            return {id: accepted.get(id, id in found and id not in left) for id in ids}
        return dict.fromkeys(ids, True)
