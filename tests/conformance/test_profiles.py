"""The cases on each endpoint of the reference server, and on those that take no mail: nothing may be red."""

from __future__ import annotations

import pytest

from smtpbench.conformance.discovery import load_cases
from smtpbench.conformance.model import find_cases
from smtpbench.conformance.proof import run_fault
from smtpbench.conformance.reference import PROFILES, Profile
from smtpbench.lab.workspace import Workspace

# Cases that get their answer, at the very least: a profile that tests nothing is green too.
ASKED = {"mx": 240, "submission": 220, "submissions": 220, "lmtp": 220, "refusing": 5, "never": 4}


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
async def test_the_reference_server_is_green(place: Workspace, profile: Profile) -> None:
    root = find_cases()
    cases = load_cases(root)
    run = await run_fault(root, cases, place, None, profile)
    assert (run.red, run.errors, run.trouble) == ({}, {}, None)
    assert len(cases) - len(run.untested) >= ASKED[profile.name]
