"""RFC 5321 §3.2, §4.1.1.1, §4.1.3, §4.1.4: EHLO and HELO."""

from __future__ import annotations

import re

from smtpbench.conformance import (
    RECIPIENT,
    Answer,
    Expectation,
    Need,
    Observation,
    Peer,
    Role,
    Untested,
    all_of,
    case,
    codes,
    expect,
    put_off,
    reply_that,
    severity,
    text_matches,
    that,
)

SMTP = Need(
    "smtp",
    lambda facts: "LMTP has neither EHLO nor HELO" if facts.role is Role.LMTP else None,
)
LABEL = rb"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
BEGINS_WITH_DOMAIN = text_matches(rb"%s(?:\.%s)*(?: |$)" % (LABEL, LABEL), "a domain right after the code")
ONE_LINE = reply_that("a reply of one line", lambda reply: len(reply.lines) == 1)
POLICY = codes(550, 554)  # a refusal for who the client says it is, which §7.9 leaves to the site
NAME_253 = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 49, "example.org"])
NONE: Expectation[tuple[bytes, ...]] = that("no malformed line", lambda lines: not lines)
OLD_AUTH: Expectation[tuple[bytes, ...]] = that(
    "no malformed line but AUTH=…", lambda lines: all(line.upper().startswith(b"AUTH=") for line in lines)
)
MISMATCH = re.compile(r"\b(?:EHLO|HELO)\b.*\b(?:match|mismatch|IP|address)\b", re.IGNORECASE)
BEFORE_MAIL = "rfc5321.order.rcpt-before-mail"


def accepted(answer: Answer) -> None:
    """`answer` is a 250, or there is nothing to ask."""
    if answer.code != 250:
        raise Untested("EHLO or HELO was not accepted", str(answer))


@case("5321-B-1", "5321-A-30", broken_by=("ehlo-not-recognised", "ehlo-codes-differ"), needs=[SMTP])
async def ehlo_is_answered_250(peer: Peer) -> Observation:
    """EHLO is answered 250."""
    await peer.until_greeted()
    return expect(await peer.ehlo(), codes(250), choice=POLICY, untested=put_off)


@case("5321-B-2", "5321-A-30", broken_by="helo-not-recognised", needs=[SMTP])
async def helo_is_answered_250(peer: Peer) -> Observation:
    """HELO is answered 250."""
    await peer.until_greeted()
    return expect(await peer.helo(), codes(250), choice=POLICY, untested=put_off)


@case("5321-B-3", broken_by="helo-lists-extensions", needs=[SMTP])
async def helo_gets_no_extension_list(peer: Peer) -> Observation:
    """The reply to HELO does not list the extensions that EHLO is answered with."""
    await peer.until_ready()
    keywords = {keyword.encode() for keyword in peer.extensions}
    answer = await peer.new_session().helo()
    accepted(answer)
    listed: Expectation[Answer] = that(
        "lines without a keyword of the EHLO reply", lambda answer: not keywords & first_words(answer)
    )
    return expect(answer, ONE_LINE, near=listed)


def first_words(answer: Answer) -> set[bytes]:
    """The first word of every line but the first, in capitals."""
    return {line.split()[0].upper() for line in answer.lines[1:] if line.split()}


@case("5321-B-4", broken_by="ehlo-without-domain")
async def ehlo_reply_begins_with_a_domain(peer: Peer) -> Observation:
    """The first line of the EHLO reply has the server's domain, and then at most a text."""
    await peer.until_greeted()
    literal = text_matches(rb"\[[!-Z^-~]+\](?: |$)", "an address literal, as in the greeting")
    return expect(await peer.ehlo(), BEGINS_WITH_DOMAIN, near=literal, untested=severity(4, 5))


@case("5321-B-5", broken_by="ehlo-keyword-malformed")
async def ehlo_lines_are_keywords(peer: Peer) -> Observation:
    """Every further line of the EHLO reply is a keyword with parameters.

    AUTH=… is an old form that clients of the nineties wait for.
    """
    await peer.until_ready()
    return expect(peer.extensions.malformed, NONE, near=OLD_AUTH)


@case("5321-B-7", broken_by="ehlo-needs-no-argument", needs=[SMTP])
async def ehlo_without_an_argument(peer: Peer) -> Observation:
    """EHLO needs an argument."""
    await peer.until_greeted()
    return expect(await peer.command(b"EHLO"), codes(501), near=severity(5), untested=put_off)


