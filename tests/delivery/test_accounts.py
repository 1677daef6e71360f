"""The balance: every accepted message ends in one state, and each fault gets its own word."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from smtpbench.delivery.accounts import Entry, Notice, balance
from smtpbench.delivery.arrival import Arrival
from smtpbench.delivery.fingerprint import make_identifier
from smtpbench.delivery.journal import Content, Outcome

RUN = b"0123abcd"
CONTENT = Content(b"exact", b"decoded")
ALICE, BOB = "alice@example.com", "bob@example.com"


def entry(number, recipients=(ALICE,), outcome=Outcome.ACCEPTED, session=1):
    return Entry(
        make_identifier(RUN, number), outcome, 10 * number, 10 * number + 5, (RUN, session), number,
        recipients, CONTENT,
    )  # fmt: skip


def arrival(number, recipients=(ALICE,), at_ns=None, **more):
    at_ns = 1000 + number if at_ns is None else at_ns
    return Arrival(make_identifier(RUN, number), at_ns, "s@example.org", recipients, b"exact", **more)


def failed(number, recipient=ALICE, **more):
    return Notice(make_identifier(RUN, number), recipient, "failed", 5000, **more)


def settle(entries, arrivals, notices=(), *, closed=True):
    return balance(entries, arrivals, notices, runs={RUN}, closed=closed)


def nonzero(result):
    counts = result.counts
    return {name: getattr(counts, name) for name in counts.__slots__ if getattr(counts, name)}


def test_all_delivered_is_all_zeros():
    result = settle([entry(n) for n in range(3)], [arrival(n) for n in range(3)])
    assert nonzero(result) == {"accepted": 3, "delivered": 3}
    assert result.closed_ns == [1000, 1001, 1002]
    assert [(c.begun_ns, c.answered_ns, c.arrived_ns) for c in result.copies][1] == (10, 15, 1001)


def test_a_missing_message_is_pending_until_the_target_has_had_its_time():
    assert nonzero(settle([entry(1)], [], closed=False)) == {"accepted": 1, "pending": 1}
    result = settle([entry(1)], [])
    assert nonzero(result) == {"accepted": 1, "lost": 1}
    assert result.examples == {"lost": ["0123abcd-000000001"]}


def test_one_missing_copy_loses_the_message():
    assert nonzero(settle([entry(1, (ALICE, BOB))], [arrival(1, (BOB,))])) == {"accepted": 1, "lost": 1}


def test_one_transaction_for_both_and_one_for_each():
    both = settle([entry(1, (ALICE, BOB))], [arrival(1, (BOB, ALICE))])
    each = settle([entry(1, (ALICE, BOB))], [arrival(1, (BOB,)), arrival(1, (ALICE,))])
    assert nonzero(both) == nonzero(each) == {"accepted": 1, "delivered": 1}


def test_a_mailbox_that_names_nobody_and_an_alias():
    for recipients in ((), ("somebody@example.com",)):
        assert nonzero(settle([entry(1)], [arrival(1, recipients)])) == {"accepted": 1, "delivered": 1}


def test_addresses_are_compared_without_case():
    assert nonzero(settle([entry(1)], [arrival(1, (ALICE.upper(),))])) == {"accepted": 1, "delivered": 1}


def test_a_second_copy():
    result = settle([entry(1)], [arrival(1), arrival(1, at_ns=2000), arrival(1, ())])
    assert nonzero(result) == {"accepted": 1, "delivered": 1, "duplicated": 1, "surplus_copies": 2}


def test_damage_transformation_and_a_splice():
    damaged = settle([entry(1)], [replace(arrival(1), digest=b"other", decoded=b"other")])
    transformed = settle([entry(1)], [replace(arrival(1), digest=b"other", decoded=b"decoded")])
    spliced = settle([entry(1)], [arrival(1, spliced=True)])
    assert nonzero(damaged) == nonzero(spliced) == {"accepted": 1, "delivered": 1, "corrupted": 1}
    assert nonzero(transformed) == {"accepted": 1, "delivered": 1, "transformed": 1}


def test_who_is_named_twice_may_get_one_copy_or_two():
    twice = [entry(1, (ALICE, ALICE))]
    for copies in (1, 2):
        assert nonzero(settle(twice, [arrival(1)] * copies)) == {"accepted": 1, "delivered": 1}
    assert nonzero(settle(twice, [arrival(1)] * 3))["duplicated"] == 1
    assert nonzero(settle(twice, [], [failed(1)])) == {"accepted": 1, "bounced": 1}


def test_a_bounce_settles_a_recipient():
    assert nonzero(settle([entry(1)], [], [failed(1)])) == {"accepted": 1, "bounced": 1}
    one_of_two = settle([entry(1, (ALICE, BOB))], [arrival(1)], [failed(1, BOB)])
    assert nonzero(one_of_two) == {"accepted": 1, "bounced": 1}
    of_an_alias = settle([entry(1)], [], [failed(1, "nobody@elsewhere.invalid", strict=False)])
    assert nonzero(of_an_alias) == {"accepted": 1, "bounced": 1, "unstrict_notices": 1}
    half = settle([entry(1, (ALICE, BOB))], [], [failed(1, BOB)])
    assert nonzero(half) == {"accepted": 1, "lost": 1}


def test_a_delay_settles_nothing():
    delayed = Notice(make_identifier(RUN, 1), ALICE, "delayed", 3)
    assert nonzero(settle([entry(1)], [], [delayed])) == {"accepted": 1, "lost": 1, "delayed_notices": 1}


def test_delivered_and_bounced():
    result = settle([entry(1)], [arrival(1)], [failed(1)])
    assert nonzero(result) == {"accepted": 1, "delivered": 1, "delivered_and_bounced": 1}


def test_unknown_is_never_lost_and_its_copies_count_apart():
    unknown = [entry(n, outcome=Outcome.UNKNOWN) for n in range(3)]
    result = settle(unknown, [arrival(0), arrival(1), arrival(1)])
    assert nonzero(result) == {"unknown": 3, "unknown_delivered": 2, "unknown_duplicated": 1}


def test_an_arrival_without_an_entry_is_unknown():
    assert nonzero(settle([], [arrival(7)])) == {"unknown": 1, "unknown_delivered": 1}


def test_refused_and_delivered_all_the_same():
    refused = [entry(1, outcome=Outcome.REFUSED), entry(2, outcome=Outcome.REFUSED)]
    assert nonzero(settle(refused, [arrival(1)])) == {"refused_delivered": 1}


def test_mail_of_others():
    other = Arrival(b"99999999-000000001", 1, digest=b"exact")
    assert nonzero(settle([], [Arrival(b"", 1), other])) == {"foreign": 2}


def test_reordered_within_a_session_only():
    entries = [entry(1), entry(2), entry(3), entry(4, session=2)]
    result = settle(entries, [arrival(4), arrival(3, at_ns=1), arrival(1, at_ns=2), arrival(2, at_ns=3)])
    assert nonzero(result) == {"accepted": 4, "delivered": 4, "reordered": 2}
    assert result.examples["reordered"] == ["0123abcd-000000002", "0123abcd-000000001"]


FATES = st.sampled_from(["delivered", "lost", "bounced", "twice", "flipped", "encoded", "unknown", "refused"])
COPIES: dict[str, list[dict[str, bytes]]] = {
    "delivered": [{}], "twice": [{}, {}], "flipped": [{"digest": b"x", "decoded": b"x"}],
    "encoded": [{"digest": b"x", "decoded": b"decoded"}], "unknown": [{}], "refused": [{}],
}  # fmt: skip


@given(st.lists(st.tuples(FATES, st.integers(1, 3)), max_size=30), st.booleans(), st.randoms())
def test_whatever_happens_it_balances_and_each_fault_has_its_word(fates, closed, random):
    entries, arrivals, notices = [], [], []
    for number, (fate, copies) in enumerate(fates):
        recipients = tuple(f"r{i}@example.com" for i in range(copies))
        outcome = {"unknown": Outcome.UNKNOWN, "refused": Outcome.REFUSED}.get(fate, Outcome.ACCEPTED)
        entries.append(entry(number, recipients, outcome))
        for change in COPIES.get(fate, []):
            together = random.random() < 0.5
            arrived = [recipients] if together else [(one,) for one in recipients]
            arrivals += [replace(arrival(number, to), **change) for to in arrived]
        if fate == "bounced":
            notices += [failed(number, to) for to in recipients]
    random.shuffle(arrivals)
    random.shuffle(notices)
    result = settle(entries, arrivals, notices, closed=closed)
    counts, true = result.counts, Counter(fate for fate, _ in fates)
    accepted = len(fates) - true["unknown"] - true["refused"]
    assert counts.accepted == accepted
    assert counts.accepted == counts.delivered + counts.bounced + counts.lost + counts.pending
    assert counts.delivered == true["delivered"] + true["twice"] + true["flipped"] + true["encoded"]
    assert (counts.lost, counts.pending) == ((true["lost"], 0) if closed else (0, true["lost"]))
    assert counts.bounced == true["bounced"]
    assert counts.duplicated == true["twice"]
    assert counts.corrupted == true["flipped"]
    assert counts.transformed == true["encoded"]
    assert counts.unknown == counts.unknown_delivered == true["unknown"]
    assert counts.refused_delivered == true["refused"]
    assert len(result.closed_ns) == counts.delivered + counts.bounced


@given(
    st.lists(st.integers(0, 5), max_size=12),
    st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from([(), (ALICE,), (BOB,), (ALICE, BOB)])), max_size=12
    ),
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["", ALICE, BOB, "x@y.example"])), max_size=6),
    st.booleans(),
)
def test_nonsense_balances_too(accepted, arrived, reported, closed):
    entries = {n: entry(n, (ALICE, BOB) if n % 2 else (ALICE,)) for n in accepted}
    result = settle(
        entries.values(), [arrival(n, to) for n, to in arrived], [failed(n, to) for n, to in reported],
        closed=closed,
    )  # fmt: skip
    counts = result.counts
    assert counts.accepted == len(entries)
    assert counts.accepted == counts.delivered + counts.bounced + counts.lost + counts.pending
    copies = sum(len(to) or 1 for n, to in arrived if n in entries)
    assert len(result.copies) + counts.surplus_copies == copies
