"""The losses of the logit methods for K students at once, each student with its own options."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.config.schedules import Schedule
from understudy.methods import CE, DIST, DKD, KD, LSKD, method_class
from understudy.methods.base import Method, MethodConfig
from understudy.methods.combined import CombinedConfig
from understudy.methods.dist import pearson
from understudy.methods.dkd import dkd_per_image
from understudy.methods.lskd import standardise
from understudy.methods.multi_teacher import MultiTeacher

_LOGIT_METHODS = (CE, KD, LSKD, DKD, DIST)
_OPTIONS = {
    "lskd": ("weight", "temperature"),
    "dkd": ("weight", "temperature", "tckd_weight", "nckd_weight"),
    "dist": ("weight", "temperature", "beta", "gamma"),
}
"""Methods with a term of their own: the options that it reads."""


def why_no_stacked_loss(method: Method) -> str:
    """Why a method's loss cannot be computed for many students at once; empty if it can."""
    for name, config in _parts(method.config).items():
        if method_class(name) not in _LOGIT_METHODS:
            return f"the method {name} is not one of ce, kd, lskd, dkd and dist"
        if isinstance(method, MultiTeacher):
            return "it has several teachers"
        if isinstance(config.temperature, Schedule) or isinstance(config.alpha, Schedule):
            return "its temperature or alpha changes over the epochs"
        if config.curriculum is not None:
            return "its curriculum selects images that other students do not get"
    return ""


def _parts(config: MethodConfig) -> dict[str, MethodConfig]:
    return config.parts if isinstance(config, CombinedConfig) else {config.name: config}


def _fixed(value: float | Schedule) -> float:
    assert not isinstance(value, Schedule), "why_no_stacked_loss refuses schedules"
    return value


