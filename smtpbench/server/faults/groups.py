"""Faults of groups of commands (RFC 2920), of STARTTLS among them (RFC 3207), and of HELP in one."""

from __future__ import annotations

from smtpbench.server.commands import Transaction
from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import Receiver, Refusal
from smtpbench.server.store import Copy
from smtpbench.wire.parse import Command
from smtpbench.wire.state import State, Verb

CUT = 32 * 1024  # octets


@fault("group-cut-at-32k", "2920-13")
class GroupCutAt32K(Receiver):
    """Of commands that come in one read, those beyond 32 KiB are lost."""

    def feed(self, data: bytes) -> bytes:
        commands = self.reads_lines and data.count(b"\r\n") > 1
        return super().feed(data[:CUT] if commands else data)


@fault("group-expects-data", "2920-7")
class GroupExpectsData(Receiver):
    """After MAIL and RCPT in one segment, nothing but DATA is accepted next."""

    _grouped = False

    def feed(self, data: bytes) -> bytes:
        group = data.upper()
        answer = super().feed(data)
        self._grouped = group.startswith(b"MAIL") and group.count(b"\r\n") == 2 and b"\nRCPT" in group
        return answer

    def out_of_order(self, verb: Verb) -> Refusal | None:
        if self._grouped and verb is not Verb.DATA:
            return 503, "5.5.1", "DATA expected"
        return super().out_of_order(verb)


@fault("help-line-by-line-in-a-group", "2920-12")
class HelpLineByLineInAGroup(Receiver):
    """HELP with more input behind it is answered with a reply for each line."""

    def do_help(self, command: Command) -> None:
        if not self.input:
            super().do_help(command)
            return
        self.reply(214, "2.0.0", "Commands:")
        self.reply(214, "2.0.0", "HELO EHLO MAIL RCPT DATA")


@fault("message-for-nobody-is-delivered", "2920-3")
class MessageForNobodyIsDelivered(Receiver):
    """DATA is let in without a recipient, and the message goes to the postmaster."""

    def out_of_order(self, verb: Verb) -> Refusal | None:
        nobody = verb is Verb.DATA and self.state is State.MAIL
        return None if nobody else super().out_of_order(verb)

    def copies(self, transaction: Transaction, content: bytes) -> tuple[Copy, ...]:
        if transaction.recipients:
            return super().copies(transaction, content)
        head = self.return_path(transaction)
        return (Copy("postmaster", transaction.sender.mailbox, (), head + content),)

    def conclude(self, results: list[Refusal]) -> None:
        super().conclude(results or [(250, "2.0.0", "Message accepted")])


@fault("starttls-closes", "3207-2")
class StarttlsCloses(Receiver):
    """After the 220 to STARTTLS the connection is closed."""

    def do_starttls(self, command: Command) -> None:
        self.reply(220, "2.0.0", "Ready to start TLS")
        self.close()


@fault("starttls-answered-twice", "3207-17")
class StarttlsAnsweredTwice(Receiver):
    """The 220 to STARTTLS comes twice."""

    def do_starttls(self, command: Command) -> None:
        super().do_starttls(command)
        if self.action is not None:
            self.reply(220, "2.0.0", "Ready to start TLS")


@fault("starttls-lost-in-a-group", "3207-19")
class StarttlsLostInAGroup(Receiver):
    """STARTTLS behind another command in one segment is answered 503."""

    _alone = True

    def feed(self, data: bytes) -> bytes:
        self._alone = data.count(b"\r\n") < 2
        return super().feed(data)

    def out_of_order(self, verb: Verb) -> Refusal | None:
        if verb is Verb.STARTTLS and not self._alone:
            return 503, "5.5.1", "STARTTLS comes alone"
        return super().out_of_order(verb)


@fault("starttls-keeps-auth", "3207-8", "3207-23", "4954-26")
class StarttlsKeepsAuth(Receiver):
    """Who authenticated in clear is still authenticated inside TLS."""

    def offers(self, keyword: str) -> bool:
        return (keyword == "AUTH" and bool(self.config.users)) or super().offers(keyword)

    def reset_session(self) -> None:
        known = self.authenticated
        super().reset_session()
        self.authenticated = known


@fault("tls-demanded-for-mail-only", "3207-12")
class TlsDemandedForMailOnly(Receiver):
    """Where TLS is demanded, it is so for MAIL alone."""

    def needs_tls(self, verb: Verb) -> Refusal | None:
        return super().needs_tls(verb) if verb is Verb.MAIL else None


@fault("tls-demand-with-other-code", "3207-13")
class TlsDemandWithOtherCode(Receiver):
    """The 530 that demands TLS has the enhanced code of another refusal."""

    def needs_tls(self, verb: Verb) -> Refusal | None:
        refusal = super().needs_tls(verb)
        return (refusal[0], "5.5.1", refusal[2]) if refusal else None


@fault("mx-demands-tls", "3207-14")
class MxDemandsTls(Receiver):
    """MAIL in clear is refused on an MX too."""

    def needs_tls(self, verb: Verb) -> Refusal | None:
        clear = verb is Verb.MAIL and not self.tls_active and self.config.tls is not None and not self.lmtp
        return (530, "5.7.0", "Must issue a STARTTLS command first") if clear else super().needs_tls(verb)
