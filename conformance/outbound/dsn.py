"""DSN parameters on their way through a relay, and what it reports itself (RFC 3461 §5.2.1, §5.2.2)."""

from __future__ import annotations

import re

from smtpbench.conformance import (
    DELIVERED,
    EXTENSION,
    RECIPIENT,
    RELAY,
    HopScript,
    HopTransaction,
    Observation,
    Peer,
    Relayed,
    case,
    each_transaction,
    expect,
    near,
    next_hop,
    that,
)

DSN = EXTENSION("DSN")
ORCPT = "rfc822;Someone.Else@Example.ORG"
PARAMETER = re.compile(rb" ([A-Za-z0-9-]+)(?:=([^ ]+))?")
RELAYED = re.compile(rb"(?im)^action:[ \t]*relayed\b")


def parameters(line: bytes) -> dict[str, str]:
    """The parameters of a MAIL or RCPT line, names in upper case."""
    found = PARAMETER.findall(line.partition(b">")[2])
    return {name.decode().upper(): value.decode("utf-8", "replace") for name, value in found}


def of_mail(seen: HopTransaction) -> dict[str, str]:
    """The parameters of MAIL."""
    return parameters(seen.mail)


def of_rcpt(seen: HopTransaction) -> dict[str, str]:
    """The parameters of the first RCPT."""
    return parameters(seen.recipients[0].line)


def words(value: str | None) -> set[str]:
    """The keywords of a NOTIFY value, whose order and case mean nothing (§4.1)."""
    return set((value or "").upper().split(","))


async def through(
    peer: Peer, script: HopScript, *, mail: dict[str, str | None], rcpt: dict[str, str | None]
) -> Relayed:
    """A message with these parameters, as it comes to a hop that follows `script`."""
    async with next_hop(peer, script) as hop:
        await hop.send(peer.marked_body(b"x\r\n"), hop.recipient(), mail=mail, rcpt=rcpt)
        return await hop.relayed()


@case("3461-12", needs=[RELAY, DSN], broken_by="relay-drops-dsn")
async def parameters_go_on_to_a_hop_that_offers_dsn(peer: Peer) -> Observation:
    """ENVID, RET and NOTIFY are sent on with the values that they came with."""
    seen = await through(
        peer, HopScript(), mail={"RET": "HDRS", "ENVID": "Qq314159"}, rcpt={"NOTIFY": "SUCCESS,FAILURE"}
    )
    return expect(
        seen,
        each_transaction(
            "RET=HDRS ENVID=Qq314159 and NOTIFY=SUCCESS,FAILURE",
            lambda one: (
                of_mail(one).get("RET", "").upper() == "HDRS"
                and of_mail(one).get("ENVID") == "Qq314159"
                and words(of_rcpt(one).get("NOTIFY")) == {"SUCCESS", "FAILURE"}
            ),
        ),
    )


@case("3461-13", needs=[RELAY, DSN], broken_by=("relay-adds-notify", "relay-adds-ret"))
async def parameters_that_did_not_come_are_not_added(peer: Peer) -> Observation:
    """A message without ENVID, RET and NOTIFY goes on without them."""
    return expect(
        await through(peer, HopScript(), mail={}, rcpt={}),
        each_transaction(
            "no ENVID, RET or NOTIFY",
            lambda one: not {"ENVID", "RET"} & of_mail(one).keys() and "NOTIFY" not in of_rcpt(one),
        ),
    )


@case("3461-12", "3461-14", needs=[RELAY, DSN], broken_by=("relay-lowers-orcpt", "relay-drops-dsn"))
async def orcpt_keeps_its_letters(peer: Peer) -> Observation:
    """The address of ORCPT is sent on with capital and small letters as they were."""

    def same(one: HopTransaction) -> bool:
        kind, _, address = of_rcpt(one).get("ORCPT", "").partition(";")
        return kind.lower() == "rfc822" and address == ORCPT.partition(";")[2]

    return expect(
        await through(peer, HopScript(), mail={}, rcpt={"ORCPT": ORCPT}),
        each_transaction(f"ORCPT={ORCPT}", same),
    )


@case("3461-15", needs=[RELAY, DSN], broken_by=("relay-sends-dsn-anyway", "relay-sends-orcpt-anyway"))
async def parameters_are_kept_from_a_hop_without_dsn(peer: Peer) -> Observation:
    """ENVID, RET, NOTIFY and ORCPT are not sent to a hop that does not offer DSN."""
    seen = await through(
        peer,
        HopScript().without("DSN"),
        mail={"RET": "HDRS", "ENVID": "Qq314159"},
        rcpt={"NOTIFY": "FAILURE", "ORCPT": ORCPT},
    )
    return expect(
        seen,
        each_transaction(
            "none of them",
            lambda one: (
                not {"ENVID", "RET"} & of_mail(one).keys() and not {"NOTIFY", "ORCPT"} & of_rcpt(one).keys()
            ),
        ),
    )


@case("3461-16", needs=[RELAY, DSN, RECIPIENT, DELIVERED], broken_by="relay-is-silent-about-relaying")
async def relaying_to_a_hop_without_dsn_is_reported(peer: Peer) -> Observation:
    """NOTIFY=SUCCESS gets the sender a “relayed” notification when the next hop does not know DSN."""
    async with next_hop(peer, HopScript().without("DSN")) as hop:
        to = hop.recipient()
        await hop.send(peer.marked_body(b"x\r\n"), to, sender=peer.recipient, rcpt={"NOTIFY": "SUCCESS"})
        await hop.relayed(to)
        back = await hop.came_back()
    return expect(
        back,
        that(
            "a notification with the Action relayed",
            lambda seen: any(RELAYED.search(item.raw) for item in seen.about(to)),
        ),
        near=near(that("another notification", lambda seen: bool(seen.about(to)))),
    )
