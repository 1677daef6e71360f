"""What a relay does with its queue: who is tried again, and who is told (RFC 5321 §3.6.3, §4.5.4.1)."""

from __future__ import annotations

from smtpbench.conformance import (
    ACCEPT,
    DEFER,
    DELIVERED,
    DROP,
    RECIPIENT,
    REFUSE,
    RELAY,
    RETRY,
    CameBack,
    Expectation,
    HopReply,
    Observation,
    Peer,
    Relayed,
    Untested,
    case,
    expect,
    near,
    next_hop,
    that,
)

TOO_MANY = HopReply(code=552, enhanced="5.5.3", text="Too many recipients")


async def retried(
    peer: Peer, *, rcpt: tuple[HopReply, ...] = (), content: tuple[HopReply, ...] = ()
) -> Observation:
    """A message whose first attempt fails for now is delivered by a later one."""
    async with next_hop(peer) as hop:
        to = hop.recipient(rcpt=rcpt, content=content)
        await hop.send(peer.marked_body(b"x\r\n"), to, sender=peer.fixtures.recipient)
        await hop.relayed(to)
        seen = await hop.attempts(to, number=2, retries=True)
        if seen.deliveries(to) == 0:
            seen = await hop.seen(to, number=2, retries=True)
        return expect(seen, that("taken at a later attempt", lambda found: found.deliveries(to) > 0))


@case("5321-E-10", needs=[RELAY, RETRY], broken_by=("relay-forgets-deferred", "relay-fails-deferred"))
async def a_recipient_refused_for_now_is_tried_again(peer: Peer) -> Observation:
    """After a 451 to RCPT the message is kept, and delivered later."""
    return await retried(peer, rcpt=(DEFER, ACCEPT))


@case("5321-E-10", needs=[RELAY, RETRY], broken_by=("relay-forgets-deferred", "relay-fails-deferred"))
async def a_message_refused_for_now_is_tried_again(peer: Peer) -> Observation:
    """After a 451 to the end of data the message is kept, and delivered later."""
    return await retried(peer, content=(DEFER, ACCEPT))


@case("5321-E-10", "5321-D-29", needs=[RELAY, RETRY], broken_by=("relay-takes-a-drop-for-success",))
async def a_message_whose_end_was_not_answered_is_tried_again(peer: Peer) -> Observation:
    """A connection that breaks before the reply to the end of data leaves the message in the queue."""
    return await retried(peer, content=(DROP, ACCEPT))


@case("5321-E-20", needs=[RELAY, RETRY], broken_by="relay-resends-to-all")
async def who_has_the_message_is_not_sent_it_again(peer: Peer) -> Observation:
    """A retry for one recipient does not send the message again to another who has it."""
    async with next_hop(peer) as hop:
        has_it, waits = hop.recipient(), hop.recipient(rcpt=(DEFER, ACCEPT))
        await hop.send(peer.marked_body(b"x\r\n"), has_it, waits)
        await hop.relayed()
        await hop.attempts(waits, number=2, retries=True)
        await hop.seen(waits, number=2, retries=True)
        seen = await hop.quiet()
        if not (seen.deliveries(has_it) and seen.deliveries(waits)):
            raise Untested("not both recipients got the message", str(seen))
        return expect(
            seen,
            that("each has the message once", lambda s: s.deliveries(has_it) == s.deliveries(waits) == 1),
        )


@case("5321-E-21", needs=[RELAY, RETRY], broken_by="relay-repeats-refused")
async def a_permanent_refusal_is_not_repeated(peer: Peer) -> Observation:
    """RCPT that was answered 550 is not sent again when another recipient is tried again."""
    async with next_hop(peer) as hop:
        refused, waits = hop.recipient(rcpt=(REFUSE,)), hop.recipient(rcpt=(DEFER, DEFER, ACCEPT))
        await hop.send(peer.marked_body(b"x\r\n"), refused, waits)
        await hop.relayed(waits)
        seen = await hop.attempts(waits, number=2, retries=True)
        if len(seen.transactions) < 2:
            raise Untested("no second attempt came for the other recipient", str(seen))
        return expect(
            await hop.quiet(refused), that("one RCPT for the refused", lambda s: len(s.transactions) == 1)
        )


@case(
    "5321-E-12",
    needs=[RELAY, RETRY, RECIPIENT, DELIVERED],
    broken_by="relay-takes-552-for-permanent",
    after=a_recipient_refused_for_now_is_tried_again,
)
async def too_many_recipients_is_for_now_only(peer: Peer) -> Observation:
    """A recipient answered 552, too many recipients, behind one that was accepted is tried again."""
    async with next_hop(peer) as hop:
        first, second = hop.recipient(), hop.recipient(rcpt=(TOO_MANY, ACCEPT))
        await hop.send(peer.marked_body(b"x\r\n"), first, second, sender=peer.recipient)
        seen = await hop.relayed(second)
        if len(seen.transactions[0].recipients) < 2:
            raise Untested("the recipients came in separate transactions", str(seen))
        seen = await hop.tried_again(second)
        return expect(seen, that("taken at a later attempt", lambda found: found.deliveries(second) > 0))


