"""For all tests: property tests have no deadline of their own, since CI machines are slow at times."""

import signal

from hypothesis import settings

settings.register_profile("smtpbench", deadline=None)
settings.load_profile("smtpbench")

# A shell starts what runs in its background with SIGINT ignored, and the commands under test would inherit
# that: then Ctrl-C could not end them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
