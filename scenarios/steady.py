"""Steady load: as many users as you ask for, each sending its next message when the last is answered.

smtpbench load TARGET --scenario steady --users 20 --run-time 30s
locust -f steady.py --host smtp://127.0.0.1:2525            # Locust's own web page and options
locust -f steady.py --smtp-target target.toml --headless -u 20 -t 30s

Options of ours for Locust, which prints its ``--help`` before it reads this file and so does not list them:
--smtp-target FILE|URL, --recipient ADDRESS, --sender ADDRESS, --smtpbench-json FILE. Without a recipient
from one of them mail goes to recipient@example.org, which the target may refuse.
"""

from smtpbench.load.locust_user import SmtpUser
from smtpbench.load.workload import Workload


class Steady(SmtpUser):
    """One session for the whole run, PIPELINING where it is offered, messages of 4 KiB."""

    workload = Workload(users=1, message_size=4096)
