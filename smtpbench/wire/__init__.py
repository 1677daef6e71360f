"""SMTP without a socket: bytes in, meanings out. No socket, clock, asyncio or ssl in this package."""
