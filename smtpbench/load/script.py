"""What sessions send: a script gives one transaction after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

DATA = b"DATA\r\n"
RSET = b"RSET\r\n"
QUIT = b"QUIT\r\n"
END_OF_DATA = b".\r\n"  # follows the CRLF that ends the content (RFC 5321 §4.1.1.4)


class Transaction:
    """The octets of one message, rendered beforehand; every line has its CRLF.

    `mail` and `rcpts` are the commands one by one, `group` is all of them and DATA as one write (RFC 2920
    §3.1). `content(after)` gives the content as it goes over the wire, dots stuffed, with the end-of-data
    line, then `after`. `bdat_content(after)`, if given, is the same message as one ``BDAT n LAST`` (RFC 3030
    §2): the command, n octets as they are, then `after`; it is sent instead where the server offers CHUNKING.
    An object may be sent any number of times; one of the two is asked once each time.
    """

    __slots__ = ("bdat_content", "content", "group", "mail", "rcpts")

    def __init__(
        self,
        mail: bytes,
        rcpts: tuple[bytes, ...],
        content: Callable[[bytes], bytes],
        bdat_content: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self.mail = mail
        self.rcpts = rcpts
        self.content = content
        self.bdat_content = bdat_content
        self.group = mail + b"".join(rcpts) + DATA


@dataclass(frozen=True, slots=True)
class Script:
    """What the sessions of one kind send.

    `next` is called once for each message, by any of these sessions, shortly before its first octet
    goes out; it is on the hot path. `lmtp`: a reply for each accepted recipient after the content
    (RFC 2033 §4.2). `alike`: all have the same commands. `chunking`: some have a `bdat_content`. `needs`
    are the extensions without which some of it may not be sent, and the name of what.
    """

    next: Callable[[], Transaction]
    lmtp: bool = False
    alike: bool = False
    chunking: bool = False
    needs: Mapping[str, str] = field(default_factory=dict)
