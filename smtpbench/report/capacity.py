"""What every form of a report says about a capacity search: its conclusion, in words, and its trials."""

from __future__ import annotations

from smtpbench.load.capacity_result import CapacityResult, KneeResult, Trial, UslResult
from smtpbench.load.search import End, Verdict
from smtpbench.report.conclusion import Conclusion
from smtpbench.report.text import milliseconds, number

MARKS = {Verdict.HELD: "✓", Verdict.FAILED: "✗", Verdict.INVALID: "–"}


def conclude_capacity(result: CapacityResult) -> Conclusion:
    """The answer in a line, and what it means for what is required."""
    answer = _answer(result)
    if result.required_per_s is None:
        return answer
    required = number(result.required_per_s)
    if result.meets is None:
        return Conclusion(
            "warn", f"{answer.text}; that does not tell whether it holds the {required} required"
        )
    if not result.meets:
        return Conclusion("bad", f"{answer.text}; required are {required}")
    return Conclusion("good", f"{answer.text}; required are {required}")


def _answer(result: CapacityResult) -> Conclusion:
    found = result.capacity
    rate = number(found.rate_per_s or 0)
    because = f": {result.reason}" if result.reason else ""
    if result.end is End.FOUND:
        return Conclusion("good", f"Holds {rate} messages/s, {_interval(result)}")
    if result.end is End.MAXIMUM:
        return Conclusion("good", f"Holds {rate} messages/s{because}")
    if result.end is End.AT_LEAST:
        return Conclusion("warn", f"Holds at least {rate} messages/s{because}")
    if result.end is End.BELOW:
        return Conclusion("bad", f"No rate holds{because}")
    if found.rate_per_s is None:
        return Conclusion("warn", f"Inconclusive{because or ': no trial says anything about the target'}")
    known = f", {_interval(result)}" if found.edge_per_s is not None else ""
    return Conclusion("warn", f"Not settled{because}; {rate} messages/s held{known}")


def _interval(result: CapacityResult) -> str:
    found = result.capacity
    return (
        f"edge {number(found.edge_per_s or 0)}/s "
        f"({found.confidence:.0%} interval {number(found.low_per_s or 0)} to {number(found.high_per_s or 0)})"
    )


def sentences(result: CapacityResult) -> list[str]:
    """What else was found, a sentence each: how sure, the knee, the scalability law, notes."""
    found, said = (
        result.capacity,
        [f"Holds means: {' and '.join(result.thresholds)}, and latency does not grow."],
    )
    if found.rate_per_s is not None:
        said.append(f"{found.held} of {found.tried} trials at {number(found.rate_per_s)}/s held.")
    if found.edge_per_s is not None:
        said.append("At the edge a trial is as likely to hold as to fail.")
    if result.knee is not None:
        said.append(_knee(result.knee))
    if result.usl is not None:
        said.append(_usl(result.usl, result))
    return [*said, *(f"Note: {note}." for note in result.notes)]


def _knee(knee: KneeResult) -> str:
    at = f"{number(knee.rate_per_s)}/s (p99 {milliseconds(knee.latency_ms)})"
    if knee.at_end:
        return f"No knee up to {at}: latency does not rise faster than the rate."
    if knee.at_start:
        return f"Knee at {at} or below: from there on latency rises faster than the rate."
    return f"Knee at {at}: beyond it latency rises faster than the rate."


def _usl(usl: UslResult, result: CapacityResult) -> str:
    if not usl.lambda_per_s:
        return f"Scalability law: {usl.problem}."
    figures = (
        f"λ {_with_error(usl.lambda_per_s, usl.lambda_se)}/s, σ {_with_error(usl.sigma, usl.sigma_se)}, "
        f"κ {_with_error(usl.kappa, usl.kappa_se)}, R² {usl.r2:.3f}"
    )
    if not usl.fits:
        return f"Scalability law: {usl.problem} ({figures})."
    if usl.peak_users is None or usl.peak_per_s is None:
        return f"Scalability law: {figures}; throughput has no peak."
    most = max((trial.users or 0 for trial in result.trials), default=0)
    beyond = f", an extrapolation: {most} were tried" if usl.peak_users > most else ""
    return (
        f"Scalability law: {figures}; peak of {number(usl.peak_per_s)}/s at "
        f"{number(round(usl.peak_users))} users{beyond}."
    )


def _with_error(value: float, error: float | None) -> str:
    return f"{value:.3g}" if error is None else f"{value:.3g} ± {float(f'{error:.1g}'):g}"


def load_of(trial: Trial) -> str:
    """What was asked of the target."""
    return load_in_words(trial.rate, trial.users)


def load_in_words(rate: float | None, users: int | None) -> str:
    """A rate, or a number of users."""
    if users is None:
        return f"{number(rate or 0)}/s"
    return "1 user" if users == 1 else f"{number(users)} users"


def latency_of(trial: Trial) -> float:
    """The p99 that counts, in ms: from the intended start where there is one."""
    return trial.p99_ms if trial.users is not None else trial.intended_p99_ms
