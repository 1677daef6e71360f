"""Sessions in which the faults of the less usual extensions show."""

HELLO = b"EHLO client.example.org\r\n"
MAIL = b"MAIL FROM:<sender@example.org>\r\n"
RCPT = b"RCPT TO:<alice@example.com>\r\n"
TWO = RCPT + b"RCPT TO:<bob@example.com>\r\nDATA\r\n"
TLS = HELLO + b"STARTTLS\r\n"


def mail(parameters):
    """The commands of a message whose MAIL has `parameters`."""
    return f"MAIL FROM:<a@b.example> {parameters}\r\n".encode() + RCPT + b"DATA\r\n.\r\n"


EXTENSION_PROBES = [
    *(
        [HELLO, mail(word)]
        for word in (
            *("BY=60;N", "BY=120", "BY=0;R", "MTRK=a", "MTRK=a:x"),
            *("MT-PRIORITY=5", "MT-PRIORITY=-1", "MT-PRIORITY=10", "MT-PRIORITY=-1 MT-PRIORITY=-2"),
        )
    ),
    *(
        [HELLO + MAIL + b"RCPT TO:<alice@example.com> RRVS=" + word + b"\r\n"]
        for word in (b"2019-01-01T00:00:00Z", b"2026-01-01T00:00:00Z", b"2026-01-01T00:00:00Z;C", b"x")
    ),
    [HELLO + b"MAIL FROM:<a@b> PRDR\r\n" + TWO + b".\r\n"],
    [HELLO + b"MAIL FROM:<a@null.example>\r\n"],
    [HELLO + (MAIL + b"RSET\r\n") * 21],
    [TLS, HELLO + mail("REQUIRETLS")],
    [TLS, HELLO + mail("REQUIRETLS=1")],
]

LOGIN = HELLO + b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"
SUBMISSION_PROBES = [
    *(
        [TLS, LOGIN, mail(word)]
        for word in ("", "HOLDFOR=30", "HOLDFOR=61", "HOLDFOR=30 HOLDUNTIL=2026-03-01T12:00:30Z")
    ),
    [TLS, LOGIN, b"BURL imap://a/b LAST\r\n", MAIL + RCPT + b"BURL imap://a/b LAST\r\n"],
    [TLS, LOGIN, MAIL + RCPT + b"BDAT 1\r\nxBURL imap://a/b LAST\r\n"],
]
