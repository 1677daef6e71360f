"""pytest's entry into smtpbench: options, and the real plugin only where ``--smtp-target`` is given.

pytest imports this file in every run of an environment that has smtpbench, so it imports nothing itself.
"""

from __future__ import annotations

import pytest

PLUGIN = "smtpbench.conformance.plugin"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the conformance plugin, all beginning with ``--smtp-``."""
    group = parser.getgroup("smtp", "SMTP conformance")
    group.addoption("--smtp-target", metavar="TARGET", help="embedded, lab:NAME, a URL or a TOML file")
    group.addoption("--smtp-recipient", metavar="ADDRESS", help="a mailbox that exists")
    group.addoption("--smtp-observe", metavar="URL", help="where deliveries are read back: maildir:PATH, …")
    group.addoption(
        "--smtp-authorized",
        metavar="HOST",
        action="append",
        default=[],
        help="a host that is not on loopback",
    )
    group.addoption(
        "--smtp-endpoint",
        choices=("mx", "submission", "submissions", "lmtp"),
        help="where cases go that name no endpoint",
    )
    group.addoption("--smtp-jobs", metavar="N", type=int, help="cases at a time; 1: one after another")
    group.addoption("--smtp-deadline", metavar="SECONDS", type=float, help="for all cases together")
    group.addoption("--smtp-strict", action="store_true", help="a non-strict case fails its item")
    group.addoption("--smtp-seed", type=int, default=0, help="of what the cases draw at random")
    group.addoption("--smtp-slow", action="store_true", help="also run the cases that take minutes")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Bring in the plugin itself where there is a target."""
    if config.getoption("--smtp-target") is not None:
        config.pluginmanager.import_plugin(PLUGIN)
