"""The smuggling matrix against the reference server, whole and with the faults that make two of one."""

from __future__ import annotations

from smtpbench.conformance.reference import reference
from smtpbench.conformance.smuggling import VARIANTS, Inbound, Matrix, smuggling_matrix
from smtpbench.delivery.hop import Hop
from smtpbench.lab.workspace import Workspace


async def matrix(place: Workspace, *faults: str, beyond: tuple[str, ...] | None = None) -> Matrix:
    """Of a reference server with `faults` that relays, and of one with the faults `beyond` behind it."""
    async with Hop() as hop:
        address = hop.where
        async with reference(place, *faults, hop=hop) as (target, _):
            await hop.stop()  # the matrix listens there itself
            assert target.relay is not None
            assert target.relay.listen == address
            if beyond is None:
                return await smuggling_matrix(target)
            async with reference(place, *beyond) as (second, _):
                return await smuggling_matrix(target, second)


async def test_a_strict_server_keeps_each_message_one(place: Workspace) -> None:
    found = await matrix(place, beyond=())
    assert [row.variant for row in found.rows] == list(VARIANTS)
    assert found.smuggled == ()
    assert {row.target.inbound for row in found.rows} <= {Inbound.WHOLE, Inbound.REFUSED}
    proper = next(row for row in found.rows if row.variant == "CRLF .. CRLF")
    assert proper.outbound == (b"\r\n..\r\n",), "the dot is stuffed again"
    assert proper.onward is not None
    assert proper.onward.inbound is Inbound.WHOLE


async def test_the_variant_that_ends_the_data_is_named_and_no_other(place: Workspace) -> None:
    found = await matrix(place, "data-ends-at-lf-dot-crlf")
    assert [row.variant for row in found.smuggled] == ["LF . CRLF"]
    assert found.smuggled[0].target.inbound is Inbound.SPLIT


async def test_two_servers_that_disagree_smuggle_between_them(place: Workspace) -> None:
    found = await matrix(place, "relay-passes-bare-line-ends", beyond=("data-ends-at-lf-dot-lf",))
    assert [row.variant for row in found.smuggled] == ["LF . LF"]
    row = found.smuggled[0]
    assert row.target.inbound is Inbound.WHOLE
    assert row.outbound == (b"\n.\n",)
    assert row.onward is not None
    assert row.onward.inbound is Inbound.SPLIT


async def test_a_target_without_a_next_hop_is_judged_by_what_it_takes(place: Workspace) -> None:
    async with reference(place) as (target, _):
        found = await smuggling_matrix(target)
    assert not found.relays
    assert found.smuggled == ()
    assert all(row.outbound is None for row in found.rows)
