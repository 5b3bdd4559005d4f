"""What a learner is taught: in states of randomised worlds, what every level earns when a played agent goes on from it.

The values are those of an agent that must act without knowing the future, not of an oracle, and they are averaged over
several futures: the one that came and others that could have come. A link model without parameters draws these: places
of the same link or of its family whose recent past looks like the present one, scaled to the present level (a
nearest-neighbour bootstrap; Lall & Sharma, Water Resources Research 32, 1996). All levels of a state meet the same
futures and the same noise, so what differs between them is what they cause.

After a few chunks the agent's critic, which knows the future in question, says what is still to come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from netllm_gym.agents.abr.rows import RowNetwork
from netllm_gym.agents.abr.teachers import Decide
from netllm_gym.agents.abr.worlds import AHEAD, MAX_LEVELS, WORST_REWARD, Worlds, advance, look_ahead, observe, taken
from netllm_gym.compiled import njit
from netllm_gym.datasets.experience import Episode, Experience
from netllm_gym.envs.abr.kernel import bytes_by, piece_at
from netllm_gym.envs.abr.view import CONTEXT_FEATURES, ROW_FEATURES, ABRView

# Recent past by which places of a link are compared: ends of spans before now, in chunk lengths.
PAST = np.array([0.5, 1.0, 2.0, 4.0, 8.0])
CANDIDATES = 40
LEVEL_WEIGHT = 0.3
# Values are kept in halves of the ladder's range: the language model cuts losses at 8, so four ranges deep. Deeper cuts
# would make little of rare outages.
UNIT = 2.0
VALUE_SCALE = 10.0
# Ranges of the ladder for a unit of the teacher's scores, where it is copied.
COPIED = 0.2


class Teacher(NamedTuple):
    """Who is followed: how it decides, and a critic (see :mod:`netllm_gym.agents.abr.ppo`) of what is still to come.

    `network` scores the levels of any ladder; only who is to be copied needs one.
    """

    decide: Decide
    critic: RowNetwork
    gamma: float
    network: RowNetwork | None = None


@njit(cache=True, error_model="numpy")
def _past(stage: Any, link: Any, offset: Any, chunk_s: Any, since: Any, out: Any) -> None:
    """Write the log mean rate (bytes/s) of the link over each span of :data:`PAST` before `offset`.

    What lies more than `since` seconds back was not there; with nothing before, all are 0.
    """
    a, b = stage.first[link], stage.first[link + 1]
    end, carried, rate = stage.end[a:b], stage.carried[a:b], stage.rate[a:b]
    total, whole = end[-1], carried[-1]
    later, until = bytes_by(end, carried, rate, offset), 0.0
    for s in range(len(PAST)):
        back = min(PAST[s] * chunk_s, since)
        if back <= until:
            out[s] = out[s - 1] if s else 0.0
            continue
        at = offset - back
        cycles = np.floor(at / total)
        before = bytes_by(end, carried, rate, at - cycles * total) + cycles * whole
        out[s] = np.log(max(later - before, 1.0) / (back - until))
        later, until = before, back


@njit(cache=True, error_model="numpy")
def _likeliest(
    stage: Any, link: Any, offset: Any, chunk_s: Any, since: Any, links: Any, places: Any, count: Any, found: Any
) -> None:
    """Write into `found` ``[count, 3]`` the candidates most like the present: link, offset, factor on their rates."""
    here, there = np.empty(len(PAST)), np.empty(len(PAST))
    _past(stage, link, offset, chunk_s, since, here)
    level = here.mean()
    distances, levels = np.empty(len(links)), np.empty(len(links))
    for c in range(len(links)):
        _past(stage, links[c], places[c], chunk_s, since, there)
        levels[c] = there.mean()
        shift = level - levels[c]
        distances[c] = LEVEL_WEIGHT * shift * shift
        for s in range(len(PAST)):
            distances[c] += (here[s] - there[s] - shift) ** 2
    order = np.argsort(distances)
    for k in range(count):
        c = order[k]
        found[k, 0], found[k, 1], found[k, 2] = links[c], places[c], np.exp(level - levels[c])


@njit(cache=True)
def _move(stage: Any, lives: Any, which: Any, found: Any) -> None:
    """Put the lives `which` at other places, with their rates scaled (that is, everything else scaled down)."""
    for k in range(len(which)):
        i = which[k]
        link = np.int64(found[k, 0])
        lives.link[i], lives.offset[i] = link, found[k, 1]
        lives.piece[i] = piece_at(stage.end, found[k, 1], stage.first[link], stage.first[link + 1])
        lives.scale[i] /= found[k, 2]
        lives.throughputs[i] /= found[k, 2]


def _futures(worlds: Worlds, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw `count` other places for each episode, ``[n, count, 3]``: link, offset, factor on its rates.

    Of an episode that began with its recording, the same moment of other recordings of the family: their course is
    theirs to share.
    """
    found, lives = np.empty((worlds.n, count, 3)), worlds.lives
    for i in range(worlds.n):
        link, offset = int(lives.link[i]), lives.offset[i]
        family, aligned = worlds.family_of(link), bool(lives.aligned[i])
        links = np.full(CANDIDATES, link)
        own = 0 if aligned else CANDIDATES // 2
        if len(family) > 1:
            links[own:] = rng.choice(family, CANDIDATES - own)
        total_s = worlds.total_s[links]
        places = np.mod(offset, total_s) if aligned else rng.random(CANDIDATES) * total_s
        since = offset if aligned else np.inf
        _likeliest(worlds.stage, link, offset, lives.facts[i, 0], since, links, places, count, found[i])
    return found


