"""The receiver side: strict reference server, sink, and their named faults."""

from __future__ import annotations

from smtpbench.server.config import ServerConfig
from smtpbench.server.faults import FAULTS, Fault, fault
from smtpbench.server.receiver import Receiver
from smtpbench.server.server import Server
from smtpbench.server.store import Copy, MaildirStore, MemoryStore, NullStore, Store

__all__ = [
    "FAULTS",
    "Copy",
    "Fault",
    "MaildirStore",
    "MemoryStore",
    "NullStore",
    "Receiver",
    "Server",
    "ServerConfig",
    "Store",
    "fault",
]
