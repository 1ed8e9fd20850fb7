"""``fvdeblur doctor``: what this machine has of what runs need, and what to do about the rest."""

from __future__ import annotations

import json

import click

from fvdeblur.cli.options import debug_option
from fvdeblur.errors import EXIT_FAILURE


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print an object of JSON, for reports of problems.")
@debug_option
def doctor(as_json: bool, debug: bool) -> int:
    """Look at Python, PyTorch, devices, codecs, detector, models, threads and disk, and say what to do.

    Exit code 1 where something will fail.
    """
    from fvdeblur.diagnosis import diagnose, versions

    findings = diagnose()
    if as_json:
        click.echo(json.dumps({"versions": versions(), "findings": [vars(finding) for finding in findings]}))
    else:
        width = max(len(finding.subject) for finding in findings)
        for finding in findings:
            click.echo(f"{finding.state:7}  {finding.subject:{width}}  {finding.text}")
            if finding.remedy:
                click.echo(f"{'':7}  {'':{width}}  -> {finding.remedy}")
    return EXIT_FAILURE if any(finding.state == "problem" for finding in findings) else 0
