"""Faults of the grammar of MAIL and RCPT: brackets, paths, literals, parameters (RFC 5321 §4.1.1, §4.1.2)."""

from __future__ import annotations

import re

from smtpbench.server.commands import Recipient
from smtpbench.server.faults.registry import fault
from smtpbench.server.faults.rewriting import Lenient, Picky
from smtpbench.server.receiver import Receiver, Refusal
from smtpbench.wire.grammar import NULL_PATH, Path
from smtpbench.wire.parse import Command, CommandError, parse_command
from smtpbench.wire.state import Verb

# Brackets, colon, arguments


class _Repaired(Lenient):
    """Replaces the first match of `pattern` in a refused line."""

    pattern = rb""
    replacement = rb""

    def repair(self, line: bytes) -> bytes:
        return re.sub(self.pattern, self.replacement, line, count=1)


@fault("mail-needs-no-brackets", "5321-C-6")
class MailNeedsNoBrackets(_Repaired):
    """MAIL FROM:a@b is accepted."""

    pattern = rb"(?i)^(MAIL FROM:)([^<>\s]+)"
    replacement = rb"\1<\2>"


@fault("rcpt-needs-no-brackets", "5321-C-7")
class RcptNeedsNoBrackets(_Repaired):
    """RCPT TO:a@b is accepted."""

    pattern = rb"(?i)^(RCPT TO:)([^<>\s]+)"
    replacement = rb"\1<\2>"


@fault("space-around-colon-accepted", "5321-C-8")
class SpaceAroundColonAccepted(_Repaired):
    """White space around the colon is accepted."""

    pattern = rb"(?i)^(MAIL FROM|RCPT TO)[ \t]*:[ \t]*"
    replacement = rb"\1:"


@fault("mail-needs-no-argument", "5321-C-9")
class MailNeedsNoArgument(_Repaired):
    """MAIL without FROM is accepted."""

    pattern = rb"(?i)^MAIL(?! FROM *:).*"
    replacement = rb"MAIL FROM:<>"


@fault("rcpt-needs-no-argument", "5321-C-10")
class RcptNeedsNoArgument(_Repaired):
    """RCPT without TO is accepted."""

    pattern = rb"(?i)^RCPT(?! TO *:).*"
    replacement = rb"RCPT TO:<postmaster>"


@fault("junk-after-path-accepted", "5321-C-11")
class JunkAfterPathAccepted(_Repaired):
    """What stands directly after > is ignored."""

    pattern = rb"(?i)^((?:MAIL FROM|RCPT TO):<[^<>]*>)[^ <>]+"
    replacement = rb"\1"


@fault("unbalanced-brackets-accepted", "5321-C-12")
class UnbalancedBracketsAccepted(_Repaired):
    """Unbalanced angle brackets are accepted."""

    pattern = rb"(?i)^((?:MAIL FROM|RCPT TO):)(?=[^ ]*[<>])<*([^<> ]+)>*( .*)?$"
    replacement = rb"\1<\2>\3"


@fault("null-recipient-accepted", "5321-C-14")
class NullRecipientAccepted(Receiver):
    """RCPT TO:<> is accepted."""

    def parse(self, line: bytes) -> Command | CommandError:
        if line.upper().startswith(b"RCPT TO:<>"):
            return Command(Verb.RCPT, path=NULL_PATH)
        return super().parse(line)

    def resolve(self, path: Path) -> Recipient | Refusal:
        return super().resolve(Path(b"postmaster", b"") if path == NULL_PATH else path)


# Local-parts


@fault("quoted-local-part-refused", "5321-C-22")
class QuotedLocalPartRefused(Picky):
    """A quoted local-part is a syntax error."""

    def objection(self, command: Command) -> str | None:
        quoted = command.path is not None and command.path.local.startswith(b'"')
        return "No quotes, please" if quoted else None


@fault("dot-atom-unchecked", "5321-C-24")
class DotAtomUnchecked(Lenient):
    """Leading, trailing and double dots are accepted in a local-part."""

    def repair(self, line: bytes) -> bytes:
        def repaired(match: re.Match[bytes]) -> bytes:
            return b"<" + b".".join(atom for atom in match[1].split(b".") if atom) + b"@"

        return re.sub(rb'<([^"@<>]+)@', repaired, line, count=1)


@fault("atext-restricted", "5321-C-25")
class AtextRestricted(Picky):
    """Only letters, digits and .-_+ are accepted in a local-part."""

    def objection(self, command: Command) -> str | None:
        local = command.path.local if command.path else b""
        plain = local.startswith(b'"') or re.fullmatch(rb"[A-Za-z0-9._+\x80-\xff-]*", local)
        return None if plain else "Bad character in the local-part"


# Domains, literals, routes


@fault("source-route-refused", "5321-C-18")
class SourceRouteRefused(Picky):
    """A source route in RCPT is a syntax error."""

    def objection(self, command: Command) -> str | None:
        routed = command.verb is Verb.RCPT and command.path is not None and command.path.route
        return "No source routes, please" if routed else None


