"""How commands are started and how they ended."""

import subprocess
from typing import NamedTuple

START = """
import sys
from pathlib import Path
import fvdeblur.cli.progress as progress
import fvdeblur.released as released
released.models_folder = lambda: Path({models!r})
progress.PLAIN_INTERVAL = float("inf")  # no line now and then, however slow the machine
{more}
from fvdeblur.cli import main
main(sys.argv[1:])
"""


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    def failed(self, code: int, *words: str) -> None:
        """Demand an exit code and one line on standard error that holds these words, and nothing else."""
        assert self.code == code, self
        assert self.out == ""
        lines = [line for line in self.err.splitlines() if line]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("fvdeblur: ")
        assert "unexpected" not in lines[0]
        for word in words:
            assert word in lines[0], (word, lines[0])


def finished(process: subprocess.Popen[str], timeout: float = 300) -> Result:
    """Wait for a process and return how it ended."""
    out, err = process.communicate(timeout=timeout)
    assert "Traceback" not in err, err
    return Result(process.returncode, out, err)
