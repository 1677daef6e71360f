"""Faults of the greeting and of replies (RFC 5321 §2.4, §3.1, §4.2, §4.3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from smtpbench.server.config import ServerConfig
from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import Receiver
from smtpbench.wire.parse import Command

# The greeting


@fault("greeting-without-domain", "5321-A-18")
class GreetingWithoutDomain(Receiver):
    """The greeting begins with no domain."""

    def greeting(self) -> bytes:
        return self.format_reply(220, ["*** Welcome ***"])


@fault("greeting-code-250", "5321-A-18", "5321-A-29")
class GreetingCode250(Receiver):
    """The greeting has code 250."""

    def greeting(self) -> bytes:
        return b"250" + super().greeting()[3:]


@fault("greeting-codes-differ", "5321-A-19")
class GreetingCodesDiffer(Receiver):
    """The lines of a multi-line greeting have different codes."""

    def greeting(self) -> bytes:
        return f"220-{self.config.name} ESMTP\r\n250 go ahead\r\n".encode()


@fault("greeting-waits-for-client", "5321-A-17")
class GreetingWaitsForClient(Receiver):
    """No greeting before the client has sent something."""

    greeted = False

    def greeting(self) -> bytes:
        return b""

    def feed(self, data: bytes) -> bytes:
        late = b"" if self.greeted else super().greeting()
        self.greeted = True
        return late + super().feed(data)


@fault("greeting-single-label", "5321-A-39")
class GreetingSingleLabel(Receiver):
    """The server's name in the greeting and EHLO is a single label."""

    def configure(self, config: ServerConfig) -> ServerConfig:
        return dataclasses.replace(super().configure(config), name="mx")


@fault("greeting-554-then-close", "5321-A-15")
class Greeting554ThenClose(Receiver):
    """Greets with 554 and closes without waiting for QUIT."""

    def greeting(self) -> bytes:
        self.close()
        return self.format_reply(554, [f"{self.config.name} no SMTP service here"])


@fault("shutdown-without-421", "5321-A-38")
class ShutdownWithout421(Receiver):
    """The server's shutdown closes sessions without 421."""

    def shut_down(self) -> bytes:
        super().shut_down()
        return b""


# The octets of a reply


@fault("reply-ends-with-lf", "5321-A-3")
class ReplyEndsWithLf(Receiver):
    """Reply lines end with a bare LF."""

    def format_reply(self, code: int, lines: Sequence[str]) -> bytes:
        return super().format_reply(code, lines).replace(b"\r\n", b"\n")


class _NoopSays(Receiver):
    """NOOP is answered with these octets."""

    octets = b""

    def do_noop(self, command: Command) -> None:
        self.output.append(self.octets)


@fault("reply-has-bare-cr", "5321-A-3")
class ReplyHasBareCr(_NoopSays):
    """The NOOP reply holds a bare CR."""

    octets = b"250 2.0.0 O\rK\r\n"


@fault("noop-not-answered", "5321-A-20", "5321-B-21")
class NoopNotAnswered(_NoopSays):
    """NOOP gets no reply."""


@fault("noop-not-recognised", "5321-A-30", "5321-B-21")
class NoopNotRecognised(_NoopSays):
    """NOOP is answered 500."""

    octets = b"500 5.5.2 Command not recognized\r\n"


@fault("reply-first-digit-six", "5321-A-22", "5321-A-21")
class ReplyFirstDigitSix(_NoopSays):
    """NOOP is answered 650."""

    octets = b"650 2.0.0 OK\r\n"


@fault("reply-second-digit-nine", "5321-A-21")
class ReplySecondDigitNine(_NoopSays):
    """NOOP is answered 290."""

    octets = b"290 2.0.0 OK\r\n"


@fault("reply-text-non-ascii", "5321-A-24")
class ReplyTextNonAscii(_NoopSays):
    """The NOOP reply holds octets above 127."""

    octets = "250 2.0.0 d’accord\r\n".encode()


@fault("reply-has-control-character", "5321-A-24")
class ReplyHasControlCharacter(_NoopSays):
    """The NOOP reply holds a control character."""

    octets = b"250 2.0.0 OK\x07\r\n"


@fault("reply-without-text", "5321-A-25")
class ReplyWithoutText(_NoopSays):
    """The NOOP reply is a bare code."""

    octets = b"250\r\n"


@fault("reply-code-unregistered", "5321-A-25")
class ReplyCodeUnregistered(_NoopSays):
    """NOOP is answered 259, which no RFC defines."""

    octets = b"259 2.0.0 OK\r\n"


@fault("reply-line-overlong", "5321-A-26")
class ReplyLineOverlong(_NoopSays):
    """The NOOP reply line is longer than 512 octets."""

    octets = b"250 2.0.0 " + b"OK " * 200 + b"\r\n"


@fault("two-replies-to-noop", "5321-A-20")
class TwoRepliesToNoop(Receiver):
    """NOOP is answered twice."""

    def do_noop(self, command: Command) -> None:
        super().do_noop(command)
        super().do_noop(command)


@fault("ehlo-codes-differ", "5321-A-23")
class EhloCodesDiffer(Receiver):
    """The last line of the EHLO reply has another code."""

    def do_ehlo(self, command: Command) -> None:
        super().do_ehlo(command)
        before, _, text = self.output.pop().rpartition(b"\r\n250 ")
        self.output.append(before + b"\r\n251 " + text)
