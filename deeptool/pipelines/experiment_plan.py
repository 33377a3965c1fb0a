"""What a settings file makes now, for the variants and trials of a campaign: ``deeptool plan``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from deeptool.catalog.fold import Catalog, TopicState, Upload
from deeptool.catalog.stored import digest_of, same_value
from deeptool.client.topic_names import topic_name
from deeptool.errors import DeeptoolError, UserError, WorkError
from deeptool.pipelines.pipeline_probe import (
    ProbeReport,
    ProbeRequest,
    tried_again,
    without_digests,
)
from deeptool.pipelines.plan_request import (
    FORMAT,
    SHARDS,
    PlannedTopic,
    PlanRequest,
    planned_topics,
)
from deeptool.pipelines.probe_process import ProbeProcess
from deeptool.pipelines.reuse import AskedUpload, differences
from deeptool.settings.fingerprint import changed_code
from deeptool.settings.hparams import ALWAYS_VALID
from deeptool.settings.pipeline_facts import PipelineFacts, compared, digests_differ, same_samples

_OTHER_HASH_SEED = 20_011
# Other values of each hparam that are tried.
_MOST_VALUES = 2


class ExperimentPlan:
    """The datasets, the hparams and the trials of a request, found out.

    Parameters
    ----------
    usersettings : str
        The settings file.
    request : PlanRequest
    seconds : float
        For reading each pipeline.
    """

    def __init__(self, usersettings: str, request: PlanRequest, seconds: float) -> None:
        self._file, self._request, self._seconds = usersettings, request, seconds
        self._datasets = list(planned_topics(request))
        asked = [variant["hparams"] for variant in request.variants]
        asked += [trial["hparams"] for trial in request.trials]
        self._reports = {
            dataset: self._probe(dataset, overrides=asked if not place else ())
            for place, dataset in enumerate(self._datasets)
        }
        self._any = self._reports[self._datasets[0]]
        # Those that change the batch size, and the samples with it.
        self._resized: set[str] = set()
        self._uncompared: set[str] = set()
        # Before anything is connected: its threads would end the forking.
        self._data, self._free = self._hparams()

    def answer(self, catalog: Catalog | None, sealed: bool = False) -> dict[str, Any]:
        """What is known, as JSON.

        Parameters
        ----------
        catalog : mapping or None
            What is stored; None where that is not asked. Versions have digests of what is `sealed`.
        """
        versions = self._versions(catalog if sealed else None)
        rows = [self._row(dataset, catalog) for dataset in self._datasets]
        self._check_pipelines(rows)
        return {
            "format": FORMAT,
            "session_name": self._datasets[0].session_of(self._any.session_name),
            "hparams": self._any.own_hparams,
            "datasets": rows,
            "data_hparams": self._data,
            "free_hparams": self._free,
            "refused": list(self._refused()),
            "versions": versions,
            "same": {key: self._same(key, blob) for key, blob in versions.items()},
            "files": list(self._any.files),
            "warnings": list(dict.fromkeys(self._warnings())),
        }

    def failure(self) -> DeeptoolError | None:
        """Why the first of the pipelines that failed did so."""
        for dataset, report in self._reports.items():
            if report.facts.failed:
                settings = report.exit_code == UserError.exit_code
                return (UserError if settings else WorkError)(
                    f"the probe of the {dataset.split} pipeline failed",
                    seen=report.facts.failed,
                    next_step="correct get_input_pipeline, or what it reads, in the settings file",
                )
        return None

    def _check_pipelines(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Raise where nothing is stored yet, and the pipeline that is to make it cannot run.

        What was stored outlives its raw data: later launches need it no more.
        """
        asked = self._request.probe and not self._request.versions
        for row, report in zip(rows, self._reports.values(), strict=True):
            if asked and report.broken is not None and (row["stored"] or {}).get("state") != "same":
                raise UserError(**report.broken)

    def _ask(self, dataset: PlannedTopic, hparams: Mapping[str, Any]) -> ProbeRequest:
        request = self._request
        return ProbeRequest(
            self._file,
            dataset.split,
            proc_id=dataset.proc_id,
            num_procs=dataset.num_procs,
            variant=dataset.variant,
            hparams=hparams,
            auto_shard=request.auto_shard,
            epochs=request.epochs,
            seconds=self._seconds if request.probe else 0.0,
            training=True,
        )

    def _probe(
        self,
        dataset: PlannedTopic,
        hparams: Mapping[str, Any] | None = None,
        unpadded: bool = False,
        overrides: Sequence[Mapping[str, Any]] = (),
    ) -> ProbeReport:
        asked = self._ask(dataset, {**dataset.hparams, **(hparams or {})})
        asked = replace(asked, unpadded=unpadded, overrides=tuple(overrides))
        try:
            return ProbeProcess(asked).result()
        except WorkError as error:
            # It crashed or hung. Without reading samples, the code can still be looked at.
            report = ProbeProcess(replace(asked, seconds=0.0)).result()
            facts = replace(report.facts, failed=error.what)
            return replace(report, facts=facts, exit_code=error.exit_code)

    def _settle(self, dataset: PlannedTopic) -> ProbeReport:
        """The report, which says whether another process reads the same samples."""
        report = self._reports[dataset]
        if report.facts.reproducible is None and report.facts.checkpoints:
            asked = self._ask(dataset, dataset.hparams)
            report = tried_again(report, ProbeProcess(asked, hash_seed=_OTHER_HASH_SEED).result())
            self._reports[dataset] = report
        return report

    def _row(self, dataset: PlannedTopic, catalog: Catalog | None) -> dict[str, Any]:
        report = self._reports[dataset]
        topic = topic_name(report.session_name, report.proc_id, dataset.split)
        stored = None
        if catalog is not None:
            stored = self._stored(dataset, catalog.get(topic, TopicState()).current)
        return {
            "procID": None if dataset.key == SHARDS else int(dataset.key),
            "split": dataset.split,
            "topic": topic,
            "facts": self._reports[dataset].facts.to_json(),
            "stored": stored,
        }

    def _stored(self, dataset: PlannedTopic, current: Upload | None) -> dict[str, Any]:
        if current is None or current.completed is None:
            return {"state": "absent", "why": [], "owner": None, "samples": 0}
        way = AskedUpload(self._request.epochs, None, None, self._request.auto_shard)
        why: list[str] = []
        if self._request.probe:
            report = self._reports[dataset]
            why = differences(current, report, way)
            if why and not differences(current, without_digests(report), way):
                why = differences(current, self._settle(dataset), way)
        return {
            "state": "different" if why else "same",
            "why": why,
            "owner": current.begun.owner,
            "samples": current.samples,
        }

    def _versions(self, sealed: Catalog | None) -> dict[str, Any]:
        """Dataset that trials read -> what they are made from."""
        found: dict[str, Any] = {}
        for dataset, report in self._reports.items():
            blob = found.setdefault(dataset.key, {"data": {}, "training": dict(report.training)})
            blob["data"][dataset.part] = report.facts.to_json()
            if sealed is not None:
                topic = topic_name(report.session_name, report.proc_id, dataset.split)
                upload = sealed.get(topic, TopicState()).current
                done = (upload.completed,) if upload and upload.completed else ()
                blob.setdefault("sealed", {})[dataset.part] = digest_of(done)
        return found

    def _same(self, key: str, now: Mapping[str, Any]) -> list[str]:
        return [
            name for name, known in self._request.versions.items() if self._is_same(key, known, now)
        ]

    def _is_same(self, key: str, known: Any, now: Mapping[str, Any]) -> bool:
        try:
            before = {part: PipelineFacts.from_json(v) for part, v in known["data"].items()}
            training = known["training"]
        except (KeyError, TypeError, ValueError, AttributeError):
            return False
        if before.keys() != now["data"].keys() or changed_code(training, now["training"]):
            return False
        if "sealed" in known and known["sealed"] != now.get("sealed", known["sealed"]):
            return False
        return all(
            self._same_facts(dataset, before[dataset.part])
            for dataset in self._datasets
            if dataset.key == key
        )

    def _same_facts(self, dataset: PlannedTopic, before: PipelineFacts) -> bool:
        facts = self._reports[dataset].facts
        if not same_samples(before, facts):
            return True
        if same_samples(before, replace(facts, reproducible=False)):
            return False
        return not same_samples(before, self._settle(dataset).facts)

    def _hparams(self) -> tuple[dict[str, str], dict[str, str]]:
        """Which hparams the samples depend on, and which not; why."""
        declared = self._any.declared
        if declared is not None:
            why = "the settings file says so: data_hparams"
            data = dict.fromkeys(declared, why)
        else:
            keys = {key for report in self._reports.values() for key in report.data_hparams}
            data = dict.fromkeys(sorted(keys), "the input pipeline's code looks it up")
        free = {}
        tried = self._other_values(data) if declared is None and self._request.probe else {}
        found = self._matter(tried)
        for key in self._any.hparams:
            if key in found:
                data[key] = f"the samples are others with {key} = {found[key]!r}"
                if key in self._resized:
                    data[key] += (
                        ", which is a batch size: if they differ in their padding only, set"
                        " padding_value in the settings file"
                    )
            elif key not in data and key not in ALWAYS_VALID:
                values = ", ".join(repr(value) for value in tried.get(key, ()))
                told = values and key not in self._uncompared
                seen = f", and the same samples with {values}" if told else ""
                free[key] = f"the input pipeline's code does not look it up{seen}"
        return data, free

    def _other_values(self, data: Mapping[str, str]) -> dict[str, list[Any]]:
        """Key that the code seems not to look up -> values of trials that no dataset has."""
        found: dict[str, list[Any]] = {}
        for trial in self._request.trials:
            base = self._base(trial)
            for key, value in trial["hparams"].items():
                own = base.hparams.get(key)
                values = found.setdefault(key, [])
                if not any(same_value(value, other) for other in (own, *values)):
                    values.append(value)
        found = {k: v for k, v in found.items() if v and k not in data and k not in ALWAYS_VALID}
        # The first and the last: of a range, its ends.
        return {k: [*v[: _MOST_VALUES - 1], v[-1]] if len(v) > 1 else v for k, v in found.items()}

    def _matter(self, tried: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """Those of the tried keys with which the samples are others, with the value that did it."""
        found: dict[str, Any] = {}
        for dataset in self._datasets:
            first = self._datasets[0]
            if (dataset.key, dataset.proc_id) != (first.key, first.proc_id):
                continue
            for place in range(_MOST_VALUES):
                all_keys = {k: v[place] for k, v in tried.items() if len(v) > place}
                # Most often none of them matters: all at once, then one by one.
                if not all_keys or not self._other_samples(dataset, all_keys):
                    continue
                for key, value in all_keys.items():
                    if key not in found and self._other_samples(dataset, {key: value}):
                        found[key] = value
        return found

    def _other_samples(self, dataset: PlannedTopic, hparams: Mapping[str, Any]) -> bool:
        try:
            other = self._probe(dataset, hparams)
        except UserError as error:
            raise UserError(
                f"the settings cannot be loaded with the trials' hparams: {error.what}",
                seen=f"{dict(hparams)}; {error.seen_text}",
                valid=error.valid,
                next_step=error.next_step,
            ) from error
        facts = self._reports[dataset].facts
        if facts.element_spec != other.facts.element_spec or bool(facts.failed) != bool(
            other.facts.failed
        ):
            return True
        if not digests_differ(facts, other.facts):
            if not facts.failed and not compared(facts, other.facts):
                self._uncompared.update(hparams)
            return False
        if other.pads and not digests_differ(
            self._probe(dataset, unpadded=True).facts,
            self._probe(dataset, hparams, unpadded=True).facts,
        ):
            # Another batch size, to which the pipeline pads each sample.
            return False
        if other.batch_size != self._reports[dataset].batch_size and not other.pads:
            self._resized.update(hparams)
        return self._settle(dataset).facts.reproducible is not False

    def _base(self, trial: Mapping[str, Any]) -> ProbeReport:
        """The dataset that a trial reads."""
        key = SHARDS if trial.get("procID") is None else str(trial["procID"])
        for dataset, report in self._reports.items():
            if dataset.key == key:
                return report
        return self._any

    def _refused(self) -> Iterator[dict[str, Any]]:
        for place, trial in enumerate(self._request.trials):
            base = self._base(trial)
            for key, value in trial["hparams"].items():
                if key not in self._data or key in ALWAYS_VALID:
                    continue
                own = base.hparams.get(key)
                if not same_value(value, own):
                    message = (
                        f"{key} = {value!r}, and the dataset is made with {own!r}: "
                        f"{self._data[key]}"
                    )
                    yield {"trial": place, "message": message}
                    break

    def _warnings(self) -> Iterator[str]:
        if self._uncompared:
            yield (
                "the pipeline yielded no sample in time to compare: whether its samples depend on "
                f"{', '.join(sorted(self._uncompared))}, its code alone decides"
            )
        for dataset, report in self._reports.items():
            yield from report.warnings
            if report.facts.failed:
                yield f"the probe of the {dataset.split} pipeline failed: {report.facts.failed}"
            if report.facts.reproducible is False:
                yield (
                    f"the {dataset.split} pipeline yields other samples in each process: whether "
                    "stored samples are the same, its code decides"
                )
