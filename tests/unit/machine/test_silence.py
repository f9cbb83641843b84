"""A machine closes the connections of members that send nothing, and of nobody else."""

from __future__ import annotations

import trio

import bigmachine as bm
from bigmachine.rpc import FrameConnection, dial
from bigmachine.worker._serve import SILENCE_KEEPALIVES
from tests.support.services import Echo


class KeepClient:
    @bm.hookimpl(wrapper=True)
    def http_client(self):
        self.http = yield
        return self.http


def test_machine_closes_connection_of_silent_member(run):
    async def main(kit):
        client = KeepClient()
        async with kit.session(plugins=[client]) as session:
            [machine] = await session.start(1, services={"Echo": Echo()})
            timeout = SILENCE_KEEPALIVES * kit.timings.timeout
            async with dial(client.http, machine.addr) as connection:
                assert isinstance(connection, FrameConnection)
                began = trio.current_time()
                await connection.run()
                assert timeout <= trio.current_time() - began <= timeout + 1
            # The driver's own has only brought keepalives, and lives.
            calls = machine._controller.connection
            await trio.sleep(10 * timeout)
            assert machine._controller.connection is calls
            assert await machine.call("Echo.echo", 5) == 5

    run(main)
