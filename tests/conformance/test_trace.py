"""The WITH clause, and what looks like one."""

import pytest

from smtpbench.conformance.trace import with_clause


@pytest.mark.parametrize(
    ("line", "protocol"),
    [
        ("from a (b [1.2.3.4]) by c (Postfix) with ESMTPSA id X for <d@e>; Thu, 1 Jan 2026", "ESMTPSA"),
        ("from a by c with esmtp id X; date", "ESMTP"),
        ("from a (using TLSv1.3 with cipher X (256/256 bits)) by c with ESMTPS; date", "ESMTPS"),
        ("from a (using TLSv1.3 with cipher X) by c id Y; date", ""),
        ("from a by c; sent with SMTP", ""),
        ("from a by c with SMTP", ""),
        ("from a (with \\) SMTP) by c; date", ""),
        ("", ""),
    ],
)
def test_the_protocol(line, protocol):
    assert with_clause(line) == protocol
