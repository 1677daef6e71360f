"""Which commands and which parameters an EHLO keyword brings."""

from __future__ import annotations

from collections.abc import Mapping

from smtpbench.wire.state import Verb

KEYWORD_VERBS: Mapping[Verb, str] = {  # a verb that an extension brings → its keyword; without it: 502
    Verb.BDAT: "CHUNKING",
    Verb.STARTTLS: "STARTTLS",
    Verb.AUTH: "AUTH",
    Verb.HELP: "HELP",
    Verb.EXPN: "EXPN",
    Verb.ETRN: "ETRN",
    Verb.BURL: "BURL",
}
PARAMETERS_OF: Mapping[str, frozenset[str]] = {
    "SIZE": frozenset({"SIZE"}),
    "8BITMIME": frozenset({"BODY"}),
    "BINARYMIME": frozenset({"BODY"}),
    "SMTPUTF8": frozenset({"SMTPUTF8"}),
    "DSN": frozenset({"RET", "ENVID", "NOTIFY", "ORCPT"}),
    "AUTH": frozenset({"AUTH"}),
    "DELIVERBY": frozenset({"BY"}),
    "MTRK": frozenset({"MTRK"}),
    "FUTURERELEASE": frozenset({"HOLDFOR", "HOLDUNTIL"}),
    "MT-PRIORITY": frozenset({"MT-PRIORITY"}),
    "RRVS": frozenset({"RRVS"}),
    "PRDR": frozenset({"PRDR"}),
    "REQUIRETLS": frozenset({"REQUIRETLS"}),
}
