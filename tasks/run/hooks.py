"""Commands of the operator's that are run when a run has ended."""

from __future__ import annotations

import logging
import shlex
import subprocess

logger = logging.getLogger("pipeline")

LIMIT_S = 60.0


def run_hook(setting: str, command: str, given: str, limit_s: float = LIMIT_S) -> None:
    """Run a command. If it fails, that is logged and changes nothing.

    Args:
        setting: What luigi.cfg calls it.
        command: The command; no shell reads it.
        given: What it gets on its standard input.
        limit_s: It is killed after so many seconds.
    """
    if not command:
        return
    try:
        done = subprocess.run(  # noqa: S603  # It is the operator's.
            shlex.split(command),
            input=given,
            timeout=limit_s,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired:
        logger.warning("%s was killed after %g seconds: %s", setting, limit_s, command)
    except (OSError, ValueError) as error:
        logger.warning("%s cannot be run: %s: %s", setting, command, error)
    else:
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            logger.warning(
                "%s ended with exit status %d: %s%s",
                setting,
                done.returncode,
                command,
                f": {said[-1]}" if said else "",
            )
