"""Models, data sets and protocols -> the jobs of a run, with every choice in words. Mistakes end here, before
any work is done.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from leadline import protocols
from leadline.errors import UsageError, did_you_mean
from leadline.evaluate.models import Contender
from leadline.evaluate.sources import Data, Opener, Source, safe
from leadline.protocols import Protocol, Rule

TREATMENTS = {"none": "as it is", "zero": "given a zero"}  # all others: aligned


class Combination(NamedTuple):
    """Several models taken together: the mean of their predictions, or per picture the best of them."""

    kind: Literal["average", "oracle"]
    members: tuple[str, ...]  # labels

    @property
    def label(self) -> str:
        """As it is asked for."""
        return f"{self.kind}:{'+'.join(self.members)}"


@dataclass(frozen=True)
class Part:
    """A model, and the protocol by which its predictions are treated."""

    contender: Contender
    rules: Protocol

    def __str__(self) -> str:
        spaces = self.rules.spaces(self.contender.kind)
        done = " and ".join(TREATMENTS.get(space, f"aligned by {space}") for space in spaces)
        version = f"{self.rules.name} {self.rules.version}, {self.rules.hash[:12]}"
        return f"{self.contender.kind} {done} (protocol {version})"


@dataclass(frozen=True)
class Job:
    """A model, or the average of several, on a data set."""

    label: str
    parts: tuple[Part, ...]
    data: Data

    @property
    def rules(self) -> Protocol:
        """By which it is measured: of an average, the first member's."""
        return self.parts[0].rules

    @property
    def joint(self) -> Protocol:
        """These rules, with the way that each member's own protocol treats its kind."""
        own = {part.contender.kind: part.rules.spaces(part.contender.kind) for part in self.parts}
        return self.rules.model_copy(update={"align": self.rules.align | own})

    @property
    def rule(self) -> Rule:
        """For its data set."""
        return self.rules.rule(self.data.name)

    @property
    def pooled(self) -> bool:
        """Whether the errors of all pixels make one heap."""
        return self.rules.reduction == "pixels"

    def folder(self, out: Path) -> Path:
        """Where its records lie in a run."""
        return out / safe(self.label) / f"{safe(self.data.name)}.{safe(self.rules.name)}"

    def facts(self) -> dict[str, Any]:
        """All that its figures depend on, as JSON types. Its models must have been started."""
        return {
            "protocols": [part.rules.hash for part in self.parts],
            "models": [
                part.contender.facts() | part.contender.settings(part.rules, self.data.name)
                for part in self.parts
            ],
            **self.data.facts(),
        }

    def __str__(self) -> str:
        rule, first = self.rule, self.parts[0].contender
        settings = first.settings(self.rules, self.data.name) if len(self.parts) == 1 else {}
        choices = [
            " with ".join(map(str, self.parts)),
            f"crop {rule.crop}" if rule.crop else "",
            f"resized to {rule.resize[0]}x{rule.resize[1]}" if rule.resize else "",
            f"box {rule.box}" if rule.box else "",
            _range(rule.range) if self.rules.measure == "depth" else "",
            f"clipped to {rule.clip}" if rule.clip else "",
            f"fitted at {rule.max_res} px ({rule.max_res_mode})" if rule.max_res else "",
            f"colours {self.rules.input}" if self.rules.measure == "normals" else "",
            "mean with the mirrored picture" if self.rules.mirror else "",
            f"mean over {self.rules.reduction}",
            *(f"{key} {value}" for key, value in settings.items() if value is not None),
            "at its own resolution" if settings.get("processing_res", 0) is None else "",
        ]
        return f"{self.label} on {self.data.name}: {', '.join(filter(None, choices))}"


