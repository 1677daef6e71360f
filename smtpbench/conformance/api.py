"""What a case may use, in one place. Cases import from `smtpbench.conformance`, which has the same names.

A case is ten lines: get there, do the one thing, say what conforms.

    @case("5321-A-31", broken_by="rset-accepts-argument")
    async def rset_with_an_argument_is_a_syntax_error(peer: Peer) -> Observation:
        \"\"\"RSET takes no argument.\"\"\"
        await peer.until_ready()                                   # refused → untested, with the reply
        return expect(await peer.command(b"RSET now"), codes(501), near=severity(5))

    @case("5321-D-6", needs=[RECIPIENT, DELIVERED], broken_by="data-ends-at-lf-dot-crlf")
    async def lf_dot_crlf_is_not_end_of_data(peer: Peer) -> Observation:
        \"\"\"A line ended by a bare LF does not complete the end-of-data sequence.\"\"\"
        await peer.until_data()
        await peer.send(peer.marked_body(b"first\\n.\\r\\n" + peer.smuggled()))
        return expect(await peer.delivery(), not_split)

    @case("5321-D-16", needs=[RECIPIENT, DELIVERED], broken_by="leading-dot-kept")
    async def stuffed_dots_are_removed(peer: Peer) -> Observation:
        \"\"\"The dot that a client adds to a line that begins with one is removed again.\"\"\"
        content = peer.marked_body(b".one\\r\\n..two\\r\\n")
        return expect(await peer.delivered(content), intact(content))

**Ids.** ``conformance/rfc5321/data.py`` + ``lf_dot_crlf_…`` is `rfc5321.data.lf-dot-crlf-…`. It is public
and stable: do not rename a case without need. The docstring's first line is the title in reports.

**Getting there.** `until_greeted` (220) · `until_ready` (EHLO accepted) · `until_allowed` (MAIL may come:
AUTH done where it must be) · `until_mail` (MAIL accepted) · `until_rcpt` (RCPT accepted) · `until_data`
(354). Each does what is still missing and raises `Untested` if refused. A case about what comes earlier
uses `connect()` (greeting), `ehlo()`, `helo()`.

**Doing it.** `command(line)` one line, one reply · `pipeline(*lines)` one write, as many replies ·
`probe(octets)` exactly these octets, and whatever comes until it is quiet (where silence is a good
answer) · `send(octets)` then `read(n)` · `settle()` replies nobody asked for · `until_closed()` ·
`starttls()`, `handshake()`, `auth()`, `content(message)`. `new_session()` for a second connection;
`drop()` breaks one off. None of them raises for a close or a silence (the case is then run once more;
if it happens again the Answer holds it), so "the connection closed" is judged like any other answer.

**Lines of your own in place of MAIL and RCPT.** `instead_of_mail(peer, line)` and `instead_of_rcpt(peer,
line)` send it in a fresh session; if it is refused, a proper one must be accepted after it, else untested.
`mail_with(peer, "BY=60;N")` and `rcpt_with(…)` do that with the fixture's address and these parameters.

**AUTH step by step.** `until_auth_offered(peer, "PLAIN")` (in TLS if need be), `until_challenged`, then
`respond(peer, octets)` or `respond_raw(peer, line)`; `begin_auth` sends an initial response, `challenge_of`
decodes a 334. `scram_client` and `scram_exchange` build SCRAM messages, wrong ones too. What the client says
stays out of transcripts and reports. Wrong passwords go with `unknown_user()`, so that nobody is locked out.

**Client libraries.** `submitted(peer, SMTPLIB, errand(peer, content))` has the standard library's client
submit a message, `AIOSMTPLIB` another's; a library that breaks or refuses makes the case untested.

**Delivery.** Build content with `marked_body(body, *extra_header_lines)`: the marker finds it again.
`delivered(content)` submits it properly. For octets on the edge: `until_data()`, `send(raw)`, then
`delivery()`, which sends CRLF.CRLF and QUIT, reads to the close, waits for the message and for a fence
message behind it, so that what must NOT arrive had its chance. `nothing_arrived()` is for transactions
given up half-way.

**Notifications.** `mailed(peer, recipient, notify="SUCCESS", …)` sends a message from the observed mailbox;
`notices_of(peer, mailing)` waits for what comes back, `notices_behind(peer, mailing, control)` sees what has
come once a report that is due has. Judge with `notified("delivered")`, `no_notice`, `each_report("…", …)`.

**Saying what conforms.** `expect(seen, conforms, near=…, stricter=…, choice=…)`:
`conforms` is what the RFC asks; `near` the right class with the wrong code, or widely tolerated (→
non-strict); `stricter` refused on purpose (→ hardened); `choice` the RFC leaves it open (→ info);
`untested` an answer to another question (mostly `put_off`: 4yz, 530); anything else violates. `|` joins
alternatives (`codes(501) | near(severity(5))` says the same inline), `&` demands both. Never look at a
level, never branch on a verdict: the level in the catalogue grades.

    codes(250, 251) · severity(5) · not_codes(500, 502) · not_severity(2) · any_reply · silence · closed ·
    not_understood (500 to 502, 504, 555) · closed_with_421 · closed_with_refusal ·
    text_matches(rb"…", "a domain first") · reply_that("in words", lambda reply: …) ·
    single(…) exactly one reply · sequence(codes(250), codes(354))
    one_message · refused · nothing_delivered · not_split · messages(n) · intact(content) ·
    each_message("in words", that("…", lambda message: …)) · that("in words", lambda seen: …)

A question about a message's octets goes on `taken(await peer.delivered(content))`: refused → untested.
Of the server's Received line: `received_line(peer)`, and `with_clause(line)` of it.

Several variants of one question: ``all_of(expect(…), expect(…))``: the worst counts, and is named.
A question that cannot be put: ``raise Untested("why")``.

**Segments.** `by_segments(peer, dialogue)` plays a dialogue (steps of octets) whole, octet by octet and
cut at every edge: replies and messages must be the same each time (read with `peer.arrivals`).

**Needs.** Name what the case uses (a case that calls `until_rcpt` needs RECIPIENT). Every need is judged at
the endpoint that the case talks to: that of its ENDPOINT, else the main one.
Of the target file: RECIPIENT, SECOND_RECIPIENT, UNKNOWN_RECIPIENT, FOREIGN_RECIPIENT, UTF8_RECIPIENT,
LOCAL_DOMAIN, NULL_MX_DOMAIN, DELIVERED (an observer), NUL_DELIVERED (one that sees NULs), AUTH
(credentials), SLOW (the user wants cases of minutes), ENDPOINT(Role.LMTP).
Of what the endpoint said when it was asked: TLS (STARTTLS is offered, or TLS comes first);
EXTENSION("SIZE") and NO_EXTENSION("SIZE") as EHLO has it where `until_ready` leads;
TLS_EXTENSION("REQUIRETLS") as EHLO has it inside TLS, wherever TLS begins; AUTH_OFFERED and
MECHANISM("PLAIN") in clear or inside TLS; REFUSING (it greeted with 554 or 521; any other case is then
untested unless it only looks at the greeting).

**The next hop.** Where the target relays to us (RELAY; RETRY if the case waits for a second attempt):
``async with next_hop(peer, script) as hop``; `hop.recipient(rcpt=…, content=…)` is a mailbox there with the
replies it gets; `hop.send(content, *recipients, …)` submits; `hop.relayed(…)` is what came, octet for octet,
and `hop.came_back(…)` what the sender was told. `each_transaction` and `each_session` say what conforms. See
`smtpbench/conformance/nexthop.py` and, for the scripts, `smtpbench/delivery/hop_script.py`.

**Proof.** `broken_by` names the faults (smtpbench/server/faults) that must turn the case red;
``smtpbench catalogue --proof`` shows that they do, and that no other case turns red.
"""

