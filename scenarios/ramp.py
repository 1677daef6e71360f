"""Ramp: users come in steps and go again, with pauses as people make them; where does the latency bend?

smtpbench load TARGET --scenario ramp
locust -f ramp.py --host smtp://127.0.0.1:2525 --recipient you@example.org

Locust asks `tick` once a second how many users there shall be; they come and go during the run, over all
processes (`--processes`). A number of users on the command line goes before the shape. Plain Locust heeds
neither ``-t`` nor SIGTERM while a shape runs: end it with Ctrl-C, or by `smtpbench load --run-time`. For
messages that arrive at a growing rate, whatever the target does, no shape is needed:
``smtpbench load TARGET --rate ramp:10-200,60s``.
"""

from locust import LoadTestShape

from smtpbench.load.locust_user import SmtpUser
from smtpbench.load.workload import Workload


class Person(SmtpUser):
    """A message now and then, in a session of its own each time."""

    workload = Workload(
        users=1,
        message_size="lognormal:8k,1.2,max=1m",
        messages_per_session=1,
        think_time="exponential:500ms",
    )


class Ramp(LoadTestShape):
    """10, 20 … 100 users for ten seconds each, then 20 again to see whether the target recovers."""

    step_s = 10
    step_users = 10
    steps = 10
    recovery_s = 20

    def tick(self) -> tuple[int, float] | None:
        """How many users now, and how many may come or go a second; None at the end."""
        at = self.get_run_time()
        climb_s = self.steps * self.step_s
        if at < climb_s:
            return self.step_users * (1 + int(at / self.step_s)), self.step_users
        return (2 * self.step_users, self.step_users * self.steps) if at < climb_s + self.recovery_s else None