def level_values(
    worlds: Worlds, teacher: Teacher, futures: int, horizon: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return what each level earns from here, in ranges of the ladder, ``[n, MAX_LEVELS]``; NaN where there is none.

    Args:
        worlds: episodes in progress; they are not advanced.
        teacher: who goes on after the level.
        futures: how many, the true one among them.
        horizon: chunks played before the critic is asked.
        rng: draws futures and noise.
    """
    stage, n = worlds.stage, worlds.n
    episode, level = (index.astype(np.int64) for index in np.nonzero(worlds.mask))
    start = taken(worlds.lives, np.tile(episode, futures))
    future = np.repeat(np.arange(futures), len(episode))
    if futures > 1:
        others = _futures(worlds, futures - 1, rng)
        moved = np.flatnonzero(future > 0)
        _move(stage, start, moved, others[np.tile(episode, futures)[moved], future[moved] - 1])
    choices = np.tile(level, futures)
    owner = np.tile(episode, futures) * futures + future
    totals, alive = np.zeros(len(choices)), np.arange(len(choices))
    lives, weight = start, 1.0
    for step in range(horizon + 1):
        if step:
            rows = np.empty((len(alive), MAX_LEVELS, ROW_FEATURES), np.float32)
            context = np.empty((len(alive), CONTEXT_FEATURES), np.float32)
            observe(stage, lives, rows, context)
            mask = np.arange(MAX_LEVELS) < stage.levels[lives.video][:, None]
            if step == horizon:
                ahead = np.empty((len(alive), len(AHEAD)), np.float32)
                look_ahead(stage, lives, ahead)
                wide = np.concatenate([context, ahead], axis=1)
                totals[alive] += weight * VALUE_SCALE * teacher.critic.scores(rows, wide, mask)
                break
            choices = teacher.decide(stage, lives, rows, context, mask)
        luck = rng.random(n * futures)[owner[alive]]
        reward, over = np.empty(len(alive)), np.empty(len(alive), np.bool_)
        advance(stage, lives, choices, luck, reward, over)
        totals[alive] += weight * np.maximum(reward, WORST_REWARD)
        weight *= teacher.gamma
        alive, lives = alive[~over], taken(lives, ~over)
        if not len(alive):
            break
    values = np.full((n, MAX_LEVELS), np.nan)
    values[episode, level] = totals.reshape(futures, len(episode)).mean(0)
    return values


def lessons(
    worlds: Worlds,
    teacher: Teacher,
    steps: int,
    seed: int,
    epsilon: float = 0.1,
    futures: int = 4,
    horizon: int = 6,
    say: Callable[[str], None] | None = None,
    by_plans: float = 0.25,
) -> Experience:
    """Play `steps` chunks in every world and value every level in every state.

    Some of the episodes are played by the plans alone (a fresh network) instead of the teacher, so that states are seen
    that the teacher would avoid; all take a random level now and then.

    Args:
        worlds: where; advanced.
        teacher: who is followed.
        steps: chunks of each episode.
        seed: of everything drawn here.
        epsilon: chance of a random level.
        futures, horizon: see :func:`level_values`. With no futures nothing is valued: the levels have the scores of the
            teacher's network, so that who learns from them copies it.
        say: told of progress.
        by_plans: share of the episodes that the plans play.

    Returns:
        Experience shown through :class:`~netllm_gym.envs.abr.view.ABRView`, values in Mbit/s-like units.
    """
    rng = np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=(0x1E55,)))
    view, n = ABRView(MAX_LEVELS), worlds.n
    planned = rng.random(n) < by_plans
    kept: list[dict[str, NDArray[Any]]] = []
    for step in range(steps):
        rows, context = worlds.see()
        mask = worlds.mask
        if futures:
            values = level_values(worlds, teacher, futures, horizon, rng)
        else:
            values = _copied(teacher, rows, context, mask)
        choice = teacher.decide(worlds.stage, worlds.lives, rows, context, mask)
        plans = np.where(mask, rows[:, :, 10], -np.inf).argmax(1)
        choice = np.where(planned, plans, choice)
        drawn = np.where(mask, rng.random(mask.shape), -1.0).argmax(1)
        choice = np.where(rng.random(n) < epsilon, drawn, choice)
        state = {"rows": rows.copy(), "context": context.copy(), "mask": mask, "values": values, "choice": choice}
        state["link"] = worlds.lives.link.copy()
        state["reward"], state["over"] = worlds.step(choice)
        kept.append(state)
        if say and (step + 1) % 8 == 0:
            say(f"{step + 1}/{steps} chunks")
    stacked = {key: np.stack([state[key] for state in kept]) for key in kept[0]}
    episodes = []
    for i in range(n):
        ends = [*(np.flatnonzero(stacked["over"][:, i]) + 1).tolist(), steps]
        for begin, end in zip([0, *ends[:-1]], ends, strict=True):
            if end - begin >= 4:
                link = worlds.links[int(stacked["link"][begin, i])].name
                episodes.append(_episode(stacked, i, begin, end, view, link))
    description = {"split": "train", "ranges": worlds.ranges.to_json()}
    spaces = view.observation_space, view.action_space
    return Experience(
        episodes, "netllm_gym/ABR-v0", description, *spaces, view.modalities, view.scales, name=f"lessons-{seed}"
    )


def _copied(
    teacher: Teacher, rows: NDArray[Any], context: NDArray[Any], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    assert teacher.network is not None
    scores = np.where(mask, teacher.network.scores(rows, context, mask), -np.inf)
    return np.where(mask, COPIED * (scores - scores.max(1, keepdims=True)), np.nan)


def _episode(stacked: dict[str, NDArray[Any]], i: int, begin: int, end: int, view: ABRView, link: str) -> Episode:
    part = slice(begin, end)
    seen = [
        view.pack(rows, context, int(mask.sum()))
        for rows, context, mask in zip(*(stacked[key][part, i] for key in ("rows", "context", "mask")), strict=True)
    ]
    return Episode(
        {key: np.stack([one[key] for one in seen]) for key in seen[0]},
        stacked["choice"][part, i],
        stacked["reward"][part, i] * UNIT,
        stacked["values"][part, i] * UNIT,
        link,
        stacked["mask"][part, i],
    )
