"""What a script may say, which rule holds when, and when the hop is down."""

import itertools
import re
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.errors import UsageError
from smtpbench.server import sink_rules, sink_script
from smtpbench.server.sink_rules import Facts, Rules, changes
from smtpbench.server.sink_script import SinkScript, load_script

FACTS = Facts("127.0.0.1", b"a@x.example", (b"slow-1@Y.example",))


def write(tmp_path, text):
    path = tmp_path / "sink.toml"
    path.write_text(text, encoding="utf-8")
    return path


def rules(*given, now=lambda: 0.0, seed=1):
    return Rules(SinkScript(rule=given, seed=seed), now)


def test_a_file_with_all_there_is(tmp_path):
    text = re.search(r"(?ms)^    seed.*?read_rate = 1000[^\n]*", sink_script.__doc__)[0]
    text = re.sub(r"(?m)^    ", "", text)
    general, _, rule = text.partition("[[rule]]")
    for line in rule.splitlines()[1:]:
        key = line.partition(" =")[0]
        if key == "on":
            continue
        said = re.search(r"\bon (connect|ehlo|rcpt|body)\b", line)
        on = said[1] if said and key != "reply" else "rcpt"
        extra = 'drop = "before"\n' if key == "taken" else "" if key == "delay_s" else "delay_s = 1\n"
        script = load_script(write(tmp_path, f"{general}[[rule]]\non = '{on}'\n{extra}{line}"))
        assert key in script.rule[0].model_fields_set
    assert script.flapping.down_s == 5
    assert script.outages_s == ((60, 90),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "not TOML"),
        ("sed = 1", "sed: unknown key, expected one of seed, without"),
        ("without = ['SIZES']", "without: ['SIZES']: not offered anyhow: SIZES"),
        ("outages_s = [[5, 4]]", "expected [BEGIN, END]"),
        ("flapping = {up_s = 1}", "flapping down_s: missing"),
        ("rule = 5", "rule: 5: input should be a valid tuple"),
        ("[[rule]]\non = 'rcpt'", "rule 1: nothing happens"),
        ("[[rule]]\non = 'helo'\ndelay_s = 1", "rule 1 on: 'helo': input should be 'connect'"),
        ("[[rule]]\non = 'rcpt'\nreply = '250 OK'", "rule 1 reply: '250 OK': expected 4yz or 5yz"),
        ("[[rule]]\non = 'quit'\nrecipient = '*'\ndelay_s = 1", "recipient has a meaning on body or"),
        ("[[rule]]\non = 'body'\ntaken = true\ndelay_s = 1", 'taken needs drop = "before"'),
        ("[[rule]]\non='rcpt'\ndelay_s=1\n[[rule]]\non='rcpt'\nshare=2\ndelay_s=1", "rule 2 share: 2"),
        ("[[rule]]\non = 'rcpt'\ndelay = 1", "rule 1 delay: unknown key"),
        ("[[rule]]\non = 'rcpt'\ndelay_s = inf", "rule 1 delay_s: inf"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_with_what_and_where(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        load_script(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there():
    with pytest.raises(UsageError, match=r"/no/such.toml: No such file"):
        load_script(Path("/no/such.toml"))


def test_rules_of_the_command_line_come_first(tmp_path):
    path = write(tmp_path, "[[rule]]\non = 'rcpt'\nreply = '550'")
    script = load_script(path, ('on = "mail", delay_s = 1', 'on = "rcpt", reply = "451"'))
    assert [(rule.on, rule.reply) for rule in script.rule] == [
        ("mail", None),
        ("rcpt", "451"),
        ("rcpt", "550"),
    ]
    with pytest.raises(UsageError, match="--rule rcpt 451: expected for instance"):
        load_script(None, ("rcpt 451",))
    with pytest.raises(UsageError, match="options: rule 1 on: 'cpt'"):
        load_script(None, ('on = "cpt", reply = "451"',))


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({}, True),
        ({"recipient": "slow-?@y.example"}, True),
        ({"recipient": "SLOW-*"}, True),
        ({"recipient": "slow"}, False),
        ({"domain": "*.example"}, True),
        ({"domain": "example"}, False),
        ({"recipient": "slow-*", "domain": "z.example"}, False),
        ({"sender": "a@*"}, True),
        ({"sender": ""}, False),
        ({"window_s": (0, 1)}, True),
        ({"window_s": (1, 2)}, False),
    ],
)
def test_conditions(condition, holds):
    verdict = rules({"on": "rcpt", "reply": "451", **condition}).decide("rcpt", FACTS)
    assert (verdict is not None) is holds
    assert rules({"on": "rcpt", "reply": "451", **condition}).decide("data", FACTS) is None


def test_recipient_and_domain_are_of_one_recipient():
    facts = Facts("::1", b"", (b"a@x.example", b"b@y.example"))
    assert rules({"on": "body", "reply": "451", "recipient": "a@*", "domain": "x.*"}).decide("body", facts)
    assert not rules({"on": "body", "reply": "451", "recipient": "a@*", "domain": "y.*"}).decide(
        "body", facts
    )


def test_the_first_that_holds_decides():
    watching = rules(
        {"on": "rcpt", "recipient": "slow-*", "reply": "451 4.2.1 Not now"}, {"on": "rcpt", "reply": "550"}
    )
    first = watching.decide("rcpt", FACTS).reply
    assert (first.code, first.enhanced, first.text) == (451, "4.2.1", "Not now")
    second = watching.decide("rcpt", Facts("::1", b"", (b"fast@y.example",))).reply
    assert (second.code, second.enhanced) == (550, "5.0.0")


def test_a_share_is_a_share_and_the_seed_repeats_it():
    def drawn(seed):
        watching = rules({"on": "rcpt", "reply": "451", "share": 0.2}, seed=seed)
        return [watching.decide("rcpt", FACTS) is not None for _ in range(10_000)]

    assert 0.18 < statistics.fmean(drawn(1)) < 0.22  # five standard deviations
    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_what_one_rule_draws_does_not_depend_on_the_others():
    alone = rules({"on": "rcpt", "reply": "451", "share": 0.5})
    beside = rules({"on": "rcpt", "reply": "451", "share": 0.5}, {"on": "mail", "reply": "451", "share": 0.5})
    for _ in range(100):
        beside.decide("mail", FACTS)
        assert (alone.decide("rcpt", FACTS) is None) is (beside.decide("rcpt", FACTS) is None)


def test_delays():
    watching = rules({"on": "rcpt", "delay_s": 1, "exponential_s": 0.5})
    delays = [watching.decide("rcpt", FACTS).reply.delay_s for _ in range(10_000)]
    assert min(delays) >= 1
    assert 1.475 < statistics.fmean(delays) < 1.525  # 5 standard errors of 0.5/√10000
    assert 0.44 < statistics.stdev(delays) < 0.56


def test_greylisting_goes_by_triplet_and_time(monkeypatch):
    now = [0.0]
    watching = rules({"on": "rcpt", "greylist_s": 60}, now=lambda: now[0])
    verdict = watching.decide("rcpt", FACTS)
    assert (verdict.reply.code, verdict.reply.close) == (450, False)
    now[0] = 59.9
    assert watching.decide("rcpt", FACTS)
    assert watching.decide("rcpt", Facts("127.0.0.2", b"a@x.example", (b"slow-1@y.example",)))
    now[0] = 60.0
    assert watching.decide("rcpt", FACTS) is None
    assert watching.decide("rcpt", Facts("127.0.0.1", b"A@X.example", (b"SLOW-1@y.example",))) is None
    assert watching.decide("rcpt", Facts("127.0.0.2", b"a@x.example", (b"slow-1@y.example",)))
    monkeypatch.setattr(sink_rules, "KNOWN_TRIPLETS", 2)
    watching.decide("rcpt", Facts("::1", b"", (b"b@y.example",)))
    assert watching.decide("rcpt", FACTS), "the oldest is forgotten"


@pytest.mark.parametrize(
    ("rule", "code", "close"),
    [
        ({"on": "rcpt", "delay_s": 1}, 250, False),
        ({"on": "rcpt", "reply": "421"}, 421, True),
        ({"on": "connect", "reply": "554 5.3.2 No"}, 554, True),
        ({"on": "body", "drop": "before"}, 0, True),
        ({"on": "body", "drop": "after"}, 250, True),
        ({"on": "body", "drop": "after", "reply": "451"}, 451, True),
    ],
)
def test_replies(rule, code, close):
    reply = rules(rule).decide(rule["on"], FACTS).reply
    assert (reply.code, reply.close) == (code, close)


def first(count, **script):
    return list(itertools.islice(changes(SinkScript(**script)), count))


def test_when_the_hop_is_down():
    assert first(5) == []
    assert first(5, outages_s=[[2, 3], [2.5, 4], [4, 5]]) == [(2, False), (5, True)]
    assert first(5, outages_s=[[0, 1]]) == [(0, False), (1, True)]
    flapping = {"up_s": 0.1, "down_s": 0.2}
    assert first(4, flapping=flapping) == [(0.1, False), (0.3, True), (0.4, False), (0.6, True)]
    assert first(3, flapping=flapping, outages_s=[[0.15, 0.35]]) == [(0.1, False), (0.35, True), (0.4, False)]


@given(st.floats(0.001, 100), st.floats(0.001, 100))
def test_flapping_keeps_its_periods(up_s, down_s):
    edges = [when for when, _ in first(400, flapping={"up_s": up_s, "down_s": down_s})]
    assert edges == sorted(set(edges))
    for number, (begin, end) in enumerate(itertools.pairwise([0.0, *edges])):
        assert end - begin == pytest.approx((up_s, down_s)[number % 2], abs=3e-6)
