"""From the backbone's last hidden state to an action: one forward pass, and the answer is always valid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from netllm_gym.agents.llm.graph import NODE_WIDTH, Nodes, used_rows
from netllm_gym.agents.llm.parts import HEADS
from netllm_gym.errors import ConfigError

MOST_OUTPUTS = 2**20  # actions of one head: each is a row of weights


def to_host(values: Tensor) -> np.ndarray:
    """Bring values from their device, float32."""
    return values.float().cpu().numpy()


def _split(values: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Cut the last axis into pieces of these sizes."""
    ends = list(accumulate(sizes))
    return [values[..., end - size : end] for size, end in zip(sizes, ends, strict=True)]


class Pointer(nn.Module):
    """Scores each node of a graph, then the other factors of the action given the node that was chosen.

    With `none`, one more choice follows the nodes: none of them (a scheduler that waits). Node and state meet in one
    layer as wide as a node's embedding; with `pointer_hidden`, in two layers of that width.
    """

    def __init__(self, width: int, others: int, none: bool, pointer_hidden: int = 0) -> None:
        super().__init__()
        self.none = nn.Parameter(torch.zeros(NODE_WIDTH)) if none else None
        inner = pointer_hidden or NODE_WIDTH
        self.query = nn.Linear(width, inner)
        self.score = nn.Linear(inner, 1)
        self.first, self.second = (nn.Linear(n, inner) if pointer_hidden else None for n in (NODE_WIDTH, inner))
        self.others = others
        if others:
            self.state = nn.Linear(width, NODE_WIDTH)
            self.node = nn.Linear(NODE_WIDTH, NODE_WIDTH)
            self.other = nn.Linear(NODE_WIDTH, others)

    def candidates(self, nodes: Nodes) -> Nodes:
        """The nodes, and after them the choice of none."""
        if self.none is None:
            return nodes
        lead = nodes.mask.shape[:-1]
        none = self.none.expand(*lead, 1, NODE_WIDTH)
        mask = torch.ones(*lead, 1, dtype=torch.bool, device=nodes.mask.device)
        plain = None if nodes.plain is None else nn.functional.pad(nodes.plain, (0, 1))
        return Nodes(torch.cat([nodes.embedding, none], dim=-2), torch.cat([nodes.mask, mask], dim=-1), plain)

    def scores(self, hidden: Tensor, nodes: Nodes) -> Tensor:
        """One score per candidate, ``[…, N]``."""
        node = nodes.embedding if self.first is None else self.first(nodes.embedding)
        mixed = nn.functional.gelu(node + self.query(hidden)[..., None, :])
        if self.second is not None:
            mixed = mixed + nn.functional.gelu(self.second(mixed))
        found = self.score(mixed)[..., 0]
        return found if nodes.plain is None else found + nodes.plain

    def rest(self, hidden: Tensor, nodes: Nodes, chosen: Tensor) -> Tensor:
        """Scores of the other factors after node `chosen` (long ``[…]``), ``[…, others]``."""
        place = chosen[..., None, None].expand(*chosen.shape, 1, NODE_WIDTH)
        node = nodes.embedding.gather(-2, place)[..., 0, :]
        return self.other(nn.functional.gelu(self.state(hidden) + self.node(node)))


def make_head(space: gym.Space, width: int, nodes: int = 0, pointer_hidden: int = 0) -> Head:
    """Return the head for an action space: one that was registered for its kind, or :class:`Head`.

    Raises:
        ConfigError: an action space without a head.
    """
    kind = type(space).__name__
    return HEADS[kind](space, width, nodes) if kind in HEADS else Head(space, width, nodes, pointer_hidden)