def choose(
    contenders: Sequence[Contender],
    combinations: Sequence[Combination],
    wanted: Sequence[Protocol],
    sources: Sequence[Source],
    opener: Opener,
) -> list[Job]:
    """The jobs: every model, and every average, on every data set, each by the first protocol that fits it.

    Raises UsageError or KindError for a model that no protocol can score, and for combinations that make no
    sense; DataError for data sets that are not there.
    """
    by_label = {contender.label: contender for contender in contenders}
    if len(by_label) < len(contenders):
        raise UsageError("two models have one name: give them labels, such as mine=FOLDER")
    names = [source.name for source in sources]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(
            f"data set {twice!r} is given twice: give each a run folder, or a name of its own in a protocol "
            f"(sets: {{NAME: {{data: {twice}}}}})"
        )
    for one in combinations:
        for member in one.members:
            if member not in by_label:
                raise UsageError(f"{one.label}: no model is {member!r}: {did_you_mean(member, by_label)}")
    averages = {one.label: one.members for one in combinations if one.kind == "average"}
    wholes = {label: (label,) for label in by_label} | averages
    jobs = []
    for source in sources:
        for label, members in wholes.items():
            own = (by_label[member] for member in members)
            parts = tuple(Part(c, protocols.choose(wanted, c.kind, source.name)) for c in own)
            data = opener(source, parts[0].rules.rule(source.name))
            jobs.append(_checked(Job(label, parts, data)))
    for one in combinations:
        _check_oracle(one, [job for job in jobs if one.kind == "oracle" and job.label in one.members])
    return jobs


def combination(word: str) -> Combination | None:
    """What a word such as 'average:A+B' asks for; None for a model's name. Raises UsageError.

    >>> combination("average:small+mine")
    Combination(kind='average', members=('small', 'mine'))
    """
    found = re.fullmatch(r"(average|oracle):(.+)", word)
    if not found:
        return None
    members = tuple(found[2].split("+"))
    if len(members) < 2 or len(set(members)) < len(members) or not all(members):
        raise UsageError(f"{word!r}: two or more different models are needed, such as {found[1]}:A+B")
    return Combination("average" if found[1] == "average" else "oracle", members)


def labelled(word: str) -> tuple[str | None, str]:
    """The label, if there is one, and the model or folder that a word such as 'mine=small' gives it to. A
    folder that is there is taken whole: its name may hold '=' too.

    >>> labelled("mine=runs/lr=3e-5/model"), labelled("small")
    (('mine', 'runs/lr=3e-5/model'), (None, 'small'))
    """
    label, equals, named = word.partition("=")
    return (None, word) if not equals or Path(word).is_dir() else (label or None, named)


def groups(jobs: Iterable[Job]) -> list[list[Job]]:
    """Jobs that need the same models at one time, together: those of a model, or of all that are averaged."""
    found: list[tuple[set[str], list[Job]]] = []
    for job in jobs:
        labels, own = {part.contender.label for part in job.parts}, [job]
        for other in [one for one in found if one[0] & labels]:
            found.remove(other)
            labels, own = labels | other[0], other[1] + own
        found.append((labels, own))
    return [own for _, own in found]


def _checked(job: Job) -> Job:
    if len(job.parts) > 1 and job.rules.measure not in ("depth", "boundary-f1"):
        raise UsageError(f"{job.label}: {job.rules.name} has no known depths to align to: leave it out")
    own = [(part.rules.measure, part.rules.rule(job.data.name)) for part in job.parts]
    if any(one != own[0] for one in own):
        raise UsageError(
            f"{job.label}: its members' protocols ({', '.join(part.rules.name for part in job.parts)}) treat "
            f"{job.data.name} differently: ask for one protocol"
        )
    return job


def _check_oracle(one: Combination, jobs: Sequence[Job]) -> None:
    for job in jobs:
        first = next(other for other in jobs if other.data.name == job.data.name)
        if job.pooled:
            raise UsageError(f"{one.label}: {job.rules.name} pools the pixels of all pictures: leave it out")
        if (job.rules.measure, job.rules.metrics) != (first.rules.measure, first.rules.metrics):
            found = f"{first.rules.name} and {job.rules.name} give different figures of {job.data.name}"
            raise UsageError(f"{one.label}: {found}: ask for one protocol")


def _range(limits: tuple[float, float | None] | None) -> str:
    if limits is None:
        return "depths where the mask says"
    near, far = limits
    return f"depths over {near:g} m" if far is None else f"depths from {near:g} to {far:g} m"
