from typing import Any

READ: int  # octets that are taken at a time
AHEAD: int  # messages that a chat may have

class Chats:
    """The chats of one event loop, by descriptor, and the wait for the `epoll` they are registered with."""

    opening: int  # chats of whole sessions that have not heard the answer to EHLO yet, nor been hastened
    awaited: bool  # once there is one less, `poll` shall tell an event of `epoll` itself; then it is False

    def __init__(self, epoll: int) -> None: ...
    def poll(self, timeout: float, maxevents: int, /) -> list[tuple[int, Any]]:
        """As `select.epoll.poll` (s, negative: for ever), of at most 64 events.

        What has become of a chat has the complement of its descriptor and is `smtpbench.load.chat.Told`.
        """

    def alone(self, fd: int, until_ns: int, /) -> list[tuple[int, Any]] | None:
        """Read what comes for one chat, from a blocking socket with a timeout of its own, until there is
        something to tell, or `until_ns` (`perf_counter_ns`) has come; None if nothing came for so long."""

    def progress(self, fd: int, /) -> list[tuple[int, Any]]:
        """What has come in a chat that was not told yet."""

    def start(self, fd: int, commands: bytes, contents: tuple[bytes, ...], sent_ns: int, /) -> int:
        """Begin a chat: for each of `contents`, which are at most `AHEAD`, the lines of `commands`, the last
        of which is DATA, then the content. The first MAIL is timed from `sent_ns`. Returns its number, as a
        negative number; where it could not begin, how much of the first line was sent."""

    def visit(
        self,
        opening: tuple[bytes, bytes, bytes, bytes],
        commands: bytes,
        contents: tuple[bytes],
        alone: bool,
        /,
    ) -> tuple[int, int, bool]:
        """Connect, and begin the chat of a whole session, which ends with the answer to QUIT. Returns the
        descriptor of the socket, or a negative errno, the number of the chat, and whether it is watched.

        An opening is the greeting that is expected, the EHLO line, the answer that is expected to it, and the
        address to connect to, a `struct sockaddr`. A socket for `alone` is not watched once it is connected.
        """

    def watch(self, fd: int, /) -> None:
        """Have `poll` tell of a socket that is not watched yet."""

    def drop(self, fd: int, /) -> None:
        """End a chat, and its connection with a reset."""

    def curtail(self, fd: int, /) -> int:
        """End a chat after the message under way; how many others it had."""

    def halt(self) -> None:
        """Let each chat end after the message under way. For any thread; what they had left is not told."""

    def forget(self, fd: int, /) -> None:
        """End a chat: what comes is for whoever the descriptor belongs to."""

    def hasten(self, fd: int, /) -> None:
        """Have a chat tell when EHLO is answered."""
