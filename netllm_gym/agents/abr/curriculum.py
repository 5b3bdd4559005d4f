"""Genet's curriculum (Xia et al., SIGCOMM 2022): train next where a rule still beats the policy.

Half of the episodes play the traces given, the other half links drawn from families. Those are first drawn uniformly
from a space of families (*domain randomisation*, and all that ``uniform`` does). Then, nine times in a run, ``genet``
searches the space for the family with the largest *gap to baseline*: QoE of RobustMPC minus QoE of the policy as it is.
That family is promoted: it takes 30 % of the drawn half, what was there before shares the rest, as in Genet's code.

What differs from Genet:

- a family is a :class:`netllm_gym.traces.network.synthetic.RegimeModel` (mean, variation, how long levels last),
  not a range of bandwidths; latency and buffer cap stay the environment's. The space reaches beyond the top of
  Pensieve's ladder;
- Genet searches by Bayesian optimisation (15 points of 10 traces) because its rollouts are slow. Here 48 families are
  played in lock-step in a second, and the best six again on fresh links, so that no lucky draw is promoted;
- the traces given keep their half throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.abr.playground import Playground, measured, robust_mpc
from netllm_gym.traces import NetworkTrace, VideoManifest
from netllm_gym.traces.network.synthetic import RegimeModel

PROMOTIONS = 9
WEIGHT = 0.3
RECORDED_SHARE = 0.5
CANDIDATES, LINKS = 48, 8
FINALISTS, MORE_LINKS = 6, 32
TRAINING_LINKS = 64
UNIFORM_FAMILIES = 256
LENGTH_S = 320
# Lowest and highest value of each parameter, and whether it is drawn in the logarithm.
SPACE = {
    "mean_mbps": (0.35, 8.0, True),
    "cv": (0.1, 1.5, True),
    "weight": (0.3, 0.95, False),
    "dwell_steps": (3.0, 60.0, True),
    "rho": (0.0, 0.98, False),
}
_STREAM = 0x6E7


@dataclass(frozen=True)
class Promotion:
    """A family that joined the training distribution.

    Attributes:
        iteration: of the run in which it was found.
        model: its parameters.
        gap: QoE per chunk by which RobustMPC was ahead of the policy on it.
    """

    iteration: int
    model: RegimeModel
    gap: float


class Curriculum:
    """Draws synthetic links to train on: from the whole space, and from the families promoted.

    Args:
        video: the video of the search.
        iterations: length of the run; it is cut by :data:`PROMOTIONS` searches into parts of equal length.
        seed: of all draws.
        search: promote families; ``False`` is plain domain randomisation.
    """

    def __init__(self, video: VideoManifest, iterations: int, seed: int, search: bool = True) -> None:
        self.video, self.seed, self.search = video, seed, search
        self.every = max(iterations // (PROMOTIONS + 1), 1)
        self.promoted: list[Promotion] = []

    def due(self, iteration: int) -> bool:
        """Whether a family is to be promoted before `iteration` (the first is 0)."""
        return self.search and iteration > 0 and iteration % self.every == 0 and len(self.promoted) < PROMOTIONS

    def promote(self, iteration: int, policy: Callable[[Playground], NDArray[np.int64]]) -> Promotion:
        """Search the family on which `policy` is furthest behind RobustMPC, and add it."""
        rng = np.random.default_rng(np.random.SeedSequence(entropy=self.seed, spawn_key=(_STREAM, iteration)))
        models = [_drawn(rng) for _ in range(CANDIDATES)]
        first = self._gaps(models, LINKS, policy, (iteration, 1))
        finalists = [models[i] for i in np.argsort(-first, kind="stable")[:FINALISTS]]
        gaps = self._gaps(finalists, MORE_LINKS, policy, (iteration, 2))
        best = int(np.argmax(gaps))
        self.promoted.append(Promotion(iteration, finalists[best], float(gaps[best])))
        return self.promoted[-1]

    def _gaps(
        self,
        models: list[RegimeModel],
        count: int,
        policy: Callable[[Playground], NDArray[np.int64]],
        key: tuple[int, ...],
    ) -> NDArray[np.float64]:
        """Mean gap of each family over `count` links, ``[len(models)]``."""
        links = [link for i, model in enumerate(models) for link in self._links(model, count, (*key, i))]
        ground = Playground(links, [self.video])
        gaps = measured(ground, robust_mpc(ground)) - measured(ground, policy)
        return gaps.reshape(len(models), count).mean(axis=1)

    def _links(self, model: RegimeModel, count: int, key: tuple[int, ...]) -> list[NetworkTrace]:
        links = []
        for i in range(count):
            stream = np.random.SeedSequence(entropy=self.seed, spawn_key=(_STREAM, *key, i))
            links.append(NetworkTrace(str(i), np.ones(LENGTH_S), model.draw(np.random.default_rng(stream), LENGTH_S)))
        return links

    def links(self) -> list[NetworkTrace]:
        """Links to train on: one each of :data:`UNIFORM_FAMILIES` families, then :data:`TRAINING_LINKS` a promotion."""
        rng = np.random.default_rng(np.random.SeedSequence(entropy=self.seed, spawn_key=(_STREAM, 0)))
        links = [self._links(_drawn(rng), 1, (0, 3, i))[0] for i in range(UNIFORM_FAMILIES)]
        for promotion in self.promoted:
            links += self._links(promotion.model, TRAINING_LINKS, (promotion.iteration, 3))
        return links

    def chances(self, recorded: int) -> NDArray[np.float64]:
        """Probability of each link in an episode: `recorded` ones first, then those of :meth:`links`."""
        n, half = len(self.promoted), 1.0 - RECORDED_SHARE
        latest_last = WEIGHT * (1.0 - WEIGHT) ** np.arange(n - 1, -1, -1)
        return np.concatenate(
            [
                np.full(recorded, RECORDED_SHARE / recorded),
                np.full(UNIFORM_FAMILIES, half * (1.0 - WEIGHT) ** n / UNIFORM_FAMILIES),
                np.repeat(half * latest_last / TRAINING_LINKS, TRAINING_LINKS),
            ]
        )

    def state(self) -> list[dict[str, Any]]:
        """What a run needs to go on, as JSON."""
        return [asdict(promotion) for promotion in self.promoted]

    def resume(self, state: list[dict[str, Any]]) -> None:
        """Take up :meth:`state`."""
        self.promoted = [Promotion(found["iteration"], RegimeModel(**found["model"]), found["gap"]) for found in state]


def _drawn(rng: np.random.Generator) -> RegimeModel:
    values = {
        name: float(np.exp(rng.uniform(np.log(low), np.log(high))) if logarithmic else rng.uniform(low, high))
        for name, (low, high, logarithmic) in SPACE.items()
    }
    return RegimeModel(spread=0.0, cv_spread=0.2, floor_mbps=0.2, **values)
