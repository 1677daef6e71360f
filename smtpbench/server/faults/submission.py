"""Faults of message submission (RFC 6409)."""

from __future__ import annotations

from smtpbench.server.faults.registry import fault
from smtpbench.server.faults.rewriting import Lenient
from smtpbench.server.receiver import Receiver, Refusal
from smtpbench.wire.grammar import Path
from smtpbench.wire.state import Verb


@fault("submission-without-auth", "6409-10")
class SubmissionWithoutAuth(Receiver):
    """AUTH is not offered on a submission port."""

    def offers(self, keyword: str) -> bool:
        return not (keyword == "AUTH" and self.config.is_submission) and super().offers(keyword)


@fault("submission-without-dsn", "6409-11")
class SubmissionWithoutDsn(Receiver):
    """DSN is not offered on a submission port."""

    def offers(self, keyword: str) -> bool:
        return not (keyword == "DSN" and self.config.is_submission) and super().offers(keyword)


@fault("submission-refuses-with-521", "6409-14", "6409-1")
class SubmissionRefusesWith521(Receiver):
    """Who has not authenticated is answered 521."""

    def needs_auth(self, verb: Verb) -> Refusal | None:
        refusal = super().needs_auth(verb)
        return (521, "5.7.0", "Not for you") if refusal else None


@fault("unqualified-domains-accepted", "6409-3")
class UnqualifiedDomainsAccepted(Receiver):
    """A domain of one label goes on as it is."""

    def unqualified(self, path: Path) -> Refusal | None:
        return None


@fault("submission-repairs-addresses", "6409-4")
class SubmissionRepairsAddresses(Lenient):
    """Two dots in an address on a submission port are taken for one."""

    def repair(self, line: bytes) -> bytes:
        return line.replace(b"..", b".") if self.config.is_submission else line


@fault("submission-adds-no-message-id", "6409-16", "5322-6")
class SubmissionAddsNoMessageId(Receiver):
    """A message goes on without a Message-ID, or with a faulty one."""

    mends = Receiver.mends - {"message-id"}
