"""For all tests: property tests have no deadline of their own, since CI machines are slow at times."""

from hypothesis import settings

settings.register_profile("smtpbench", deadline=None)
settings.load_profile("smtpbench")
