"""The launch templates that fleets need: created on demand, deleted when the start ends."""

from __future__ import annotations

import logging
import secrets
from types import TracebackType

import trio

from ..api._api import Api
from ..api._errors import AwsError
from ..plan._offers import Offer
from ._launch_specification import LaunchSpecification

logger = logging.getLogger("bigmachine.ec2")

_DELETE_TIMEOUT = 30.0


class LaunchTemplates:
    """The launch templates of one start, an async context manager.

    A template that can't be deleted is left to `Leftovers`.
    """

    def __init__(self, api: Api, specification: LaunchSpecification, *, session: str) -> None:
        self._api = api
        self._specification = specification
        self._session = session
        self._names: dict[tuple[str, str], str] = {}  # by market and image

    async def __aenter__(self) -> LaunchTemplates:
        return self

    async def __aexit__(
        self,
        type: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with trio.move_on_after(_DELETE_TIMEOUT, shield=True):
            try:
                for name in self._names.values():
                    await self._delete(name)
            except AwsError as error:
                logger.warning("a launch template is left until the session ends: %s", error)

    async def name(self, offer: Offer) -> str:
        """Return the name of the template for this market and image. Raises `AwsError`."""
        key = offer.market, offer.image.id
        if key not in self._names:
            token = secrets.token_hex(8)
            # Noted before it exists, so that it is deleted even if the response is lost.
            name = self._names[key] = f"bigmachine-{self._session}-{token}"
            request = self._specification.launch_template_request(offer, name=name)
            try:
                await self._api.write("ec2:CreateLaunchTemplate", ClientToken=token, **request)
            except AwsError as error:
                if not error.is_outcome_unknown:
                    del self._names[key]
                raise
            finally:
                self._api.note_new(name)
        return self._names[key]

    async def _delete(self, name: str) -> None:
        try:
            await self._api.write("ec2:DeleteLaunchTemplate", LaunchTemplateName=name)
        except AwsError as error:
            if not error.is_not_found:  # the response to its creation or deletion was lost
                raise
        self._api.forget(name)
