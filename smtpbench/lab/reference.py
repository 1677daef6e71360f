"""Our reference server in a process of its own: ``python -m smtpbench.lab.reference FOLDER PORT``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from smtpbench.lab.serving import announce, arguments, leave, told_to_stop
from smtpbench.lab.workspace import (
    DOMAIN,
    HOST,
    MAILBOXES,
    MAILDIR,
    RELAY_DOMAIN,
    RETRY_S,
    SERVER_NAME,
    USERNAME,
    UTF8_MAILBOX,
    Workspace,
    server_context,
)
from smtpbench.server.config import ServerConfig
from smtpbench.server.server import Server
from smtpbench.server.store import Copy, MaildirStore
from smtpbench.target import Role


class OneMaildir(MaildirStore):
    """A MaildirStore that keeps all mailboxes in one, so that one observer sees every delivery."""

    def _deliver_one(self, copy: Copy) -> bool:
        return super()._deliver_one(Copy(MAILDIR, copy.sender, copy.recipients, copy.content))


async def serve(
    place: Workspace, relay_port: int, given: Mapping[str, int], faults: Sequence[str] = ()
) -> None:
    """Listen on one port for each role (that of `given`, or a free one) until told to stop."""
    store = OneMaildir(place.mail)
    users = {USERNAME: place.password_file.read_text(encoding="ascii").strip()}
    async with AsyncExitStack() as stack:
        ports = {}
        for role in Role:
            config = ServerConfig(
                host=HOST,
                port=given.get(role.value, 0),
                role=role,
                name=SERVER_NAME,
                domains=(DOMAIN,),
                mailboxes=(*MAILBOXES, UTF8_MAILBOX),
                users=users,
                tls=server_context(place),
                certificate=place.certificate,
                relays={} if role is Role.LMTP else {RELAY_DOMAIN: (HOST, relay_port)},
                spool=None if role is Role.LMTP else place.folder / "spool" / role.value,
                relay_retry=RETRY_S,
                relay_ca=place.ca,
                relay_name=HOST,
            )
            server = await stack.enter_async_context(Server(config, store=store, faults=tuple(faults)))
            ports[role.value] = server.port
        announce(ports)
        await told_to_stop()


def main() -> None:
    """Serve from the folder that the command line names; mail is sent on to the port after it."""
    told = arguments("folder", "relay_port")
    place = Workspace(Path(told.folder))
    try:
        asyncio.run(serve(place, int(told.relay_port), told.ports, told.fault))
    finally:
        leave(place.folder)


if __name__ == "__main__":
    main()
