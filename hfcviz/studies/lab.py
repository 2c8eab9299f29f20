"""A laboratory: a network, labelled images, and what studies make of them, each piece made once and kept in the store.

Everything is kept under all that it depends on, so that studies share features, attacks and scores, and an interrupted
study goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hfcviz.activations import Activations, concatenate, extract
from hfcviz.attacks import Attack, Penalty, run, runner_up
from hfcviz.cells import features_of
from hfcviz.detection import Fitted, Training, fit_detectors, unavailable
from hfcviz.detectors import DETECTORS
from hfcviz.folders import patients_of
from hfcviz.gradients import COMBINE
from hfcviz.penalties import HFC, FittedHFC
from hfcviz.protocol import LEAST
from hfcviz.reference import noisy, passes_of, scan_seeds, shares, training_part
from hfcviz.settings import InputError, Progress, silent
from hfcviz.store import Arrays, digest
from hfcviz.studies.pieces import Chosen, PenaltySettings, Pieces, Version


@dataclass(frozen=True, eq=False)
class Lab(Pieces):
    """What a study works with. Pieces are made when they are first asked for."""

    # -- clean images -------------------------------------------------------------------------------------------------

    def features(self, part: str, progress: Progress = silent) -> Activations:
        """Of all clean images of a part; of "val" and "test" with dropout passes where the network has dropout."""
        passes, seed = 0 if part == "train" else passes_of(self.classifier), self.budget.seed

        def make() -> Arrays:
            return features_of(self.classifier, self.dataset.splits[part], passes, seed, progress).to_arrays("seen")

        return Activations.from_arrays(self.kept("clean features", [part, passes, seed], make), "seen")

    @property
    def labels(self) -> np.ndarray:
        """(M,) true classes of the training images."""
        return self.dataset.splits["train"].y

    def chosen(self, progress: Progress = silent) -> Chosen:
        """The attacked scans. InputError where fewer than needed are classified correctly."""
        found: Chosen = self.once("chosen", self._who, lambda: self._choose(progress))
        return found

    @property
    def _who(self) -> list[int]:
        return [self.budget.scans, self.budget.seed]

    def _choose(self, progress: Progress) -> Chosen:
        test, seen = self.dataset.splits["test"], self.features("test", progress)
        right = np.flatnonzero(seen.predicted == test.y)
        if len(right) < LEAST:
            raise InputError(
                f"A study needs at least {LEAST} correctly classified test scans; {self.classifier.name} gets {len(right)} of "
                f"{len(test)} right: check model and data set."
            )
        seed = self.budget.seed
        rows = np.sort(np.random.default_rng(seed).permutation(right)[: self.budget.scans])
        clean = seen.take(rows)
        trains = training_part(np.array(patients_of(test.ids))[rows], seed)
        x = torch.from_numpy(test.images(rows))
        return Chosen(rows, x, test.y[rows], runner_up(clean.logits), scan_seeds(seed, len(rows)), trains, clean)

    # -- attacked images ----------------------------------------------------------------------------------------------

    def noise(self, eps: float, progress: Progress = silent) -> Version:
        """The scans under uniform noise of this L-inf size."""
        chosen = self.chosen()
        return self._version(
            "noise", [eps], lambda: noisy(chosen.x, eps, chosen.seeds), self._passes, progress, images=None
        )

    def version(
        self,
        attack: Attack,
        penalty: PenaltySettings | None = None,
        combine: str = "sum",
        progress: Progress = silent,
    ) -> Version:
        """The scans under an attack. combine: a name in COMBINE. Images that were kept by `images` are not made again."""
        parts = self._attack_parts(attack, penalty, combine)

        def make() -> Tensor:
            return self._attacked(attack, penalty, combine, progress)

        return self._version("attack", parts, make, self._passes, progress, images=["images", parts])

    def images(
        self,
        attack: Attack,
        penalty: PenaltySettings | None = None,
        combine: str = "sum",
        progress: Progress = silent,
    ) -> Tensor:
        """The attacked scans themselves, (N, C, *spatial) in [0, 1]; large, so ask only where features do not suffice."""
        parts = self._attack_parts(attack, penalty, combine)
        arrays = self.kept("images", parts, lambda: {"x": self._attacked(attack, penalty, combine, progress).numpy()})
        return torch.from_numpy(arrays["x"])

    @property
    def _passes(self) -> int:
        return passes_of(self.classifier)

    def _attack_parts(self, attack: Attack, penalty: PenaltySettings | None, combine: str) -> list[Any]:
        carried = None if penalty is None else [type(penalty).__name__, penalty.as_dict()]
        return [self._who, attack.as_dict(), carried, combine]

    def _attacked(self, attack: Attack, penalty: PenaltySettings | None, combine: str, progress: Progress) -> Tensor:
        chosen = self.chosen()
        carried = None if penalty is None else self.fitted(penalty)
        aim, seeds = torch.from_numpy(chosen.targets), chosen.seeds
        return run(
            attack,
            self.classifier,
            chosen.x,
            aim,
            penalty=carried,
            combine=COMBINE[combine],
            seeds=seeds,
            progress=progress,
        )

    def _version(
        self, what: str, parts: Any, make: Callable[[], Tensor], passes: int, progress: Progress, images: Any
    ) -> Version:
        def work() -> Arrays:
            x = make() if images is None else self._kept_images(images, make)
            seen = extract(self.classifier, x, dropout_passes=passes, seed=self.budget.seed)
            linf = (x - self.chosen().x).flatten(1).abs().amax(1).numpy()
            return seen.to_arrays("seen") | {"linf": linf}

        arrays = self.kept(what, [self._who, parts], work)
        return Version(Activations.from_arrays(arrays, "seen"), arrays["linf"])

    def _kept_images(self, parts: Any, make: Callable[[], Tensor]) -> Tensor:
        """Those that `images` has kept, in memory or in the store; else new ones, which are not kept."""
        key = digest(self.base, *parts)
        if key in self._known:
            return torch.from_numpy(self._known[key]["x"])
        found = self.store.get(key)
        return make() if found is None else torch.from_numpy(found[0]["x"])

    def fitted(self, penalty: PenaltySettings, progress: Progress = silent) -> Penalty:
        """A penalty fitted on the clean training images. Mixtures of HFC are fitted once for all weights and layers."""
        seed = self.budget.seed

        def fit(settings: PenaltySettings) -> Penalty:
            parts = [type(settings).__name__, settings.as_dict(), seed]

            def make() -> Penalty:
                return settings.fit(self.features("train"), self.labels, seed=seed, progress=progress)

            found: Penalty = self.once("penalty", parts, make)
            return found

        if not isinstance(penalty, HFC):
            return fit(penalty)
        whole = fit(penalty.replace(weight=1.0, layers=(), widest=None))
        assert isinstance(whole, FittedHFC)
        names = penalty.choose({name: z.shape[1] for name, z in self.features("train").layers.items()})
        return FittedHFC(penalty, {name: whole.mixtures[name] for name in names})

    # -- detectors ----------------------------------------------------------------------------------------------------

    def detector_names(self) -> tuple[str, ...]:
        """Those that this network can have: without dropout there is no BU."""
        ruled_out = unavailable(self.features("val"))
        return tuple(name for name in DETECTORS if name not in ruled_out)

    def detectors(self, attack: Attack, progress: Progress = silent) -> dict[str, Fitted]:
        """All detectors, trained on clean scans, noise and this attack without a penalty, as in the protocol."""
        found: dict[str, Fitted] = self.once(
            "detectors", self._attack_parts(attack, None, "sum"), lambda: self._train(attack, progress)
        )
        return found

    def _train(self, attack: Attack, progress: Progress) -> dict[str, Fitted]:
        chosen, share = self.chosen(), shares(progress, {"attack": 0.5, "detectors": 0.5})
        trains = np.flatnonzero(chosen.trains)
        plain = self.version(attack, progress=share("attack"))
        negatives = concatenate([chosen.clean.take(trains), self.noise(attack.eps).seen.take(trains)])
        training = Training(
            self.features("train"), self.labels, negatives, plain.seen.take(trains), self.features("val")
        )
        return fit_detectors(training, self.detector_names(), seed=self.budget.seed, progress=share("detectors"))

    def scores(
        self,
        trained_on: Attack,
        attack: Attack,
        penalty: PenaltySettings | None = None,
        combine: str = "sum",
        progress: Progress = silent,
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """What the detectors trained on `trained_on` say of the scans that judge: {detector: (negatives, attacked)}.

        Negatives are the clean and the noisy ones, (2 n,), noise of the size of `trained_on`; attacked (n,). Higher is
        more suspicious.
        """
        parts = [self._attack_parts(trained_on, None, "sum"), self._attack_parts(attack, penalty, combine)]
        share = shares(progress, {"attack": 0.7, "detectors": 0.3})

        def make() -> Arrays:
            judges = np.flatnonzero(~self.chosen().trains)
            attacked = self.version(attack, penalty, combine, share("attack")).seen.take(judges)
            clean, noise = self.chosen().clean.take(judges), self.noise(trained_on.eps).seen.take(judges)
            found = {}
            for name, one in self.detectors(trained_on, share("detectors")).items():
                found[f"{name}/negatives"] = np.concatenate([one.score(clean), one.score(noise)])
                found[f"{name}/attacked"] = one.score(attacked)
            return found

        arrays = self.kept("scores", parts, make)
        return {name: (arrays[f"{name}/negatives"], arrays[f"{name}/attacked"]) for name in self.detector_names()}

    def success(self, version: Version, rows: np.ndarray | None = None) -> np.ndarray:
        """(N,) or (len(rows),) bool: the network sees the target. Over all scans, those that train detectors included."""
        hits = version.seen.predicted == self.chosen().targets
        return hits if rows is None else hits[rows]
