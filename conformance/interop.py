"""Interoperability: messages submitted by client libraries as their users would submit them.

Each case first goes the same way with our own client; what that meets is asked elsewhere.
"""

from __future__ import annotations

from smtpbench.conformance import (
    AIOSMTPLIB,
    AUTH,
    ENDPOINT,
    EXTENSION,
    MECHANISM,
    RECIPIENT,
    SMTPLIB,
    TLS,
    Client,
    Delivery,
    Expectation,
    Observation,
    Peer,
    Role,
    Untested,
    case,
    errand,
    expect,
    severity,
    submitted,
    that,
    until_auth_offered,
    until_tls,
)

MX = [ENDPOINT(Role.MX), RECIPIENT]
SUBMISSION = [ENDPOINT(Role.SUBMISSION), RECIPIENT, AUTH]
SUBMISSIONS = [ENDPOINT(Role.SUBMISSIONS), RECIPIENT, AUTH]
SENDABLE = ("PLAIN", "LOGIN", "CRAM-MD5")  # what both libraries have
# What they do and our client does not: both write size=, and smtplib has its verbs in small letters.
DECLARED = ("size-parameter-refused", "keywords-case-sensitive")
SIZE_AND_VERBS = (*DECLARED, "verbs-case-sensitive")
CONTROL = b"Subject: control\r\n\r\ncontrol\r\n"
UTF8_SENDER = "bjørn@example.org"
submits: Expectation[Delivery] = that("accepted", lambda delivery: delivery.accepted)


async def submission(
    peer: Peer,
    client: Client,
    control: Peer,
    *,
    starttls: bool = False,
    mechanism: str | None = None,
    body: bytes = b"text\r\n.dot\r\n",
    sender: str | None = None,
    mail: tuple[str, ...] = (),
    rcpt: tuple[str, ...] = (),
) -> Observation:
    """Whether the library can submit a message, once `control` has submitted one of ours."""
    accepted = await control.content_of(CONTROL)
    if accepted.severity != 2:
        raise Untested("a message of our own was not accepted", str(accepted))
    content = peer.marked_body(body)
    work = errand(
        peer,
        content,
        starttls=starttls,
        mechanism=mechanism,
        sender=sender,
        mail_options=mail,
        rcpt_options=rcpt,
    )
    return expect(await submitted(peer, client, work), submits, untested=severity(4))


async def plainly(peer: Peer, client: Client) -> Observation:
    """In clear, with nothing special."""
    return await submission(peer, client, peer.new_session())


async def in_tls(peer: Peer, client: Client) -> Observation:
    """Inside TLS, after STARTTLS."""
    control = peer.new_session()
    await until_tls(control)
    return await submission(peer, client, control, starttls=True)


async def logged_in(peer: Peer, client: Client, *mechanisms: str) -> Observation:
    """With AUTH by the first of `mechanisms` that is offered."""
    control = peer.new_session()
    await until_auth_offered(control)
    mechanism = next((name for name in mechanisms if name in control.extensions.auth_mechanisms), None)
    if mechanism is None:
        raise Untested(f"AUTH {' '.join(mechanisms)} is not offered")
    answer = await control.auth(mechanism)
    if answer.code != 235:
        raise Untested(f"AUTH {mechanism} was not accepted", str(answer))
    return await submission(peer, client, peer.new_session(), mechanism=mechanism)


async def in_utf8(peer: Peer, client: Client) -> Observation:
    """From a sender whose name is not ASCII."""
    control = peer.new_session()
    await control.until_mail(UTF8_SENDER, SMTPUTF8=None)
    options = ("SMTPUTF8", "BODY=8BITMIME") if "8BITMIME" in control.extensions else ("SMTPUTF8",)
    return await submission(peer, client, control, sender=UTF8_SENDER, mail=options)


async def in_8bit(peer: Peer, client: Client) -> Observation:
    """With BODY=8BITMIME."""
    control = peer.new_session()
    await control.until_mail(BODY="8BITMIME")
    return await submission(peer, client, control, body="blå\r\n".encode(), mail=("BODY=8BITMIME",))


async def with_dsn(peer: Peer, client: Client) -> Observation:
    """With the options of DSN."""
    control = peer.new_session()
    await control.until_mail(RET="HDRS", ENVID="smtpbench")
    options = ("RET=HDRS", "ENVID=smtpbench")
    return await submission(peer, client, control, mail=options, rcpt=("NOTIFY=NEVER",))


@case("5321-D-4", needs=MX, broken_by=SIZE_AND_VERBS)
async def smtplib_submits(peer: Peer) -> Observation:
    """The standard library's smtplib submits a message."""
    return await plainly(peer, SMTPLIB)


@case("5321-D-4", needs=MX, broken_by=DECLARED)
async def aiosmtplib_submits(peer: Peer) -> Observation:
    """aiosmtplib submits a message."""
    return await plainly(peer, AIOSMTPLIB)


@case("3207-2", needs=[*MX, TLS], broken_by=SIZE_AND_VERBS)
async def smtplib_submits_after_starttls(peer: Peer) -> Observation:
    """smtplib begins TLS and submits a message."""
    return await in_tls(peer, SMTPLIB)


