"""Faults of BDAT, BINARYMIME and BODY (RFC 3030, RFC 6152)."""

from __future__ import annotations

from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import Receiver, Refusal
from smtpbench.wire.parse import Command, CommandError
from smtpbench.wire.state import State, Verb


@fault("bdat-chunk-answered-354", "3030-2")
class BdatChunkAnswered354(Receiver):
    """A chunk that is not the last is answered 354."""

    def reply(self, code: int, enhanced: str, *text: str) -> None:
        chunk = self.state is State.CHUNKS and text[-1].endswith("octets received")
        super().reply(354 if chunk else code, "" if chunk else enhanced, *text)


@fault("bdat-empty-chunk-refused", "3030-3", "3030-13")
class BdatEmptyChunkRefused(Receiver):
    """A chunk of no octets is refused."""

    def do_bdat(self, command: Command, refusal: Refusal | None) -> None:
        empty = (501, "5.5.4", "A chunk has at least one octet") if command.size == 0 else None
        super().do_bdat(command, refusal or empty)


@fault("data-after-bdat-accepted", "3030-7")
class DataAfterBdatAccepted(Receiver):
    """DATA is accepted in a transaction that has had a BDAT."""

    def out_of_order(self, verb: Verb) -> Refusal | None:
        after = verb is Verb.DATA and self.state is State.CHUNKS
        return None if after else super().out_of_order(verb)


@fault("rset-keeps-chunks", "3030-8")
class RsetKeepsChunks(Receiver):
    """The chunks before a RSET begin the next message."""

    kept: tuple[bytes, ...] = ()

    def do_rset(self, command: Command) -> None:
        if self.state is State.CHUNKS and self.transaction is not None:
            self.kept = tuple(self.transaction.content)
        super().do_rset(command)

    def do_mail(self, command: Command) -> None:
        super().do_mail(command)
        if self.transaction is not None:
            self.transaction.content.extend(self.kept)
            self.kept = ()


@fault("bdat-without-size-accepted", "3030-11")
class BdatWithoutSizeAccepted(Receiver):
    """BDAT without a size is taken for an empty chunk."""

    def refuse(self, error: CommandError) -> None:
        if error.verb is Verb.BDAT:
            self.reply(250, "2.0.0", "0 octets received")
        else:
            super().refuse(error)


@fault("bdat-ends-lines-at-cuts", "3030-14")
class BdatEndsLinesAtCuts(Receiver):
    """A chunk that does not end with CRLF is completed with one."""

    def on_chunk_end(self) -> None:
        transaction = self.transaction
        if transaction is not None and transaction.content:
            octets = b"".join(transaction.content)
            transaction.content.append(b"" if octets.endswith(b"\r\n") else b"\r\n")
        super().on_chunk_end()


@fault("bdat-ends-at-a-dot", "3030-10", "5321-A-20")
class BdatEndsAtADot(Receiver):
    """A chunk ends at LF . LF; what is left of it is read as commands."""

    def begin_chunk(self, size: int) -> None:
        end = self.input.find(b"\n.\n")
        super().begin_chunk(end + 3 if 0 <= end < size else size)


@fault("data-after-binarymime-accepted", "3030-17")
class DataAfterBinaryMimeAccepted(Receiver):
    """Binary content is taken by DATA too."""

    def do_data(self, command: Command) -> None:
        if self.transaction is not None:
            self.transaction.binary = False
        super().do_data(command)


@fault("lmtp-chunk-answered-for-each", "2033-8", "5321-A-20")
class LmtpChunkAnsweredForEach(Receiver):
    """In LMTP a chunk that is not the last is answered once for each recipient."""

    def reply(self, code: int, enhanced: str, *text: str) -> None:
        chunk = self.lmtp and self.state is State.CHUNKS and text[-1].endswith("octets received")
        number = len(self.transaction.recipients) if chunk and self.transaction is not None else 1
        for _ in range(number):
            super().reply(code, enhanced, *text)


class _RefusesParameter(Receiver):
    """MAIL with `parameter` of one of `values` (none: any) is refused as unknown."""

    parameter = ""
    values: tuple[str, ...] = ()

    def check_sender(self, command: Command) -> Refusal | None:
        value = command.parameters.get(self.parameter, None)
        if self.parameter in command.parameters and (not self.values or (value or "").upper() in self.values):
            return 555, "5.5.4", f"{self.parameter} is not known here"
        return super().check_sender(command)


@fault("body-7bit-refused", "6152-1")
class Body7BitRefused(_RefusesParameter):
    """MAIL with BODY=7BIT is refused."""

    parameter, values = "BODY", ("7BIT",)


@fault("size-parameter-refused", "1870-11")
class SizeParameterRefused(_RefusesParameter):
    """MAIL with SIZE is refused though SIZE is listed."""

    parameter = "SIZE"


@fault("repeated-parameter-closes", "1870-4", "6152-3", "3461-8", "3461-9", "MISC-16")
class RepeatedParameterCloses(Receiver):
    """MAIL with a parameter twice ends the connection without a word."""

    def on_line(self, line: bytes) -> None:
        words = [word.partition(b"=")[0].upper() for word in line.split(b" ")[2:]]
        if line[:4].upper() == b"MAIL" and len(words) != len(set(words)):
            self.close()
        else:
            super().on_line(line)
