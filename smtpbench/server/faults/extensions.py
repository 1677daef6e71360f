"""Faults of the extensions: PIPELINING, enhanced codes, CHUNKING, STARTTLS, AUTH, submission, LMTP."""

from __future__ import annotations

from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import Receiver, Refusal
from smtpbench.wire.parse import Command
from smtpbench.wire.state import State, Verb

# RFC 2920


@fault("pipelined-input-lost", "2920-8")
class PipelinedInputLost(Receiver):
    """What follows a refused command in one segment is lost."""

    def reply(self, code: int, enhanced: str, *text: str) -> None:
        super().reply(code, enhanced, *text)
        if code >= 500:
            self.input.clear()


@fault("pipelined-replies-out-of-order", "2920-1")
class PipelinedRepliesOutOfOrder(Receiver):
    """Replies to a group of commands come in reverse order."""

    def take_output(self) -> bytes:
        self.output.reverse()
        return super().take_output()


# RFC 2034


@fault("enhanced-class-differs", "2034-3")
class EnhancedClassDiffers(Receiver):
    """The class of NOOP's enhanced code is not the reply's first digit."""

    def do_noop(self, command: Command) -> None:
        self.reply(250, "5.0.0", "OK")


@fault("enhanced-code-unregistered", "2034-9")
class EnhancedCodeUnregistered(Receiver):
    """The enhanced code of what is done is none that IANA has registered."""

    def reply(self, code: int, enhanced: str, *text: str) -> None:
        super().reply(code, "2.0.99" if enhanced == "2.0.0" and code == 250 else enhanced, *text)


@fault("enhanced-subject-is-always-media", "2034-8")
class EnhancedSubjectIsAlwaysMedia(Receiver):
    """Refusals say that the content was the trouble, but for those whose code an extension sets."""

    def reply(self, code: int, enhanced: str, *text: str) -> None:
        wrong = code >= 400 and enhanced[2:] not in ("", "6.7", "7.0")
        super().reply(code, f"{code // 100}.6.0" if wrong else enhanced, *text)


@fault("enhanced-codes-missing", "2034-1")
class EnhancedCodesMissing(Receiver):
    """Replies carry no enhanced code though EHLO lists them."""

    def reply(self, code: int, enhanced: str, *text: str) -> None:
        super().reply(code, "", *text)


# RFC 3030


@fault("bdat-failed-not-discarded", "3030-5")
class BdatFailedNotDiscarded(Receiver):
    """The chunk of a refused BDAT is read as commands."""

    def do_bdat(self, command: Command, refusal: Refusal | None) -> None:
        if refusal:
            self.reply(*refusal)
        else:
            super().do_bdat(command, refusal)


@fault("bdat-unstuffs-dots", "3030-9")
class BdatUnstuffsDots(Receiver):
    """Leading dots are removed from BDAT content."""

    def on_content(self, data: bytes) -> None:
        chunk = self.content_receiver is None
        super().on_content(data.replace(b"\r\n.", b"\r\n") if chunk else data)


# RFC 3207


@fault("starttls-keeps-input", "3207-4", "3207-5")
class StarttlsKeepsInput(Receiver):
    """What came behind STARTTLS in clear is executed inside TLS."""

    def do_starttls(self, command: Command) -> None:
        injected = bytes(self.input)
        super().do_starttls(command)
        self.input += injected


@fault("starttls-keeps-state", "3207-6", "3207-7")
class StarttlsKeepsState(Receiver):
    """The transaction and the EHLO of before TLS go on inside it."""

    def reset_session(self) -> None:
        pass


@fault("starttls-offered-in-tls", "3207-9", "3207-10")
class StarttlsOfferedInTls(Receiver):
    """STARTTLS is listed and accepted inside TLS."""

    def offers(self, keyword: str) -> bool:
        return keyword == "STARTTLS" or super().offers(keyword)

    def do_starttls(self, command: Command) -> None:
        if self.tls_active:
            self.reply(220, "2.0.0", "Ready to start TLS")
        else:
            super().do_starttls(command)


# RFC 4954, RFC 6409


@fault("auth-accepts-any-password", "4954-14")
class AuthAcceptsAnyPassword(Receiver):
    """Any password is accepted."""

    def reply(self, code: int, enhanced: str, *text: str) -> None:
        if code == 535:
            self.authenticated = "anybody"
            super().reply(235, "2.7.0", "Authentication successful")
        else:
            super().reply(code, enhanced, *text)


@fault("auth-twice-accepted", "4954-2")
class AuthTwiceAccepted(Receiver):
    """A second AUTH after success is accepted."""

    def do_auth(self, command: Command) -> None:
        self.authenticated = None
        super().do_auth(command)


@fault("auth-in-transaction-accepted", "4954-3")
class AuthInTransactionAccepted(Receiver):
    """AUTH in a transaction is accepted."""

    def out_of_order(self, verb: Verb) -> Refusal | None:
        inside = verb is Verb.AUTH and self.state in (State.MAIL, State.RCPT)
        return None if inside else super().out_of_order(verb)


@fault("submission-needs-no-auth", "6409-1", "4954-23")
class SubmissionNeedsNoAuth(Receiver):
    """MAIL on a submission port needs no AUTH."""

    def needs_auth(self, verb: Verb) -> Refusal | None:
        return None


# RFC 2033


@fault("lmtp-one-reply", "2033-4")
class LmtpOneReply(Receiver):
    """One reply for all recipients after the end of data in LMTP."""

    def conclude(self, results: list[Refusal]) -> None:
        super().conclude(results[:1])
