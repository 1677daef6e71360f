import xml.sax.saxutils
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.report import text


@given(st.text(st.characters(exclude_categories=())))
def test_visible_text_is_printable_and_legal_in_xml(value: str) -> None:
    shown = text.visible(value)
    assert shown.isprintable()
    ElementTree.fromstring(f"<a>{xml.sax.saxutils.escape(shown)}</a>")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("250 OK", "250 OK"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\r\nb", "a\\r\\nb"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("grüße →", "grüße →"),
    ],
)
def test_visible_escapes_what_a_terminal_would_obey(value: str, shown: str) -> None:
    assert text.visible(value) == shown


@given(st.text())
def test_markdown_leaves_no_active_character(value: str) -> None:
    assert not set(text.markdown(value)) & (text.MARKDOWN_ACTIVE - {"&", "#"})


def test_markdown_keeps_ordinary_words() -> None:
    assert text.markdown("RFC 5321, §4.2: x") == "RFC 5321, §4.2&#58; x"


@given(st.lists(st.text("`ab")))
def test_a_fence_is_longer_than_every_row_of_backticks_in_it(lines: list[str]) -> None:
    assert not any(text.fence(lines) in line for line in lines)


@pytest.mark.parametrize(
    ("escaped", "lines"),
    [
        ("", [""]),
        ("250 OK\\r\\n", ["250 OK\\r\\n"]),
        ("250-a\\r\\n250 b\\r\\n", ["250-a\\r\\n", "250 b\\r\\n"]),
        ("bare\\nlf", ["bare\\n", "lf"]),
        ("a backslash \\\\n is no line end", ["a backslash \\\\n is no line end"]),
        ("ends in \\", ["ends in \\"]),
    ],
)
def test_wire_lines_are_cut_after_escaped_line_ends(escaped: str, lines: list[str]) -> None:
    assert text.wire_lines(escaped) == lines


@given(st.text("\\nrx0a"))
def test_cutting_loses_nothing(escaped: str) -> None:
    assert "".join(text.wire_lines(escaped)) == escaped


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0421, "42 µs"), (1.5, "1.50 ms"), (12.34, "12.3 ms"), (250.4, "250 ms"), (2500, "2.50 s")],
)
def test_latencies_have_three_digits(value: float, shown: str) -> None:
    assert text.milliseconds(value) == shown


def test_durations_over_a_minute_are_in_minutes() -> None:
    assert text.seconds(95) == "1 min 35 s"
    assert text.seconds(3.25) == "3.25 s"


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (5000, "5,000"), (500.25, "500"), (21704.5, "21,704"), (99.55, "99.5")]
)
def test_numbers(value: float, shown: str) -> None:
    assert text.number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(True, "yes"), (4096, "4,096"), (0.5, "0.5"), ("poisson", "poisson")]
)
def test_facts(value: object, shown: str) -> None:
    assert text.fact(value) == shown


@pytest.mark.parametrize(
    ("started", "shown"),
    [("2026-01-02T04:04:05+01:00", "2026-01-02 03:04:05 UTC"), ("soon", "soon"), ("", "unknown")],
)
def test_moments_are_in_utc(started: str, shown: str) -> None:
    assert text.moment(started) == shown