class StackedLosses:
    """Named, weighted losses ``[K, terms]``; 0 if a student does not have the term.

    Args:
        methods: of each student; only their options are read.
        has_teacher: for each student.
        device: of the logits.

    Attributes:
        names: of the terms, in the order of the columns.
        has: whether a student has a term, ``[K][terms]``.
    """

    def __init__(
        self, methods: Sequence[Method], has_teacher: Sequence[bool], device: torch.device
    ) -> None:
        self.count, self.device = len(methods), device
        configs = [method.config for method in methods]
        ce = [1 - _fixed(c.alpha) if c.ce_weight is None else c.ce_weight for c in configs]
        kd = [_fixed(c.alpha) if has else 0.0 for c, has in zip(configs, has_teacher, strict=True)]
        self.ce, self.kd = self._vector(ce), self._vector(kd)
        self.smoothing = self._vector([m.label_smoothing for m in methods])
        self.class_weights = _stacked_weights(methods, device)
        self.temperature = self._vector([_fixed(c.temperature) for c in configs])
        own = {name: _rows_of(name, configs, has_teacher) for name in _OPTIONS}
        self.own = {name: found for name, found in own.items() if found}
        # Vectors are made here, once: a recorded step must not copy numbers from the host.
        self.rows: dict[str, Tensor] = {}
        self.options: dict[str, dict[str, Tensor]] = {}
        for name, found in self.own.items():
            self.rows[name] = torch.tensor(list(found), device=device)
            self.options[name] = {
                option: self._vector([getattr(config, option) for config in found.values()])
                for option in _OPTIONS[name]
            }
        self.names = [*(["ce"] if any(ce) else []), *(["kd"] if any(kd) else []), *self.own]
        has_term = {"ce": [bool(weight) for weight in ce], "kd": [bool(weight) for weight in kd]}
        for name, found in self.own.items():
            has_term[name] = [row in found for row in range(self.count)]
        self.has = [[has_term[name][row] for name in self.names] for row in range(self.count)]
        assert all(any(row) for row in self.has), (
            "a student has no loss: alpha, ce_weight and weight are all 0"
        )
        self.warmup = torch.ones(len(self.own.get("dkd", {})), device=device)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch (from 0), which the warm-up of dkd depends on."""
        lengths = [getattr(c, "warmup_epochs", 0) for c in self.own.get("dkd", {}).values()]
        factors = [min((epoch + 1) / length, 1.0) if length else 1.0 for length in lengths]
        self.warmup.copy_(self._vector(factors))  # in place: a recorded step reads it

    def __call__(
        self,
        logits: Tensor,
        teacher: Tensor | None,
        labels: Tensor,
        partners: Tensor | None,
        share: Tensor | None,
    ) -> Tensor:
        """Losses ``[K, terms]``, fp32.

        Args:
            logits: of the students, fp32 ``[K, B, C]``.
            teacher: logits of their teachers, fp32 ``[K, B, C]``; ``None`` if no student has one.
            labels: int64 ``[K, B]``.
            partners, share: labels of the images mixed in, int64, and each image's own part of the
                mixture, float32, both ``[K, B]``; ``None`` unless images are mixed.
        """
        columns = []
        for name in self.names:
            if name == "ce":
                columns.append(self.ce * self._cross_entropy(logits, labels, partners, share))
                continue
            assert teacher is not None
            if name == "kd":
                columns.append(self.kd * _divergence(logits, teacher, self.temperature))
                continue
            rows = self.rows[name]
            inputs = [
                None if value is None else value[rows]
                for value in (logits, teacher, labels, partners, share)
            ]
            values = getattr(self, f"_{name}")(*inputs)
            columns.append(torch.zeros(self.count, device=self.device).index_copy(0, rows, values))
        return torch.stack(columns, 1)

    def _cross_entropy(
        self, logits: Tensor, labels: Tensor, partners: Tensor | None, share: Tensor | None
    ) -> Tensor:
        log_p = logits.log_softmax(2)

        def against(target: Tensor) -> Tensor:
            own = -log_p.gather(2, target[..., None])[..., 0]
            loss = own + self.smoothing[:, None] * (-log_p.mean(2) - own)
            if self.class_weights is None:
                return loss
            return self.class_weights.gather(1, target) * loss

        loss = against(labels)
        if partners is not None and share is not None:
            loss = share * loss + (1 - share) * against(partners)
        return loss.mean(1)

    def _lskd(
        self,
        logits: Tensor,
        teacher: Tensor,
        labels: Tensor,
        partners: Tensor | None,
        share: Tensor | None,
    ) -> Tensor:
        options = self.options["lskd"]
        student, target = (standardise(z.flatten(0, 1)).view_as(z) for z in (logits, teacher))
        return options["weight"] * _divergence(student, target, options["temperature"])

    def _dkd(
        self,
        logits: Tensor,
        teacher: Tensor,
        labels: Tensor,
        partners: Tensor | None,
        share: Tensor | None,
    ) -> Tensor:
        options = self.options["dkd"]
        temperature = options["temperature"]
        # A weight for each image, where the function expects one for all: it only multiplies by it.
        weights: list[Any] = [
            options[name].repeat_interleave(labels.shape[1])
            for name in ("tckd_weight", "nckd_weight")
        ]
        student, target = (
            (z / temperature[:, None, None]).flatten(0, 1) for z in (logits, teacher)
        )
        loss = dkd_per_image(student, target, labels.flatten(), 1.0, *weights).view_as(labels)
        if partners is not None and share is not None:
            other = dkd_per_image(student, target, partners.flatten(), 1.0, *weights)
            loss = share * loss + (1 - share) * other.view_as(labels)
        return options["weight"] * self.warmup * temperature**2 * loss.mean(1)

    def _dist(
        self,
        logits: Tensor,
        teacher: Tensor,
        labels: Tensor,
        partners: Tensor | None,
        share: Tensor | None,
    ) -> Tensor:
        options = self.options["dist"]
        temperature = options["temperature"]
        student, target = ((z / temperature[:, None, None]).softmax(2) for z in (logits, teacher))
        inter = 1 - _correlation(student, target)
        intra = 1 - _correlation(student.transpose(1, 2), target.transpose(1, 2))
        both = options["beta"] * inter + options["gamma"] * intra
        return options["weight"] * temperature**2 * both

    def _vector(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device)


def _stacked_weights(methods: Sequence[Method], device: torch.device) -> Tensor | None:
    """float32 ``[K, C]``: each student's weights of the classes; ``None`` if none has any."""
    found = [method.class_weights for method in methods]
    if all(weights is None for weights in found):
        return None
    ones = torch.ones(methods[0].num_classes, device=device)
    return torch.stack([ones if weights is None else weights.to(device) for weights in found])


def _rows_of(
    name: str, configs: Sequence[MethodConfig], has_teacher: Sequence[bool]
) -> dict[int, MethodConfig]:
    """The rows of the students that have a method's own term, with the options of each."""
    found = {}
    for row, config in enumerate(configs):
        if has_teacher[row] and name in _parts(config):
            found[row] = _parts(config)[name]
    return found


def _divergence(student: Tensor, teacher: Tensor, temperature: Tensor) -> Tensor:
    """``T^2 * KL``, ``[K]``, of logits ``[K, B, C]`` at temperatures ``[K]``."""
    student_log_p = (student / temperature[:, None, None]).log_softmax(2)
    teacher_log_p = (teacher / temperature[:, None, None]).log_softmax(2)
    kl = F.kl_div(student_log_p, teacher_log_p, reduction="none", log_target=True)
    return temperature**2 * kl.sum(2).mean(1)


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    """Mean Pearson correlation ``[K]`` of the last dimension of two ``[K, N, M]`` tensors."""
    return pearson(first.flatten(0, 1), second.flatten(0, 1)).view(first.shape[:2]).mean(1)
