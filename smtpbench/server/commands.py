"""The commands that are no mail transaction: EHLO, NOOP, HELP, VRFY, EXPN, RSET, QUIT, STARTTLS.

Each ``do_…`` method performs one well-formed command that may come now, and answers it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from smtpbench.server.authentication import Authentication
from smtpbench.server.brings import KEYWORD_VERBS, PARAMETERS_OF
from smtpbench.server.config import KEYWORDS, ServerConfig
from smtpbench.server.dialogue import MAX_AUTH_LINE, StartTls
from smtpbench.server.trace import address_literal
from smtpbench.target import Role
from smtpbench.wire.grammar import Path, parse_forward_path
from smtpbench.wire.parse import Command, CommandError, Parameters, parse_command
from smtpbench.wire.state import State, Verb, next_state

BEFORE_TLS = frozenset({Verb.NOOP, Verb.EHLO, Verb.STARTTLS, Verb.QUIT})  # RFC 3207 §4
NEED_EHLO = frozenset({Verb.AUTH, Verb.STARTTLS, Verb.BDAT, Verb.BURL, Verb.ETRN})
# RFC 4954 §6
NEED_AUTH = frozenset({Verb.MAIL, Verb.RCPT, Verb.DATA, Verb.BDAT, Verb.BURL, Verb.VRFY, Verb.EXPN})

Refusal = tuple[int, str, str]  # reply code, RFC 3463 code, text


@dataclass(slots=True)
class Recipient:
    """One accepted recipient: its path as sent, the mailbox it is for (None: relayed), its parameters."""

    path: Path
    address: bytes
    mailbox: str
    parameters: Parameters = field(default_factory=dict)


@dataclass(slots=True)
class Transaction:
    """What MAIL, RCPT and the content have brought so far; `parameters` are those of MAIL."""

    sender: Path
    utf8: bool = False
    binary: bool = False
    parameters: Parameters = field(default_factory=dict)
    recipients: list[Recipient] = field(default_factory=list)
    content: list[bytes] = field(default_factory=list)
    size: int = 0


class SessionCommands(Authentication):
    """A session: its state, its peer, and the commands that leave mail alone."""

    state = State.START
    helo = ""
    extended = False
    transaction: Transaction | None = None
    _parameters: frozenset[str] = frozenset()

    def __init__(self, config: ServerConfig, *, client: str = "127.0.0.1", tls: bool = False) -> None:
        super().__init__(config)
        self.tls_active = tls
        self.client = address_literal(client)

    @property
    def lmtp(self) -> bool:
        """Whether this is LMTP (RFC 2033)."""
        return self.config.role is Role.LMTP

    # one line

    def on_line(self, line: bytes) -> None:
        """A command, or a response inside an AUTH exchange."""
        if self._exchange is not None:
            self.auth_response(line)
            return
        command = self.parse(line)
        if self.config.takes_no_mail and command.verb is not Verb.QUIT:
            self.reply(503 if self.config.no_mail_code == 554 else 521, "5.3.2", "No SMTP service here")
        elif isinstance(command, CommandError):
            self.refuse(command)
        else:
            self.perform(command)

    def on_overlong_line(self) -> None:
        """§4.5.3.1.4: 500, in step with the client."""
        self._exchange = None
        self.reply(500, "5.5.6", "Line too long")

    def line_limit(self) -> int:
        """AUTH responses may be longer than commands."""
        return MAX_AUTH_LINE if self._exchange is not None else super().line_limit()

    def parse(self, line: bytes) -> Command | CommandError:
        """A command by the parameters that are on offer here; none after HELO (§4.1.1.11)."""
        utf8 = self.transaction is not None and self.transaction.utf8
        return parse_command(line, known=self.known_parameters(), utf8=utf8)

    def known_parameters(self) -> frozenset[str]:
        """The MAIL and RCPT parameters of the extensions that the last EHLO listed."""
        return self._parameters

    def refuse(self, error: CommandError) -> None:
        """Answer a line that is no command."""
        missing = self.missing(error.verb) if error.verb else None
        if missing:
            self.reply(*missing)
        else:
            self.reply(error.code, error.enhanced, error.text)

    def perform(self, command: Command) -> None:
        """Answer a well-formed command: not here, not now, not to you, or do it."""
        refusal = (
            self.missing(command.verb)
            or self.needs_tls(command.verb)
            or self.out_of_order(command.verb)
            or self.needs_auth(command.verb)
        )
        if command.verb is Verb.BDAT and not self.missing(Verb.BDAT):
            self.do_bdat(command, refusal)  # its octets follow whatever the answer is
        elif refusal:
            self.reply(*refusal)
        else:
            getattr(self, f"do_{command.verb.lower()}")(command)

    def do_bdat(self, command: Command, refusal: Refusal | None) -> None:
        """Read the chunk that follows, then answer."""
        raise NotImplementedError

    def missing(self, verb: Verb) -> Refusal | None:
        """The refusal of a verb that this server does not have."""
        wrong_hello = {Verb.EHLO, Verb.HELO} if self.lmtp else {Verb.LHLO}
        if verb in wrong_hello:
            return 500, "5.5.1", "This is LMTP" if self.lmtp else "This is SMTP"
        keyword = KEYWORD_VERBS.get(verb)
        if keyword and not self.config.has(keyword):
            return 502, "5.5.1", "Command not implemented"
        if verb is Verb.STARTTLS and self.config.tls is None and not self.tls_active:
            return 502, "5.5.1", "Command not implemented"
        if verb is Verb.AUTH and not self.config.users:
            return 502, "5.5.1", "Command not implemented"
        return None

    def needs_tls(self, verb: Verb) -> Refusal | None:
        """The refusal of what a submission port does only inside TLS."""
        required = self.config.is_submission and self.config.tls is not None and not self.config.auth_in_clear
        if required and not self.tls_active and verb not in BEFORE_TLS:
            return 530, "5.7.0", "Must issue a STARTTLS command first"
        return None

    def out_of_order(self, verb: Verb) -> Refusal | None:
        """The refusal of what the state table does not have."""
        if next_state(self.state, verb) is None:
            return 503, "5.5.1", "Bad sequence of commands"
        if verb in NEED_EHLO and not self.extended:
            return 503, "5.5.1", "EHLO first"
        return None

    def needs_auth(self, verb: Verb) -> Refusal | None:
        """The refusal of what a submission port does only for its users."""
        if self.config.is_submission and self.authenticated is None and verb in NEED_AUTH:
            return 530, "5.7.0", "Authentication required"
        return None

    def advance(self, verb: Verb) -> None:
        """`verb` has succeeded."""
        following = next_state(self.state, verb)
        if following is not None:
            self.state = following

    def forget_transaction(self) -> None:
        """Clear all buffers; stay greeted if the client has greeted."""
        self.transaction = None
        if self.state is not State.START:
            self.state = State.READY

    # greeting

    def greeting(self) -> bytes:
        """What to send when the connection is there."""
        if self.config.takes_no_mail:
            return self.format_reply(self.config.no_mail_code, [f"{self.config.name} No SMTP service here"])
        protocol = "LMTP" if self.lmtp else "ESMTP"
        return self.format_reply(220, [f"{self.config.name} {protocol} smtpbench reference server"])

    def do_ehlo(self, command: Command) -> None:
        """§4.1.1.1: clear everything, list the extensions."""
        self.hello(command, extended=True)
        self.output.append(self.format_reply(250, [self.hello_text(), *self.keywords()]))

    def do_lhlo(self, command: Command) -> None:
        """RFC 2033 §4.1: EHLO by another name."""
        self.do_ehlo(command)

    def do_helo(self, command: Command) -> None:
        """§4.1.1.1: clear everything, one line."""
        self.hello(command, extended=False)
        self.output.append(self.format_reply(250, [self.hello_text()]))

    def hello(self, command: Command, *, extended: bool) -> None:
        """Note who the client says it is; §4.1.4: as RSET does, clear all buffers."""
        self.forget_transaction()
        self.helo = command.argument.decode("ascii")
        self.extended = extended
        listed = [line.partition(" ")[0] for line in self.keywords()] if extended else []
        self._parameters = frozenset().union(*(PARAMETERS_OF.get(name, frozenset()) for name in listed))
        self.advance(command.verb)

    def hello_text(self) -> str:
        """The first line of the reply to EHLO, and the only one to HELO."""
        return f"{self.config.name} greets {self.helo}"

    def keywords(self) -> list[str]:
        """The EHLO keyword lines as of now."""
        lines = []
        for keyword in KEYWORDS:
            if self.config.has(keyword) and self.offers(keyword):
                lines.append(keyword + self.keyword_value(keyword))
        return lines

    def offers(self, keyword: str) -> bool:
        """Whether an extension that is not switched off is on offer in this state."""
        if keyword == "STARTTLS":
            return self.config.tls is not None and not self.tls_active
        if keyword == "AUTH":
            return bool(self.config.users) and (self.tls_active or self.config.auth_in_clear)
        return True

    def keyword_value(self, keyword: str) -> str:
        """What follows a keyword, its leading space included."""
        if keyword == "SIZE":
            return f" {self.config.max_size}"
        return f" {' '.join(self.mechanisms())}" if keyword == "AUTH" else ""

    # the small ones

    def do_noop(self, command: Command) -> None:
        """§4.1.1.9."""
        self.reply(250, "2.0.0", "OK")

    def do_rset(self, command: Command) -> None:
        """§4.1.1.5."""
        self.forget_transaction()
        self.reply(250, "2.0.0", "OK")

    def do_quit(self, command: Command) -> None:
        """§4.1.1.10."""
        self.reply(221, "2.0.0", f"{self.config.name} closing connection")
        self.close()

    def do_help(self, command: Command) -> None:
        """§4.1.1.8."""
        verbs = [verb for verb in Verb if not self.missing(verb)]
        if not command.argument:
            self.reply(214, "2.0.0", "Commands:", " ".join(verbs))
        elif command.argument.upper().decode("ascii", "replace") in verbs:
            self.reply(214, "2.0.0", f"{command.argument.upper().decode('ascii')}: see RFC 5321")
        else:
            self.reply(504, "5.5.4", "No help on that")

    def do_vrfy(self, command: Command) -> None:
        """§3.5: a mailbox of ours, one that is not, or a domain that is not ours."""
        self.verify(command)

    def do_expn(self, command: Command) -> None:
        """§3.5: we have no lists, so a mailbox expands to itself."""
        self.verify(command)

    def verify(self, command: Command) -> None:
        """Answer VRFY and EXPN."""
        name, utf8 = self.verify_argument(command.argument)
        domain = self.config.domains[0].encode()
        bare = name.strip(b"<>")
        found = parse_forward_path(b"<" + (bare if b"@" in bare else bare + b"@" + domain) + b">")
        mailbox = self.mailbox_of(found[0]) if found and not found[1] else None
        if mailbox and not (utf8 or mailbox.isascii()):
            self.reply(*self.unspeakable(mailbox))
        elif mailbox:
            self.reply(250, "2.1.5", self.verified(mailbox))
        elif found and not self.is_local(found[0].domain):
            self.reply(252, "2.1.5", "Not a domain of ours: cannot verify")
        else:
            self.reply(550, "5.1.1", "No such mailbox")

    def verify_argument(self, argument: bytes) -> tuple[bytes, bool]:
        """The name that VRFY or EXPN asks for, and whether the reply may have UTF-8 (RFC 6531 §3.7.4.2)."""
        name, _, last = argument.rpartition(b" ")
        utf8 = bool(name) and last.upper() == b"SMTPUTF8" and "SMTPUTF8" in self.config.extensions
        return (name if utf8 else argument), utf8

    def unspeakable(self, mailbox: str) -> tuple[int, str, str]:
        """The reply that cannot name a mailbox, for want of the client's leave (RFC 6531 §3.7.4.2)."""
        return 252, "2.6.8", "The mailbox can only be named to a client that says SMTPUTF8"

    def verified(self, mailbox: str) -> str:
        """How a mailbox is named in a 250 (§3.5.1)."""
        return f"<{mailbox}@{self.config.domains[0]}>"

    # mailboxes

    def is_local(self, domain: bytes) -> bool:
        """Whether we are the final host of `domain`; the empty one is that of a bare Postmaster."""
        return not domain or domain.decode("utf-8", "replace").lower() in self.config.domains

    def mailbox_of(self, path: Path) -> str | None:
        """The local mailbox a path is for, or None."""
        if not self.is_local(path.domain):
            return None
        name = path.local_value.decode("utf-8", "replace").lower().partition("+")[0]
        return name if name in (*self.config.mailboxes, *self.config.bouncing) else None

    # STARTTLS

    def do_starttls(self, command: Command) -> None:
        """RFC 3207 §4: what came behind it in clear is thrown away, what was known is forgotten."""
        if self.tls_active:
            self.reply(503, "5.5.1", "TLS is active already")
            return
        self.reply(220, "2.0.0", "Ready to start TLS")
        self.input.clear()
        self.action = StartTls()

    def tls_started(self) -> bytes:
        """The handshake after STARTTLS is done; what to send (nothing)."""
        self.action = None
        self.tls_active = True
        self.reset_session()
        return self.run()

    def reset_session(self) -> None:
        """Back to the beginning: no greeting, no user, no transaction (RFC 3207 §4.2)."""
        self.forget_transaction()
        self.state = State.START
        self.helo = ""
        self.extended = False
        self._parameters = frozenset()
        self.authenticated = None
