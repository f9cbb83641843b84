"""How the emulated instances start and end: not at once, as AWS's, and with its reasons."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moto.ec2.models.instances import Instance, InstanceBackend, InstanceState, StateReason

from tests.support.aws.region import Region

if TYPE_CHECKING:
    from tests.support.aws.box import Ec2Box


@dataclass
class Lifecycle(Region):
    """The states of instances, as they are described."""

    answers_until_running: int = 1
    """How many times a new instance is described as pending, without a public address."""
    answers_until_terminated: int = 1
    launch_failure: tuple[str, str] | None = None
    """The state reason, code and message, for which instances end while they are launched."""
    fails_to_launch: Callable[[Instance], bool] = lambda vm: True
    """Which instances end like that."""
    box: Ec2Box | None = None
    """Where the instances are that really boot."""
    _pending: dict[str, list[Any]] = field(default_factory=dict)
    _ending: dict[str, float] = field(default_factory=dict)

    def let_instances_live(self) -> None:
        """Take back all that a test has arranged."""
        self.answers_until_running = self.answers_until_terminated = 1
        self.launch_failure = None
        self.fails_to_launch = lambda vm: True

    def clear(self) -> None:
        """Delete all that is left."""
        super().clear()
        self._pending.clear()
        self._ending.clear()

    def interrupt(self, id: str) -> None:
        """Take a spot instance back."""
        self._end(id, "Server.SpotInstanceTermination", "Spot instance termination")

    def power_off(self, id: str) -> None:
        """Have the guest of an instance power itself off."""
        self._end(id, "Client.InstanceInitiatedShutdown", "Instance initiated shutdown")

    def went_off(self, id: str) -> None:
        """Take note that an instance's host has gone off: as it was told to, or by itself."""
        with self._lock:
            [vm] = [vm for vm in self.instances() if vm.id == id]
            if vm.state == "shutting-down":
                self._ending[id] = 0
            elif vm.state != "terminated":
                self.power_off(id)

    @contextlib.contextmanager
    def hosting(self, box: Ec2Box, *, block: str) -> Iterator[Ec2Box]:
        """Have instances be hosts of ``box``, whose network is the default VPC's."""
        [vpc] = [vpc for vpc in self.ec2.vpcs.values() if vpc.is_default]
        [association] = vpc._cidr_block_association_set.values()
        first, self.box = association["cidr_block"], box
        vpc.cidr_block = association["cidr_block"] = block
        try:
            yield box
        finally:
            vpc.cidr_block = association["cidr_block"] = first
            self.box = None

    def _end(self, id: str, code: str, message: str) -> None:
        """End an instance for a reason that moto has not, of the API reference's StateReason."""
        with self._lock:
            [vm] = [vm for vm in self.instances() if vm.id == id]
            if code.startswith("Client.") and vm.instance_initiated_shutdown_behavior == "stop":
                vm._state = InstanceState("stopped", 80)
            else:
                self.ec2.terminate_instances([id])
                self._ending.pop(id, None)
                vm._state = InstanceState("terminated", 48)
            vm.state_reason = StateReason(f"{code}: {message}", code)

    def pass_time(self) -> None:
        """Let instances come nearer to their next state."""
        for vm in self.instances():
            if vm.id in self._pending:
                self._pending[vm.id][0] -= 1
                left, nic, address = self._pending[vm.id]
                if left <= 0:
                    del self._pending[vm.id]
                    nic.public_ip = address
                    vm._state = InstanceState("running", 16)
            elif vm.id in self._ending:
                self._ending[vm.id] -= 1
                if self._ending[vm.id] <= 0:
                    del self._ending[vm.id]
                    vm._state = InstanceState("terminated", 48)

    @contextlib.contextmanager
    def mended_instances(self) -> Iterator[None]:
        """Mend moto's models.

        * A new instance is ``pending``, and its public address is not there yet; one that is told
          to end is ``shutting-down`` first ("Amazon EC2 instance state changes").
        * To terminate an instance twice is fine (API reference of TerminateInstances).
        """
        run, terminate = InstanceBackend.run_instances, Instance.terminate
        aws = self

        def run_instances(self: Any, *args: Any, **kwargs: Any) -> Any:
            reservation = run(self, *args, **kwargs)
            for vm in reservation.instances if aws.answers_until_running else ():
                nic = vm.nics[0]
                aws._pending[vm.id] = [aws.answers_until_running, nic, nic.public_ip]
                vm._state = InstanceState("pending", 0)
                nic.public_ip = None
            for vm in filter(aws.fails_to_launch, reservation.instances):
                if aws.launch_failure is None:
                    break
                code, message = aws.launch_failure
                aws._end(vm.id, code, message)
                vm.state_reason = StateReason(message, code)
            for vm in reservation.instances if aws.box else ():
                aws.box.launch(vm)
            return reservation

        def terminate_instance(self: Any) -> Any:
            if self.state in ("shutting-down", "terminated"):
                return self._state
            previous = terminate(self)
            aws._pending.pop(self.id, None)
            answers: float = aws.answers_until_terminated
            if aws.box and self.id in aws.box.hosts:
                answers = float("inf")  # until it went off
                aws.box.end(self.id)
            if answers:
                aws._ending[self.id] = answers
                self._state = InstanceState("shutting-down", 32)
            return previous

        InstanceBackend.run_instances = run_instances
        Instance.terminate = terminate_instance
        try:
            yield
        finally:
            InstanceBackend.run_instances = run
            Instance.terminate = terminate
