"""smtpbench: an SMTP conformance and load-testing suite."""

__version__ = "0.1.0"
