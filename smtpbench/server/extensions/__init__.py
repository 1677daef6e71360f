"""The less usual extensions of the reference server, a mixin each."""

from __future__ import annotations

from smtpbench.server.extensions.burl import Burl
from smtpbench.server.extensions.etrn import Etrn
from smtpbench.server.extensions.limits import Limits
from smtpbench.server.extensions.prdr import Prdr
from smtpbench.server.extensions.priority import MtPriority
from smtpbench.server.extensions.recipients import NullMx, Rrvs
from smtpbench.server.extensions.timing import DeliverBy, FutureRelease
from smtpbench.server.extensions.trust import RequireTls, Xclient


class Extensions(
    Burl, DeliverBy, Etrn, FutureRelease, Limits, MtPriority, NullMx, Prdr, RequireTls, Rrvs, Xclient
):
    """A session with all of them. MTRK has no behaviour here: its parameter is taken, and nobody tracks."""
