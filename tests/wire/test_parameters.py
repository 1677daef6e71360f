"""Values of the parameters that the less usual extensions bring."""

from datetime import UTC, datetime

import pytest

from smtpbench.wire.parameters import parse_by, parse_date_time, parse_rrvs
from smtpbench.wire.parse import Command, CommandError, parse_command


@pytest.mark.parametrize(
    "parameter",
    [
        *("BY=120;R", "BY=+120;rT", "BY=0;N", "BY=-999999999;NT"),
        *("MTRK=ZGVhZGJlZWZkZWFk", "MTRK=a:172800"),
        *("HOLDFOR=1", "HOLDFOR=999999999", "HOLDUNTIL=2030-01-31T12:00:00Z"),
        *("MT-PRIORITY=0", "MT-PRIORITY=-9", "MT-PRIORITY=9", "PRDR", "REQUIRETLS"),
    ],
)
def test_values_that_a_mail_may_have(parameter):
    assert isinstance(parse_command(b"MAIL FROM:<> " + parameter.encode()), Command)


@pytest.mark.parametrize(
    "parameter",
    [
        *(
            "BY",
            "BY=120",
            "BY=120;",
            "BY=120;X",
            "BY=;N",
            "BY=1234567890;N",
            "BY=120;NTT",
            "BY=0;R",
            "BY=-1;R",
        ),
        *("MTRK", "MTRK=:5", "MTRK=a:", "MTRK=a!b", "MTRK=a:1234567890"),
        *("HOLDFOR", "HOLDFOR=0", "HOLDFOR=-1", "HOLDFOR=1234567890", "HOLDUNTIL", "HOLDUNTIL=tomorrow"),
        *("MT-PRIORITY", "MT-PRIORITY=10", "MT-PRIORITY=+1", "MT-PRIORITY=-0", "MT-PRIORITY=00"),
        *("PRDR=1", "REQUIRETLS=1", "MT-PRIORITY=1 MT-PRIORITY=1", "REQUIRETLS REQUIRETLS"),
    ],
)
def test_values_that_it_may_not_have(parameter):
    refusal = parse_command(b"MAIL FROM:<> " + parameter.encode())
    assert isinstance(refusal, CommandError)
    assert refusal.code == 501


@pytest.mark.parametrize(
    "value", ["2014-04-03T23:01:00Z", "2014-04-03T23:01:00.5+02:00;C", "2014-04-03T23:01:00z;r"]
)
def test_rrvs(value):
    assert isinstance(parse_command(b"RCPT TO:<a@b> RRVS=" + value.encode()), Command)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "2014-04-03",
        "2014-13-03T23:01:00Z",
        "2014-04-03T23:01:00",
        "2014-04-03T23:01:00Z;",
        "2014-04-03T23:01:00Z;X",
        "2014-04-03T23:01:00Z;CR",
    ],
)
def test_no_rrvs(value):
    refusal = parse_command(b"RCPT TO:<a@b> RRVS=" + value.encode())
    assert isinstance(refusal, CommandError)
    assert refusal.code == 501


def test_what_the_values_mean():
    assert parse_by("-5;nt") == (-5, "N")
    assert parse_by("+60;R") == (60, "R")
    assert parse_rrvs("2014-04-03T23:01:00+02:00;c") == (datetime(2014, 4, 3, 21, 1, tzinfo=UTC), "C")
    assert parse_date_time("2014-02-29T00:00:00Z") is None
    assert parse_date_time("0001-01-01T00:00:00+23:00") is None
