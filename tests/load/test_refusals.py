from __future__ import annotations

import pytest

from smtpbench.load.refusals import notes_on, recognise


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        ("421 4.7.0 mx.example.com Error: too many connections from 192.0.2.1", "connections"),
        ("421 Too many concurrent SMTP connections; please try again later.", "connections"),
        (
            "421 4.3.2 The maximum number of concurrent connections has exceeded a limit, closing",
            "connections",
        ),
        ("421 4.4.5 Server busy: connection rate limit exceeded", "connections"),
        ("450 4.7.1 Error: too much mail from 192.0.2.1", "message-rate"),
        ("421 4.7.28 our system has detected an unusual rate limit", "message-rate"),
        ("451 4.7.500 Server busy. Please try again later. throttled", "message-rate"),
        ("452 4.5.3 Error: too many recipients", "recipients"),
        ("452 too many recipients", "recipients"),
        ("550 5.5.3 nope", "recipients"),
        ("450 4.2.0 <a@b>: Recipient address rejected: Greylisted, see http://example.org", "greylisting"),
        ("530 5.7.0 Must issue a STARTTLS command first", "tls-required"),
        ("530 5.7.1 Authentication required", "auth-required"),
        ("550 5.7.1 Client host rejected: not authenticated", "auth-required"),
        ("552 5.3.4 Message size exceeds fixed limit", "size"),
        ("421 4.7.0 mx.example.com Error: too many errors", "errors"),
        ("452 4.3.1 Insufficient system storage", "storage"),
        ("421 4.7.0 go away", "client-policy"),
        ("127.0.0.1:25: greeting: 421 4.7.0 go away", "client-policy"),
    ],
)
def test_what_servers_say_of_their_limits(refusal: str, kind: str) -> None:
    known = recognise(refusal)
    assert known is not None
    assert known[0] == kind


@pytest.mark.parametrize(
    "refusal",
    [
        "550 5.1.1 No such mailbox here", "554 5.7.1 Relay access denied", "451 4.3.0 Temporary failure",
        "421 4.3.2 Service shutting down", "503 5.5.1 Bad sequence of commands", "250 2.0.0 queued", "",
    ],
)  # fmt: skip
def test_other_refusals_are_no_limit(refusal: str) -> None:
    assert recognise(refusal) is None


def test_a_note_for_each_kind() -> None:
    found = notes_on(
        ["421 too many connections from a", "421 too many connections from b", "550 nobody", "450 greylisted"]
    )
    assert len(found) == 2
    assert "a limit on connections" in found[0]
    assert found[0].endswith(": 421 too many connections from a")