@fault("malformed-source-route-accepted", "5321-C-20")
class MalformedSourceRouteAccepted(_Repaired):
    """A source route without its colon is accepted."""

    pattern = rb"<@[^<>:\"]*[ ,]"
    replacement = rb"<"


@fault("sender-source-route-closes", "5321-A-37", "5321-C-21")
class SenderSourceRouteCloses(Receiver):
    """A source route in MAIL closes the connection."""

    def do_mail(self, command: Command) -> None:
        if command.path is not None and command.path.route:
            self.close()
        else:
            super().do_mail(command)


class _LiteralRefused(Picky):
    prefix = b""

    def objection(self, command: Command) -> str | None:
        domain = command.path.domain.upper() if command.path else b""
        ipv6 = domain.startswith(b"[IPV6:")
        hit = domain.startswith(b"[") and ipv6 == (self.prefix == b"IPV6")
        return "No such address literal, please" if hit else None


@fault("ipv4-literal-refused", "5321-C-26")
class Ipv4LiteralRefused(_LiteralRefused):
    """An IPv4 address literal in a path is a syntax error."""


@fault("ipv6-literal-refused", "5321-C-27")
class Ipv6LiteralRefused(_LiteralRefused):
    """An IPv6 address literal in a path is a syntax error."""

    prefix = b"IPV6"


@fault("bad-literal-accepted", "5321-C-28")
class BadLiteralAccepted(_Repaired):
    """Malformed address literals are accepted."""

    pattern = rb"@\[[^\]]*\]>"
    replacement = rb"@[192.0.2.1]>"


@fault("bad-domain-accepted", "5321-C-29")
class BadDomainAccepted(Lenient):
    """Underscores and leading hyphens in a domain are accepted."""

    def repair(self, line: bytes) -> bytes:
        def repaired(match: re.Match[bytes]) -> bytes:
            labels = match[1].replace(b"_", b"x").split(b".")
            return b"@" + b".".join(label.strip(b"-") for label in labels) + b">"

        return re.sub(rb"@([A-Za-z0-9._-]+)>", repaired, line, count=1)


# Lengths (§4.5.3.1)


@fault("local-part-limit-32", "5321-C-31")
class LocalPartLimit32(Picky):
    """A local-part of more than 32 octets is refused as too long."""

    def objection(self, command: Command) -> str | None:
        return "Local-part too long" if command.path and len(command.path.local) > 32 else None


@fault("domain-limit-64", "5321-C-33")
class DomainLimit64(Picky):
    """A domain of more than 64 octets is refused as too long."""

    def objection(self, command: Command) -> str | None:
        hello = command.argument if command.verb in (Verb.EHLO, Verb.HELO) else b""
        domain = command.path.domain if command.path else hello
        return "Domain too long" if len(domain) > 64 else None


@fault("path-limit-128", "5321-C-34")
class PathLimit128(Picky):
    """A path of more than 128 octets is refused as too long."""

    def objection(self, command: Command) -> str | None:
        too_long = command.path is not None and len(command.path.mailbox) + len("<>") > 128
        return "Path too long" if too_long else None


# Parameters (§4.1.1.11)


class _ParametersIgnored(Lenient):
    """Parses a refused line without its parameters."""

    verb = b""

    def repair(self, line: bytes) -> bytes:
        ours = line[:4].upper() == self.verb or not self.verb
        return re.sub(rb"> .*", b">", line, count=1) if ours else line


@fault("mail-parameter-ignored", "5321-C-44")
class MailParameterIgnored(_ParametersIgnored):
    """Unknown MAIL parameters are ignored."""

    codes = frozenset({555})
    verb = b"MAIL"


@fault("rcpt-parameter-ignored", "5321-C-45")
class RcptParameterIgnored(_ParametersIgnored):
    """Unknown RCPT parameters are ignored."""

    codes = frozenset({555})
    verb = b"RCPT"


@fault("parameter-syntax-unchecked", "5321-C-46")
class ParameterSyntaxUnchecked(_ParametersIgnored):
    """Malformed parameters are ignored."""


@fault("parameters-after-helo", "5321-C-47")
class ParametersAfterHelo(Receiver):
    """MAIL parameters are accepted after HELO."""

    def known_parameters(self) -> frozenset[str]:
        return super().known_parameters() or frozenset({"SIZE", "BODY", "SMTPUTF8", "RET", "ENVID"})


@fault("body-parameter-unchecked", "6152-2")
class BodyParameterUnchecked(_Repaired):
    """Any value of BODY is accepted."""

    pattern = rb"(?i) BODY=[!-~]*"


@fault("non-ascii-envelope-accepted", "5321-A-10", "6531-6", "6531-7")
class NonAsciiEnvelopeAccepted(Receiver):
    """UTF-8 in a path is accepted without SMTPUTF8."""

    def parse(self, line: bytes) -> Command | CommandError:
        return parse_command(line, known=self.known_parameters(), utf8=True)