@case("5321-E-11", needs=[RELAY], broken_by="relay-sends-a-copy-each")
async def one_copy_serves_several_recipients(peer: Peer) -> Observation:
    """Two recipients at one hop are served by one transaction."""
    async with next_hop(peer) as hop:
        first, second = hop.recipient(), hop.recipient()
        await hop.send(peer.marked_body(b"x\r\n"), first, second)
        await hop.relayed(first)
        await hop.relayed(second)
        return expect(await hop.quiet(), that("the content once", lambda seen: len(seen.complete) == 1))


@case("5321-E-16", needs=[RELAY], broken_by="relay-lowers-local-parts")
async def the_case_of_a_local_part_is_kept(peer: Peer) -> Observation:
    """A local-part with capital letters goes on as it came."""
    async with next_hop(peer) as hop:
        to = hop.recipient("MiXed-")
        await hop.send(peer.marked_body(b"x\r\n"), to)
        wanted = to.partition("@")[0].encode()
        return expect(
            await hop.relayed(),
            that(
                "the local-part as it was given",
                lambda seen: all(
                    item.address.partition(b"@")[0] == wanted
                    for one in seen.transactions
                    for item in one.recipients
                ),
            ),
        )


# Who is told --------------------------------------------------------------------------------------


def told_of(recipient: str) -> Expectation[CameBack]:
    """A notification that names the recipient who failed."""
    one: Expectation[CameBack] = that("one notification", lambda seen: len(seen.about(recipient)) == 1)
    return one | near(that("several notifications", lambda seen: len(seen.about(recipient)) > 1))


@case(
    "5321-E-13",
    needs=[RELAY, RECIPIENT, DELIVERED],
    broken_by=("relay-reports-nothing", "relay-reports-twice"),
)
async def the_sender_is_told_of_a_failure(peer: Peer) -> Observation:
    """When the hop refuses the only recipient for good, the sender gets a notification."""
    async with next_hop(peer) as hop:
        to = hop.recipient(rcpt=(REFUSE,))
        await hop.send(peer.marked_body(b"x\r\n"), to, sender=peer.recipient)
        await hop.relayed(to)
        await hop.came_back()
        return expect(await hop.came_back(number=2, within=peer.target.timeouts.quiet), told_of(to))


@case("5321-D-47", needs=[RELAY, RECIPIENT, DELIVERED], broken_by="relay-reports-nothing")
async def the_sender_is_told_of_those_who_failed(peer: Peer) -> Observation:
    """When the hop takes one recipient and refuses another, the sender is told of the other."""
    async with next_hop(peer) as hop:
        good, bad = hop.recipient(), hop.recipient(rcpt=(REFUSE,))
        await hop.send(peer.marked_body(b"x\r\n"), good, bad, sender=peer.recipient)
        await hop.relayed(bad)
        return expect(
            await hop.came_back(),
            that("a notification about the refused one", lambda seen: bool(seen.about(bad))),
        )


@case(
    "5321-D-48",
    needs=[RELAY, RECIPIENT, DELIVERED],
    broken_by="relay-reports-to-the-from-field",
    after=the_sender_is_told_of_a_failure,
)
async def nobody_is_told_where_the_reverse_path_is_null(peer: Peer) -> Observation:
    """Failure of a message from the null reverse-path is not reported to anybody its header names."""
    header = b"X-Smtpbench: %s\r\nFrom: <%s>\r\nSubject: x\r\n" % (peer.marker, peer.recipient.encode())
    header += b"Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n"
    async with next_hop(peer) as hop:
        silent, control = hop.recipient(rcpt=(REFUSE,)), hop.recipient(rcpt=(REFUSE,))
        await hop.send(header + b"\r\nx\r\n", silent, sender="")
        await hop.relayed(silent)
        await hop.send(header + b"\r\nx\r\n", control, sender=peer.recipient)
        if not (await hop.came_back()).messages:
            raise Untested("no notification arrives here, also not where one is due")
        seen = await hop.came_back(number=2, within=peer.target.timeouts.quiet)
        if not seen.about(control):
            seen = await hop.came_back(number=len(seen.messages) + 1)
        return expect(
            seen,
            that(
                "a notification about the other one alone",
                lambda s: bool(s.about(control)) and not s.about(silent),
            ),
        )


@case("5321-E-18", needs=[RELAY], broken_by="relay-reports-from-somebody")
async def a_notification_leaves_with_the_null_reverse_path(peer: Peer) -> Observation:
    """A notification that is relayed to its addressee has MAIL FROM:<>."""
    async with next_hop(peer) as hop:
        back, bad = hop.recipient("back-"), hop.recipient(rcpt=(REFUSE,))
        await hop.send(peer.marked_body(b"x\r\n"), bad, sender=back)
        await hop.relayed(bad)
        seen: Relayed = await hop.relayed(back)
        return expect(
            seen,
            that(
                "MAIL FROM:<>",
                lambda found: all(one.mail[10:].startswith(b"<>") for one in found.transactions),
            ),
        )
