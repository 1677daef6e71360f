"""RFC 5321 §4.1.2, §4.1.3: what a mailbox in a path may look like. Asked with MAIL, which knows no users."""

from __future__ import annotations

from smtpbench.conformance import (
    Answer,
    Expectation,
    Observation,
    Peer,
    all_of,
    case,
    codes,
    expect,
    instead_of_mail,
    near,
    put_off,
    severity,
)

# §4.1.4 has 501; §3.3 says that failures of the mailbox specification normally produce 550 or 553.
REFUSED = codes(501, 550, 553) | near(severity(5))
TOLERATED = codes(250)  # the text has no "MUST be refused" for these, and many servers let them pass
POLICY = codes(550, 554)  # a site may decline a sender that is spelt as the grammar allows
MAILBOX_SYNTAX = codes(553)  # the table's "mailbox name not allowed": the right class for a policy
# A site may decline address literals as such; to call that a syntax error is then only the wrong code.
NO_LITERALS = severity(5)
ATEXT = b"!#$%&'*+-/=?^_`{|}~"


async def each_refused(peer: Peer, *mailboxes: bytes) -> Observation:
    """MAIL from each of `mailboxes` is refused; accepting one is tolerated."""
    seen = [await instead_of_mail(peer, b"MAIL FROM:<%s>" % mailbox) for mailbox in mailboxes]
    return all_of(*(expect(answer, REFUSED, near=TOLERATED, untested=put_off) for answer in seen))


async def each_accepted(
    peer: Peer, *mailboxes: bytes, tolerated: Expectation[Answer] = MAILBOX_SYNTAX
) -> Observation:
    """MAIL from each of `mailboxes` is accepted, or refused for another reason than its syntax."""
    seen = [await instead_of_mail(peer, b"MAIL FROM:<%s>" % mailbox) for mailbox in mailboxes]
    return all_of(
        *(expect(answer, codes(250), choice=POLICY, near=tolerated, untested=put_off) for answer in seen)
    )


@case("5321-C-20", broken_by="malformed-source-route-accepted")
async def malformed_source_route(peer: Peer) -> Observation:
    """A source route without its colon is a syntax error."""
    return await each_refused(peer, b"@a.example user@example.org", b"@a.example,user@example.org")


@case("5321-C-22", broken_by="quoted-local-part-refused")
async def quoted_local_part(peer: Peer) -> Observation:
    """A local-part can be a quoted string, with spaces, escaped characters and angle brackets in it."""
    return await each_accepted(
        peer, b'"a b"@example.org', b'"a\\"b"@example.org', b'"a>b"@example.org', b'"a@b"@example.org'
    )


@case("5321-C-24", broken_by="dot-atom-unchecked")
async def dots_of_a_local_part(peer: Peer) -> Observation:
    """An unquoted local-part does not begin or end with a dot, and has no two dots together."""
    return await each_refused(peer, b".a@example.org", b"a.@example.org", b"a..b@example.org")


@case("5321-C-25", broken_by="atext-restricted")
async def every_character_of_an_atom(peer: Peer) -> Observation:
    """An unquoted local-part takes every character that an atom allows."""
    return await each_accepted(peer, *(b"a%cb@example.org" % character for character in ATEXT))


@case("5321-C-26", broken_by="ipv4-literal-refused")
async def ipv4_address_literal(peer: Peer) -> Observation:
    """A mailbox can be at an IPv4 address in brackets."""
    return await each_accepted(peer, b"user@[192.0.2.1]", tolerated=NO_LITERALS)


@case("5321-C-27", broken_by="ipv6-literal-refused")
async def ipv6_address_literal(peer: Peer) -> Observation:
    """A mailbox can be at an IPv6 address in brackets, with its tag."""
    return await each_accepted(peer, b"user@[IPv6:2001:db8::1]", tolerated=NO_LITERALS)


@case("5321-C-28", broken_by="bad-literal-accepted")
async def malformed_address_literals(peer: Peer) -> Observation:
    """An address literal with a number over 255, with too few numbers or with letters is a syntax error."""
    return await each_refused(peer, b"user@[300.1.1.1]", b"user@[192.0.2]", b"user@[IPv6:zz::1]")


@case("5321-C-29", broken_by="bad-domain-accepted")
async def labels_of_a_domain(peer: Peer) -> Observation:
    """The labels of a domain have letters, digits and inner hyphens only."""
    return await each_refused(peer, b"user@a_b.example.org", b"user@-a.example.org", b"user@a..example.org")


@case("5321-C-30", broken_by="control-characters-accepted")
async def control_characters_in_an_address(peer: Peer) -> Observation:
    """A control character in an address is answered 501, if nothing else speaks against the address."""
    lines = [b"MAIL FROM:<a%cb@example.org>" % code for code in (0, 1, 7, 27, 127)]
    seen = [await instead_of_mail(peer, line) for line in lines]
    return all_of(*(expect(answer, REFUSED, untested=put_off) for answer in seen))


@case("5321-C-30", broken_by="control-characters-accepted")
async def control_characters_in_ehlo(peer: Peer) -> Observation:
    """A control character in the argument of EHLO is answered 501."""
    await peer.until_ready()
    answer = await peer.new_session().ehlo("cli\x01ent.example.org")
    return expect(answer, codes(501), near=severity(5), untested=put_off)
