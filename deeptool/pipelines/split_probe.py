"""What one split's pipeline is known to yield: probed once, when it is first asked for."""

from __future__ import annotations

import logging
import os
from typing import Any

from deeptool.errors import UserError, WorkError
from deeptool.pipelines.pipeline_probe import (
    ProbeReport,
    ProbeRequest,
    code_facts,
    make_report,
    tried_again,
)
from deeptool.pipelines.probe_process import ProbeProcess
from deeptool.settings import Settings

SECONDS_VARIABLE = "DEEPTOOL_PROBE_SECONDS"
DEFAULT_SECONDS = 5.0
_log = logging.getLogger(__name__)
# Any but that of the first reading, which has 0 or a random one.
_OTHER_HASH_SEED = 20_011
# An upload takes this share longer, where it has to be probed; at least `_LEAST_SECONDS`.
_SHARE = 0.1
_LEAST_SECONDS = 1.0


def probe_seconds() -> float:
    """How long a probe reads samples: ``$DEEPTOOL_PROBE_SECONDS``, 0 for not at all.

    Raises
    ------
    UserError
        The variable is no such number.
    """
    text = os.environ.get(SECONDS_VARIABLE, "")
    try:
        seconds = float(text or DEFAULT_SECONDS)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UserError(f"{SECONDS_VARIABLE} is no number of seconds", seen=text, valid="0 or more")
    return seconds


class SplitProbe:
    """The probe of one split, for an upload of it.

    Parameters
    ----------
    request : ProbeRequest
        With 0 seconds no pipeline is read: the code alone decides.
    """

    def __init__(self, request: ProbeRequest) -> None:
        self._request = request
        self._process = ProbeProcess(request) if request.seconds else None
        self._report: ProbeReport | None = None

    def report(self, settings: Settings, seconds: float | None = None) -> ProbeReport:
        """What is known; probes the first time.

        Parameters
        ----------
        settings : Settings
            Those of this process, which know of the code where the probe fails.
        seconds : float, optional
            For reading samples, if less than the request's.
        """
        if self._report is None:
            most = self._request.seconds
            self._report = self._probed(settings, most if seconds is None else min(most, seconds))
        return self._report

    def try_again(self, settings: Settings) -> ProbeReport:
        """Find out whether another process, with another PYTHONHASHSEED, reads the same samples."""
        report = self.report(settings)
        if report.facts.reproducible is None and report.facts.checkpoints:
            try:
                other = ProbeProcess(self._request, hash_seed=_OTHER_HASH_SEED).result()
            except (UserError, WorkError) as error:
                _log.warning("the pipeline could not be probed again: %s", error)
            else:
                self._report = tried_again(report, other)
        return self._report or report

    def facts_after(self, settings: Settings, upload_seconds: float) -> dict[str, Any]:
        """The facts, as the catalog keeps them, for an upload that took so long."""
        seconds = max(_LEAST_SECONDS, _SHARE * upload_seconds)
        return self.report(settings, seconds).facts.to_json()

    def __enter__(self) -> SplitProbe:
        return self

    def __exit__(self, *error: object) -> None:
        # A process that was never told to begin waits for that.
        if self._process is not None:
            self._process.close()

    def _probed(self, settings: Settings, seconds: float) -> ProbeReport:
        if self._process is None:
            return make_report(settings, self._request, code_facts(settings))
        try:
            report = self._process.result(seconds)
        except (UserError, WorkError) as error:
            failed = error.what if error.seen is None else f"{error.what}: {error.seen_text}"
            report = make_report(settings, self._request, code_facts(settings, failed))
        if report.facts.failed:
            _log.warning(
                "the probe of the %s pipeline failed: %s; its code alone says whether samples that "
                "are stored are the same",
                self._request.split,
                report.facts.failed,
            )
        return report