@case("5321-B-7", broken_by="helo-needs-no-argument", needs=[SMTP])
async def helo_without_an_argument(peer: Peer) -> Observation:
    """HELO needs an argument."""
    await peer.until_greeted()
    return expect(await peer.command(b"HELO"), codes(501), near=severity(5), untested=put_off)


@case("5321-B-8", broken_by="ehlo-refuses-address-literal", after=ehlo_is_answered_250)
async def ehlo_accepts_address_literals(peer: Peer) -> Observation:
    """EHLO takes an IPv4 or an IPv6 address literal for a domain."""
    seen = [await peer.new_session().ehlo(literal) for literal in ("[127.0.0.1]", "[IPv6:::1]")]
    return all_of(*(expect(answer, codes(250), choice=POLICY, untested=put_off) for answer in seen))


@case("5321-B-9", broken_by="ehlo-accepts-untagged-ipv6", after=ehlo_is_answered_250)
async def ehlo_with_an_untagged_ipv6_address(peer: Peer) -> Observation:
    """An IPv6 address without the tag IPv6: is not an address literal."""
    answer = await peer.ehlo("[::1]")
    return expect(answer, codes(501), near=severity(2, 5), choice=POLICY, untested=put_off)


@case("5321-B-10", needs=[RECIPIENT], broken_by="ehlo-name-must-match", after=ehlo_is_answered_250)
async def ehlo_name_of_another_host(peer: Peer) -> Observation:
    """That the EHLO name is not the name of the client's address is no reason to refuse a message."""
    accepted(await peer.ehlo("unrelated.example.net"))
    seen = await peer.command(b"MAIL FROM:<%s>" % peer.sender.encode())
    if seen.code == 250:
        seen = await peer.command(b"RCPT TO:<%s>" % peer.recipient.encode())
    other: Expectation[Answer] = that(
        "a refusal for another reason", lambda answer: not MISMATCH.search(answer.text)
    )
    return expect(seen, codes(250, 251), untested=other)


@case("5321-B-12", broken_by="second-ehlo-refused")
async def second_ehlo_is_legal(peer: Peer) -> Observation:
    """EHLO may come again later in a session; if it is refused, then not as out of order."""
    await peer.until_ready()
    refused = codes(500, 501, 502, 550)
    return expect(await peer.ehlo(), codes(250), choice=refused, near=codes(504), untested=put_off)


@case("5321-B-11", needs=[RECIPIENT], broken_by="second-ehlo-keeps-transaction", after=BEFORE_MAIL)
async def second_ehlo_clears_the_transaction(peer: Peer) -> Observation:
    """After an EHLO inside a transaction there is none, so RCPT is out of order."""
    await peer.until_rcpt()
    accepted(await peer.ehlo())
    rcpt = await peer.command(b"RCPT TO:<%s>" % peer.recipient.encode())
    return expect(rcpt, codes(503), near=severity(5), untested=put_off)


@case("5321-B-14", needs=[RECIPIENT, SMTP], broken_by="helo-keeps-transaction", after=BEFORE_MAIL)
async def helo_clears_the_transaction(peer: Peer) -> Observation:
    """After a HELO inside a transaction there is none, so RCPT is out of order."""
    await peer.until_rcpt()
    accepted(await peer.helo())
    rcpt = await peer.command(b"RCPT TO:<%s>" % peer.recipient.encode())
    return expect(rcpt, codes(503), near=severity(5), untested=put_off)


@case("5321-B-13", needs=[RECIPIENT, SMTP], broken_by="refused-ehlo-resets")
async def refused_ehlo_changes_nothing(peer: Peer) -> Observation:
    """An EHLO that is refused leaves the transaction as it was."""
    await peer.until_rcpt()
    refused = await peer.command(b"EHLO")
    if refused.severity != 5:
        raise Untested("EHLO without an argument was not refused", str(refused))
    rcpt = await peer.command(b"RCPT TO:<%s>" % peer.recipient.encode())
    return expect(rcpt, codes(250, 251), untested=that("a refusal but 503", lambda seen: seen.code != 503))


@case(
    "5321-C-33",
    broken_by="domain-limit-64",
    after=(ehlo_is_answered_250, "rfc5321.sizes.command-line-of-512-octets"),
)
async def ehlo_takes_the_longest_domain(peer: Peer) -> Observation:
    """EHLO takes a domain of 253 letters, the longest that the DNS can hold.

    The limit of 255 octets is that of the DNS, which counts the length of each label and the root.
    """
    answer = await peer.ehlo(NAME_253)
    return expect(answer, codes(250), choice=POLICY, untested=put_off)