from __future__ import annotations

from smtpbench.conformance.answer import Answer, Ending
from smtpbench.conformance.cases import Case, case
from smtpbench.conformance.deliveries import (
    Delivery,
    Message,
    each_message,
    intact,
    messages,
    not_split,
    nothing_delivered,
    one_message,
    refused,
    taken,
)
from smtpbench.conformance.envelope import (
    instead_of_mail,
    instead_of_rcpt,
    mail_line,
    mail_with,
    rcpt_line,
    rcpt_with,
)
from smtpbench.conformance.exchange import (
    begin_auth,
    challenge_of,
    plain_message,
    respond,
    respond_raw,
    unknown_user,
    until_auth_offered,
    until_challenged,
    until_tls,
)
from smtpbench.conformance.expectations import (
    Expectation,
    any_reply,
    choice,
    closed,
    closed_with_421,
    closed_with_refusal,
    codes,
    expect,
    near,
    not_codes,
    not_severity,
    not_understood,
    put_off,
    reply_that,
    sequence,
    severity,
    silence,
    single,
    stricter,
    text_matches,
    that,
    untested,
)
from smtpbench.conformance.interop import AIOSMTPLIB, SMTPLIB, Client, errand, submitted
from smtpbench.conformance.needs import (
    AUTH,
    AUTH_OFFERED,
    BOUNCING_RECIPIENT,
    DELIVERED,
    ENDPOINT,
    EXTENSION,
    FOREIGN_RECIPIENT,
    LOCAL_DOMAIN,
    MECHANISM,
    NO_EXTENSION,
    NUL_DELIVERED,
    NULL_MX_DOMAIN,
    RECIPIENT,
    REFUSING,
    RELAY,
    RETRY,
    SECOND_RECIPIENT,
    SLOW,
    TLS,
    TLS_EXTENSION,
    UNKNOWN_RECIPIENT,
    UTF8_RECIPIENT,
    Need,
)
from smtpbench.conformance.nexthop import (
    CameBack,
    NextHop,
    Relayed,
    Sessions,
    each_session,
    each_transaction,
    next_hop,
)
from smtpbench.conformance.notices import (
    Notice,
    Notices,
    each_notice,
    each_report,
    formless,
    mailed,
    no_notice,
    notices_behind,
    notices_of,
    notified,
    reported,
    some,
)
from smtpbench.conformance.observation import Observation, Outcome, Untested, all_of
from smtpbench.conformance.peer import Peer
from smtpbench.conformance.random_order import search as search_random_order
from smtpbench.conformance.scram import (
    HASHES,
    attributes,
    offered_scram,
    scram_client,
    scram_exchange,
)
from smtpbench.conformance.segments import Step, by_segments
from smtpbench.conformance.trace import received_line, with_clause
from smtpbench.delivery.hop_script import (
    ACCEPT,
    DEFER,
    DROP,
    REFUSE,
    HopReply,
    HopScript,
    HopSession,
    HopTransaction,
)
from smtpbench.delivery.reports import About, Report
from smtpbench.target import Role
from smtpbench.wire.replies import Anomaly, Reply, escape
from smtpbench.wire.state import Verb