class Head(nn.Module):
    """A linear layer, or a pointer, read according to the action space.

    Discrete and MultiDiscrete give one score per choice (for the objective `regret`, the predicted gap to the best
    action); Box gives standardised values, mapped back and clipped to the bounds. Where the observation holds a graph
    and the first factor has as many choices as the graph has nodes (or one more: none), that factor points at a node.

    Args:
        space: of the actions.
        width: of the hidden state.
        nodes: of the observation's graph; 0 without one.
        pointer_hidden: of :class:`Pointer`.

    Raises:
        ConfigError: an action space without a head.

    Attributes:
        scores: of the first factor's choices at the last decision, ``[B, choices]``.
    """

    mean: Tensor
    std: Tensor
    scores: np.ndarray

    def __init__(self, space: gym.Space, width: int, nodes: int = 0, pointer_hidden: int = 0) -> None:
        super().__init__()
        self.space = space
        self.sizes: list[int] = []
        size = 0
        if isinstance(space, gym.spaces.Discrete):
            self.sizes, self.starts = [int(space.n)], np.array([int(space.start)])
        elif isinstance(space, gym.spaces.MultiDiscrete):
            self.sizes, self.starts = [int(n) for n in space.nvec.ravel()], np.asarray(space.start).ravel()
        elif isinstance(space, gym.spaces.MultiBinary):
            count = int(np.prod(space.shape))
            self.sizes, self.starts = [2] * count, np.zeros(count, np.int64)
        elif isinstance(space, gym.spaces.Box):
            size = int(np.prod(space.shape))
            self.register_buffer("mean", torch.zeros(size))
            self.register_buffer("std", torch.ones(size))
        else:
            raise ConfigError(f"action space {type(space).__name__} has no head; Discrete, Multi* and Box have one")
        self.outputs = sum(self.sizes) or size
        if self.outputs > MOST_OUTPUTS:
            raise ConfigError(f"action space {space} has {self.outputs:,} actions; a head takes {MOST_OUTPUTS:,}")
        self.points = bool(nodes) and self.sizes[:1] in ([nodes], [nodes + 1])
        if self.points:
            self.pointer = Pointer(width, sum(self.sizes[1:]), self.sizes[0] > nodes, pointer_hidden)
        else:
            self.linear = nn.Linear(width, self.outputs)

    def choices(self, actions: Tensor) -> Tensor:
        """Actions ``[B, T, …]`` as indices from 0, long ``[B, T, factors]``."""
        flat = actions.reshape(*actions.shape[:2], -1).long()
        return flat - torch.from_numpy(self.starts).to(flat.device)

    def forward(self, hidden: Tensor, nodes: Nodes | None = None, actions: Tensor | None = None) -> Tensor:
        """Scores or standardised values of ``[B, T, width]``: ``[B, T, outputs]``.

        A pointer's other factors are scored after the node that `actions` ``[B, T, …]`` chose.
        """
        if not self.points:
            return self.linear(hidden)
        assert nodes is not None
        nodes = self.pointer.candidates(nodes)
        scores = self.pointer.scores(hidden, nodes)
        if not self.pointer.others:
            return scores
        assert actions is not None
        return torch.cat([scores, self.pointer.rest(hidden, nodes, self.choices(actions)[..., 0])], dim=-1)

    def pairs(
        self, hidden: Tensor, nodes: Nodes, candidates: Tensor, legal: Tensor, counts: Tensor | None = None
    ) -> Tensor:
        """Log probabilities of whole decisions of a pointer with at most one other factor, ``[B, K]``.

        Args:
            hidden: ``[B, width]``.
            nodes: ``[B, N, …]``.
            candidates: node and other choice of each decision compared, long ``[B, K, factors]``. The choice of none of
                the nodes has no other factor.
            legal: which nodes (and none) may be chosen, bool ``[B, N]`` or with none ``[B, N + 1]``.
            counts: which other choices are there, bool ``[B, others]``.
        """
        pointed = self.pointer.candidates(nodes)
        scores = self.pointer.scores(hidden, pointed).masked_fill(~(pointed.mask & legal), -1e4)
        rows = candidates[..., 0]
        found = torch.log_softmax(scores, dim=-1).gather(-1, rows)
        if not self.pointer.others:
            return found
        spread = Nodes(pointed.embedding[:, None].expand(-1, rows.shape[1], -1, -1), pointed.mask)
        rest = self.pointer.rest(hidden[:, None], spread, rows)
        if counts is not None:
            rest = rest.masked_fill(~counts[:, None], -1e4)
        amount = torch.log_softmax(rest, dim=-1).gather(-1, candidates[..., 1:2])[..., 0]
        return found + amount * (rows < nodes.mask.shape[-1])

    def describe(self, actions: Tensor) -> Tensor:
        """Actions ``[B, T, …]`` as float ``[B, T, outputs]``: one-hot choices, or standardised values."""
        if not self.sizes:
            flat = actions.reshape(*actions.shape[:2], -1)
            return (flat.float() - self.mean) / self.std
        chosen = self.choices(actions)
        parts = [nn.functional.one_hot(chosen[..., i], n) for i, n in enumerate(self.sizes)]
        return torch.cat(parts, dim=-1).float()

    def _legal(self, mask: Any) -> list[np.ndarray | None]:
        """Split an action mask into one per factor.

        Raises:
            ConfigError: it has another size than the action space, or forbids every choice of a factor.
        """
        if mask is None:
            return [None] * len(self.sizes)
        if isinstance(mask, tuple | list) and len(mask) == len(self.sizes) > 1:
            parts = [np.asarray(part, bool) for part in mask]
        else:
            flat = np.asarray(mask, bool).ravel()
            parts = _split(flat, self.sizes) if flat.size == sum(self.sizes) else [flat]
        for i, size in enumerate(self.sizes):
            tables = ((size,), (self.sizes[0], size)) if self.points and i else ((size,),)
            if len(parts) != len(self.sizes) or parts[i].shape not in tables:
                found = " + ".join(str(part.size) for part in parts)
                raise ConfigError(f"action mask has {found} entries, the choices are {self.sizes}")
            if not parts[i].any():
                raise ConfigError(f"action mask forbids every choice of factor {i}")
        return list(parts)

    def decide(
        self,
        hidden: Tensor,
        nodes: Nodes | None = None,
        masks: Sequence[Any] | None = None,
        temperature: float = 0.0,
        rngs: Sequence[np.random.Generator | None] | None = None,
    ) -> list[Any]:
        """Return a member of the action space for each row; what is computed leaves the device in one piece.

        Args:
            hidden: ``[B, width]``.
            nodes: of these steps, ``[B, N, …]``, for a pointer (whose other factors take a second transfer: they
                depend on the node that was chosen).
            masks: which choices are legal in each row, or ``None``: all factors concatenated, or one array per factor;
                a factor after a pointer may have a row per node.
            temperature: 0 takes the best choice; above, choices are drawn from softmax(score / temperature).
            rngs: draw them, one per row.

        Raises:
            ConfigError: a mask of the wrong size.
        """
        space: Any = self.space
        if not self.sizes:
            values = to_host(self.linear(hidden).float() * self.std + self.mean)
            actions = np.clip(values.reshape(-1, *space.shape), space.low, space.high)
            rounded = np.rint(actions) if np.issubdtype(space.dtype, np.integer) else actions
            return list(rounded.astype(space.dtype))
        count = len(hidden)
        legal = [self._legal(mask) for mask in (masks or [None] * count)]
        draws = list(rngs or [None] * count)
        chosen: list[Any] = []

        def choose(scores: np.ndarray, row: int, allowed: np.ndarray | None) -> Any:
            found = scores.astype(np.float64)
            rng = draws[row]
            if temperature > 0 and rng is not None:
                found = found / temperature + rng.gumbel(size=found.shape)  # the Gumbel-max trick: a softmax draw
            return (found if allowed is None else np.where(allowed, found, -np.inf)).argmax(-1)

        if self.points:
            assert nodes is not None
            used = used_rows(nodes.mask)  # the others are padding
            nodes = self.pointer.candidates(nodes.each(lambda part: part[:, :used]))
            found = to_host(self.pointer.scores(hidden, nodes).masked_fill(~nodes.mask, -torch.inf))
            self.scores = scores = np.full((count, self.sizes[0]), -np.inf, np.float32)
            scores[:, :used], scores[:, self.sizes[0] - found.shape[1] + used :] = found[:, :used], found[:, used:]
            first = []
            for row in range(count):
                allowed = np.isfinite(scores[row])
                mask = legal[row][0]
                if mask is not None and (mask & allowed).any():
                    allowed = mask & allowed
                first.append(int(choose(scores[row], row, allowed)))
            chosen = [[place] for place in first]
            if self.pointer.others:
                # The choice of none of the nodes follows those that are used.
                chosen_rows = torch.tensor(first, device=hidden.device).clamp_max(nodes.mask.shape[1] - 1)
                rest = to_host(self.pointer.rest(hidden, nodes, chosen_rows))
                parts = _split(rest, self.sizes[1:])
                for row, place in enumerate(first):
                    masks_ = [m[place] if m is not None and m.ndim == 2 else m for m in legal[row][1:]]
                    chosen[row] += [choose(p[row], row, m) for p, m in zip(parts, masks_, strict=True)]
        else:
            values = to_host(self.linear(hidden))
            parts = _split(values, self.sizes)
            self.scores = parts[0]
            for row in range(count):
                if len(set(self.sizes)) == 1:  # all factors at once
                    given = [mask for mask in legal[row] if mask is not None]
                    table = values[row].reshape(len(parts), -1)
                    chosen.append(choose(table, row, np.stack(given) if given else None))
                else:
                    chosen.append([choose(p[row], row, m) for p, m in zip(parts, legal[row], strict=True)])
        if isinstance(self.space, gym.spaces.Discrete):
            return [int(one[0]) + int(self.starts[0]) for one in chosen]
        return list((np.array(chosen) + self.starts).reshape(-1, *space.shape).astype(space.dtype))
