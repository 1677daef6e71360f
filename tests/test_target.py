"""Target files, URLs and the guard on targets that are not on loopback."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.errors import UsageError
from smtpbench.target import (
    Credentials,
    Endpoint,
    Fixtures,
    Mailbox,
    Observe,
    Role,
    Target,
    from_url,
    load_toml,
    parse_target,
    require_authorized,
    to_toml,
)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def target_on(*hosts: str, observe: str | None = None) -> Target:
    roles = dict(zip(Role, hosts, strict=False))
    return Target(
        endpoints={role: Endpoint(host=host, port=25) for role, host in roles.items()},
        observe=Observe(url=observe) if observe else None,
    )


@pytest.mark.parametrize(
    ("url", "role", "port", "tls"),
    [
        ("smtp://127.0.0.1", Role.MX, 25, "none"),
        ("smtp://127.0.0.1:2525/", Role.MX, 2525, "none"),
        ("smtp://127.0.0.1:587", Role.SUBMISSION, 587, "starttls"),
        ("smtps://127.0.0.1", Role.SUBMISSIONS, 465, "implicit"),
        ("lmtp://127.0.0.1:2424", Role.LMTP, 2424, "none"),
    ],
)
def test_a_url_says_role_port_and_tls(url: str, role: Role, port: int, tls: Any) -> None:
    target = from_url(url)
    assert target.endpoints == {role: Endpoint(host="127.0.0.1", port=port, tls=tls)}
    assert target.name == url
    assert target.main.port == port


def test_an_ipv6_literal_keeps_its_brackets_only_where_a_port_follows() -> None:
    endpoint = from_url("smtp://[::1]:2525").main
    assert endpoint.host == "::1"
    assert endpoint.address == "[::1]:2525"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://127.0.0.1", "unknown scheme 'ftp'"),
        ("smtp://", "the host is missing"),
        ("smtp://127.0.0.1:port", "not a number"),
        ("smtp://127.0.0.1:65536", "not a number from 1 to 65535"),
        ("smtp://127.0.0.1/path", "nothing more"),
        ("smtp://127.0.0.1?x", "nothing more"),
        ("smtp://[::1", "Invalid IPv6"),
        ("smtp://alice@127.0.0.1", "--username"),
        ("smtp://alice:secret@127.0.0.1", "--password-env"),
    ],
)
def test_a_bad_url_is_one_clear_line(url: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_url(url)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=40))
def test_any_url_is_a_target_or_a_usage_error(text: str) -> None:
    try:
        target = from_url(f"smtp://{text}")
    except UsageError:
        return
    assert target.endpoints


def test_a_target_file_is_named_after_itself_unless_it_has_a_name(tmp_path: Path) -> None:
    assert load_toml(write(tmp_path / "mail.toml", "[endpoints.mx]\nport = 25\n")).name == "mail"
    assert load_toml(write(tmp_path / "x.toml", 'name = "y"\n[endpoints.mx]\nport = 25\n')).name == "y"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["endpoints: missing, a value is needed"]),
        ("[endpoints]", ["endpoints: {}: dictionary should have at least 1 item"]),
        ("[endpoints.mx]", ["endpoints.mx.port: missing"]),
        ("[endpoints.mx]\nport = 0", ["endpoints.mx.port: 0:", "greater than or equal to 1"]),
        ('[endpoints.mx]\nport = 25\ntls = "maybe"', ["endpoints.mx.tls: 'maybe'", "'starttls'"]),
        ("[endpoints.smtp]\nport = 25", ["endpoints.smtp: 'smtp'", "'submission'"]),
        ("[endpoints.mx]\nport = 25\n[timeouts]\nreply = 0", ["timeouts.reply: 0", "greater than 0"]),
        ("[endpoints.mx]\nport = 25\n[observe]\nurl = 'x:y'", ["observe.url: 'x:y'", "maildir:… | mbox:…"]),
        (
            "colour = 1\n[endpoints.mx]\nport = 25",
            ["colour: unknown key (value 1), expected one of name, endpoints"],
        ),
        ("[endpoints.mx]\nport = 25\nprot = 1", ["endpoints.mx.prot", "expected one of host, port, tls"]),
        ("this is not TOML", ["not TOML"]),
    ],
)
def test_a_mistake_names_file_key_value_and_what_was_expected(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    path = write(tmp_path / "target.toml", text)
    with pytest.raises(UsageError) as caught:
        load_toml(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_password_typed_into_the_target_file_is_not_shown(tmp_path: Path) -> None:
    text = '[endpoints.mx]\nport = 25\n[auth]\nusername = "alice"\npassword = "hunter2"\n'
    with pytest.raises(UsageError) as caught:
        load_toml(write(tmp_path / "target.toml", text))
    assert "auth.password: unknown key" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Is a directory"):
        load_toml(tmp_path)
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not TOML"):
        load_toml(path)


def test_a_target_survives_its_target_file(tmp_path: Path) -> None:
    target = Target(
        name='a "name" with \\ and é',
        endpoints={
            Role.MX: Endpoint(port=25),
            Role.SUBMISSIONS: Endpoint(host="::1", port=465, tls="implicit"),
        },
        fixtures=Fixtures(recipient="a@example.com", local_domains=("example.com", "example.net")),
        auth=Credentials(username="a", password_file=tmp_path / "password"),
        observe=Observe(url=f"maildir:{tmp_path}"),
    )
    assert load_toml(write(tmp_path / "target.toml", to_toml(target))) == target


def test_the_main_endpoint_is_the_mx_or_the_first() -> None:
    submission, mx = Endpoint(port=587), Endpoint(port=25)
    assert Target(endpoints={Role.SUBMISSION: submission, Role.MX: mx}).main == mx
    assert Target(endpoints={Role.SUBMISSION: submission}).main == submission


def test_a_password_comes_from_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTPBENCH_TEST_PASSWORD", "from-environment")
    assert Credentials(username="a", password_env="SMTPBENCH_TEST_PASSWORD").password() == "from-environment"
    path = write(tmp_path / "password", "from-file\n")
    assert Credentials(username="a", password_file=path).password() == "from-file"


def test_a_missing_password_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMTPBENCH_TEST_PASSWORD", raising=False)
    with pytest.raises(UsageError, match="SMTPBENCH_TEST_PASSWORD is not set"):
        Credentials(username="a", password_env="SMTPBENCH_TEST_PASSWORD").password()
    with pytest.raises(UsageError, match="no-such-file"):
        Credentials(username="a", password_file=tmp_path / "no-such-file").password()
    with pytest.raises(UsageError, match="password_env or password_file"):
        Credentials(username="a").password()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_loopback_needs_no_authorisation(host: str) -> None:
    require_authorized(target_on(host), frozenset())


@pytest.mark.parametrize("host", ["192.0.2.1", "10.0.0.1", "0.0.0.0", "::", "2001:db8::1", "fe80::1"])
def test_another_host_needs_its_exact_name(host: str) -> None:
    target = target_on(host)
    with pytest.raises(UsageError, match="--authorized"):
        require_authorized(target, frozenset())
    with pytest.raises(UsageError, match="--authorized"):
        require_authorized(target, frozenset({"*", "example.org", host + "."}))
    require_authorized(target, frozenset({host}))


def test_every_endpoint_is_guarded() -> None:
    with pytest.raises(UsageError, match=r"192\.0\.2\.1 is not a loopback address"):
        require_authorized(target_on("127.0.0.1", "192.0.2.1"), frozenset())


@pytest.mark.parametrize("scheme", ["imap", "imaps", "pop3", "pop3s"])
def test_a_mailbox_read_over_the_network_is_guarded(scheme: str) -> None:
    with pytest.raises(UsageError, match=r"192\.0\.2\.1 is not a loopback address"):
        require_authorized(target_on("127.0.0.1", observe=f"{scheme}://a@192.0.2.1:25"), frozenset())
    require_authorized(target_on("127.0.0.1", observe=f"{scheme}://a@127.0.0.1:25"), frozenset())
    require_authorized(target_on("127.0.0.1", observe=f"{scheme}://a@192.0.2.1:25"), frozenset({"192.0.2.1"}))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("imap://alice@mail.example/", Mailbox("imap", "mail.example", 143, "alice", "INBOX")),
        ("imaps://al%40ice@[::1]:99/Sent%20mail", Mailbox("imaps", "::1", 99, "al@ice", "Sent mail")),
        ("pop3://a@b.example@mail.example", Mailbox("pop3", "mail.example", 110, "a@b.example", "")),
        ("pop3s://mail.example/", Mailbox("pop3s", "mail.example", 995, None, "")),
        ("maildir:/var/mail", None),
        ("sink:127.0.0.1:25", None),
    ],
)
def test_where_a_mailbox_is(url: str, expected: Mailbox | None) -> None:
    assert Observe(url=url).mailbox == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("imap:host", "expected imap://USER@HOST:PORT/MAILBOX"),
        ("imap://", "expected imap://USER@HOST:PORT/MAILBOX"),
        ("imap://a@h:0", "expected imap://USER@HOST:PORT/MAILBOX"),
        ("imap://a@h:port", "port could not be cast"),
        ("imap://a@h/b?c", "and nothing more"),
        ("imap://a@h/%C3%A9", "not printable ASCII"),
        ("imap://a@h/a%0D%0Ab", "not printable ASCII"),
        ("pop3://a@h/INBOX", "nothing can follow the port"),
        ("imap://a:hunter2@h", "use observe.password_env or observe.password_file"),
        ("pop3s://:hunter2@h", "use observe.password_env or observe.password_file"),
    ],
)
def test_a_mailbox_url_that_makes_no_sense_is_one_line(url: str, words: str) -> None:
    data = {"endpoints": {"mx": {"port": 25}}, "observe": {"url": url}}
    with pytest.raises(UsageError) as caught:
        parse_target(data, where="x")
    assert words in str(caught.value)
    assert str(caught.value).startswith("x: observe.url: ")
    assert "hunter2" not in str(caught.value)


def reading(*urls: str) -> dict[str, object]:
    return {"endpoints": {"mx": {"port": 25}}, "read": [{"url": url} for url in urls]}


@pytest.mark.parametrize(
    "urls",
    [("maildir:/var/mail",), ("sink:127.0.0.1:25",), ("imap://a@127.0.0.1", "imaps://b@127.0.0.1"),
     ("pop3://a@127.0.0.1",) * 2],
)  # fmt: skip
def test_mail_is_read_over_imap_and_pop3_once_each(urls: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"^x: read: .*at most one imap://… and one pop3://…"):
        parse_target(reading(*urls), where="x")


def test_where_mail_is_read_is_written_back_and_has_to_be_authorized(tmp_path: Path) -> None:
    target = parse_target(reading("imaps://a@192.0.2.1", "pop3://a@127.0.0.1"), where="x")
    (tmp_path / "x.toml").write_text(to_toml(target))
    assert load_toml(tmp_path / "x.toml").read == target.read
    with pytest.raises(UsageError, match=r"192\.0\.2\.1 is not a loopback address"):
        require_authorized(target, frozenset())
    require_authorized(target, frozenset({"192.0.2.1"}))


def test_one_address_off_loopback_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: object, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, 0, 0, "", (address, 0)) for address in ("127.0.0.1", "192.0.2.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(UsageError, match=r"two\.example is not a loopback address"):
        require_authorized(target_on("two.example"), frozenset())


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".invalid", "a..invalid"])
def test_a_host_without_an_address_is_named(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(name: str, *_: object, **__: object) -> list[object]:
        name.encode("idna")  # what the real one does first
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(UsageError, match="cannot be resolved"):
        require_authorized(target_on(host), frozenset())


def test_parse_target_gives_one_line_for_each_mistake() -> None:
    with pytest.raises(UsageError) as caught:
        parse_target({"endpoints": {"mx": {"port": "x", "tls": 1}}}, where="here")
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith("here: endpoints.mx.") for line in lines)


RELAY = {"listen": "127.0.0.1:2526", "domain": "relay.example"}


def test_a_next_hop_is_read_and_written_back(tmp_path):
    target = parse_target(
        {"endpoints": {"mx": {"port": 25}}, "relay": {**RELAY, "retry_s": 60, "certificate": "hop.pem"}},
        where="x",
    )
    assert target.relay is not None
    assert target.relay.address == ("127.0.0.1", 2526)
    assert parse_target(
        {"endpoints": {"mx": {"port": 25}}, "relay": {**RELAY, "listen": "[::1]:1"}}, where="x"
    )
    path = tmp_path / "x.toml"
    path.write_text(to_toml(target))
    assert load_toml(path).relay == target.relay


@pytest.mark.parametrize("listen", ["127.0.0.1", ":25", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:smtp"])
def test_a_next_hop_needs_an_address(listen):
    with pytest.raises(UsageError, match=r"x: relay\.listen: .*expected HOST:PORT"):
        parse_target({"endpoints": {"mx": {"port": 25}}, "relay": {**RELAY, "listen": listen}}, where="x")


def test_an_unknown_key_of_a_next_hop_is_named():
    with pytest.raises(UsageError, match=r"relay\.port: unknown key .* listen, domain, retry_s, certificate"):
        parse_target({"endpoints": {"mx": {"port": 25}}, "relay": {**RELAY, "port": 1}}, where="x")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_bytes(b"\xef\xbb\xbf[endpoints.mx]\nport = 25\n")
    assert load_toml(path).main.port == 25


@pytest.mark.parametrize(
    ("table", "known"),
    [
        ("[shortage]", "disk-full, descriptors"),
        ("[shortage.disk-full]\nstrike='a'\nrecover='b'", "strike, recover"),
    ],
)
def test_the_keys_of_tables_in_tables_are_told_as_they_are_written(
    tmp_path: Path, table: str, known: str
) -> None:
    path = tmp_path / "t.toml"
    path.write_text(f"{table}\ncolour = 1\n[endpoints.mx]\nport = 25\n", encoding="utf-8")
    with pytest.raises(UsageError, match=f"colour: unknown key .* expected one of {known}$"):
        load_toml(path)
