"""The doctor on a machine: a line for all that is installed and for every backend, and the fix for what fails."""

import json
import os
from dataclasses import asdict

from ptrain.comm.table import SEVERAL
from ptrain.config import RunConfig
from ptrain.console import Console
from ptrain.errors import EXIT_DONE, EXIT_INPUT
from ptrain.launch.env import detect
from ptrain.verbs.doctor import DoctorOptions, checks
from ptrain.verbs.doctor.checks import Finding

_COLOURS = {"ok": "\x1b[32m", "missing": "\x1b[33m", "failed": "\x1b[31m"}


def run(options: DoctorOptions, settings: RunConfig) -> int:
    """Report on this machine, or from inside a job on its ranks.

    Returns 0 where at least one backend of several ranks works, or the job does, else 2.
    """
    info = detect(os.environ)
    if options.preflight:
        from ptrain.verbs.doctor import preflight

        return preflight.run(info, options, settings)
    if info.size > 1:
        from ptrain.verbs.doctor import job  # loads torch

        return job.run(info, options, settings)
    console = Console()
    findings: list[Finding] = []
    backends = [settings.backend] if settings.backend in SEVERAL else list(SEVERAL)
    for finding in checks.all_findings(info, options.time_limit, backends):
        findings.append(finding)
        if not options.json:
            console.say(_line(finding, console.colour))
    works = [finding.topic for finding in findings if finding.topic.startswith("backend ") and finding.status == "ok"]
    if options.json:
        console.say(json.dumps({"works": bool(works), "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        console.say(
            f"\n{', '.join(works)}: ready for several ranks" if works else "\nno backend for several ranks works"
        )
    return EXIT_DONE if works else EXIT_INPUT


def _line(finding: Finding, colour: bool) -> str:
    status = f"{finding.status:<7}"
    if colour:
        status = f"{_COLOURS[finding.status]}{status}\x1b[0m"
    fix = f"\n{'':9}fix: {finding.fix}" if finding.fix else ""
    return f"{status}  {finding.topic + ':':<19} {finding.detail}{fix}"