@case("3207-2", needs=[*MX, TLS], broken_by=DECLARED)
async def aiosmtplib_submits_after_starttls(peer: Peer) -> Observation:
    """aiosmtplib begins TLS and submits a message."""
    return await in_tls(peer, AIOSMTPLIB)


@case("3207-20", needs=SUBMISSIONS, broken_by=SIZE_AND_VERBS)
async def smtplib_submits_in_implicit_tls(peer: Peer) -> Observation:
    """smtplib submits a message where TLS comes first."""
    return await logged_in(peer, SMTPLIB, *SENDABLE)


@case("3207-20", needs=SUBMISSIONS, broken_by=DECLARED)
async def aiosmtplib_submits_in_implicit_tls(peer: Peer) -> Observation:
    """aiosmtplib submits a message where TLS comes first."""
    return await logged_in(peer, AIOSMTPLIB, *SENDABLE)


@case(
    "4954-15",
    needs=[*SUBMISSION, MECHANISM("PLAIN")],
    broken_by=SIZE_AND_VERBS,
)
async def smtplib_logs_in_with_plain(peer: Peer) -> Observation:
    """smtplib authenticates with PLAIN and submits a message."""
    return await logged_in(peer, SMTPLIB, "PLAIN")


@case("4954-15", needs=[*SUBMISSION, MECHANISM("PLAIN")], broken_by=DECLARED)
async def aiosmtplib_logs_in_with_plain(peer: Peer) -> Observation:
    """aiosmtplib authenticates with PLAIN and submits a message."""
    return await logged_in(peer, AIOSMTPLIB, "PLAIN")


@case(
    "4954-15",
    needs=[*SUBMISSION, MECHANISM("LOGIN")],
    broken_by=SIZE_AND_VERBS,
)
async def smtplib_logs_in_with_login(peer: Peer) -> Observation:
    """smtplib authenticates with LOGIN and submits a message."""
    return await logged_in(peer, SMTPLIB, "LOGIN")


@case("4954-15", needs=[*SUBMISSION, MECHANISM("LOGIN")], broken_by=DECLARED)
async def aiosmtplib_logs_in_with_login(peer: Peer) -> Observation:
    """aiosmtplib authenticates with LOGIN and submits a message."""
    return await logged_in(peer, AIOSMTPLIB, "LOGIN")


@case(
    "4954-15",
    needs=[*SUBMISSION, MECHANISM("CRAM-MD5")],
    broken_by=SIZE_AND_VERBS,
)
async def smtplib_logs_in_with_cram_md5(peer: Peer) -> Observation:
    """smtplib authenticates with CRAM-MD5 and submits a message."""
    return await logged_in(peer, SMTPLIB, "CRAM-MD5")


@case("4954-15", needs=[*SUBMISSION, MECHANISM("CRAM-MD5")], broken_by=DECLARED)
async def aiosmtplib_logs_in_with_cram_md5(peer: Peer) -> Observation:
    """aiosmtplib authenticates with CRAM-MD5 and submits a message."""
    return await logged_in(peer, AIOSMTPLIB, "CRAM-MD5")


@case(
    "6531-18",
    needs=[*MX, EXTENSION("SMTPUTF8")],
    broken_by=SIZE_AND_VERBS,
)
async def smtplib_submits_with_smtputf8(peer: Peer) -> Observation:
    """smtplib submits a message from a sender whose name is not ASCII."""
    return await in_utf8(peer, SMTPLIB)


@case("6531-18", needs=[*MX, EXTENSION("SMTPUTF8")], broken_by=DECLARED)
async def aiosmtplib_submits_with_smtputf8(peer: Peer) -> Observation:
    """aiosmtplib submits a message from a sender whose name is not ASCII."""
    return await in_utf8(peer, AIOSMTPLIB)


@case("6152-1", needs=[*MX, EXTENSION("8BITMIME")], broken_by=SIZE_AND_VERBS)
async def smtplib_submits_8bit(peer: Peer) -> Observation:
    """smtplib submits a message with BODY=8BITMIME."""
    return await in_8bit(peer, SMTPLIB)


@case("6152-1", needs=[*MX, EXTENSION("8BITMIME")], broken_by=DECLARED)
async def aiosmtplib_submits_8bit(peer: Peer) -> Observation:
    """aiosmtplib submits a message with BODY=8BITMIME."""
    return await in_8bit(peer, AIOSMTPLIB)


@case("3461-3", needs=[*MX, EXTENSION("DSN")], broken_by=SIZE_AND_VERBS)
async def smtplib_submits_with_dsn_options(peer: Peer) -> Observation:
    """smtplib submits a message with RET, ENVID and NOTIFY."""
    return await with_dsn(peer, SMTPLIB)


@case("3461-3", needs=[*MX, EXTENSION("DSN")], broken_by=DECLARED)
async def aiosmtplib_submits_with_dsn_options(peer: Peer) -> Observation:
    """aiosmtplib submits a message with RET, ENVID and NOTIFY."""
    return await with_dsn(peer, AIOSMTPLIB)
