"""The receiver side: strict reference server, sink, and their named faults, which are in `faults`."""

from __future__ import annotations

from smtpbench.server.config import ServerConfig
from smtpbench.server.receiver import Receiver
from smtpbench.server.server import Server
from smtpbench.server.store import Copy, MaildirStore, MemoryStore, NullStore, Store

__all__ = [
    "Copy",
    "MaildirStore",
    "MemoryStore",
    "NullStore",
    "Receiver",
    "Server",
    "ServerConfig",
    "Store",
]