__all__ = [
    "ACCEPT",
    "AIOSMTPLIB",
    "AUTH",
    "AUTH_OFFERED",
    "BOUNCING_RECIPIENT",
    "DEFER",
    "DELIVERED",
    "DROP",
    "ENDPOINT",
    "EXTENSION",
    "FOREIGN_RECIPIENT",
    "HASHES",
    "LOCAL_DOMAIN",
    "MECHANISM",
    "NO_EXTENSION",
    "NULL_MX_DOMAIN",
    "NUL_DELIVERED",
    "RECIPIENT",
    "REFUSE",
    "REFUSING",
    "RELAY",
    "RETRY",
    "SECOND_RECIPIENT",
    "SLOW",
    "SMTPLIB",
    "TLS",
    "TLS_EXTENSION",
    "UNKNOWN_RECIPIENT",
    "UTF8_RECIPIENT",
    "About",
    "Anomaly",
    "Answer",
    "CameBack",
    "Case",
    "Client",
    "Delivery",
    "Ending",
    "Expectation",
    "HopReply",
    "HopScript",
    "HopSession",
    "HopTransaction",
    "Message",
    "Need",
    "NextHop",
    "Notice",
    "Notices",
    "Observation",
    "Outcome",
    "Peer",
    "Relayed",
    "Reply",
    "Report",
    "Role",
    "Sessions",
    "Step",
    "Untested",
    "Verb",
    "all_of",
    "any_reply",
    "attributes",
    "begin_auth",
    "by_segments",
    "case",
    "challenge_of",
    "choice",
    "closed",
    "closed_with_421",
    "closed_with_refusal",
    "codes",
    "each_message",
    "each_notice",
    "each_report",
    "each_session",
    "each_transaction",
    "errand",
    "escape",
    "expect",
    "formless",
    "instead_of_mail",
    "instead_of_rcpt",
    "intact",
    "mail_line",
    "mail_with",
    "mailed",
    "messages",
    "near",
    "next_hop",
    "no_notice",
    "not_codes",
    "not_severity",
    "not_split",
    "not_understood",
    "nothing_delivered",
    "notices_behind",
    "notices_of",
    "notified",
    "offered_scram",
    "one_message",
    "plain_message",
    "put_off",
    "rcpt_line",
    "rcpt_with",
    "received_line",
    "refused",
    "reply_that",
    "reported",
    "respond",
    "respond_raw",
    "scram_client",
    "scram_exchange",
    "search_random_order",
    "sequence",
    "severity",
    "silence",
    "single",
    "some",
    "stricter",
    "submitted",
    "taken",
    "text_matches",
    "that",
    "unknown_user",
    "untested",
    "until_auth_offered",
    "until_challenged",
    "until_tls",
    "with_clause",
]
