"""Any observation as a flat dict of arrays, which is what datasets hold and learners take.

A Dict inside a Dict, a Tuple or a Graph becomes several keys, joined by ``:`` (``robot:arm``, ``0``, ``net:nodes``); an
observation that is no Dict gets the key ``observation``. A flat Dict of arrays stays as it is. Text, Sequence and OneOf
have no fixed number of entries and are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from netllm_gym.errors import ConfigError

JOIN = ":"
WHOLE = "observation"  # key of an observation that is no Dict
ARRAYS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
# Rows of padding in a graph: nodes and features of edges are zero, ends of edges -1.
NO_EDGE = -1


class LeafView:
    """The flat form of one observation space.

    Args:
        space: of the environment.
        like: flat space of an earlier view (a checkpoint's, a dataset's): graphs get its bounds.
        bounds: most (nodes, edges) of each graph by key; by default (16, 64). A larger graph makes larger arrays.

    Attributes:
        space: Dict of Box, Discrete, MultiDiscrete and MultiBinary.
        plain: whether an observation is passed through as it is.

    Raises:
        ConfigError: a space without arrays (the message names its key), or two keys that become one.
    """

    def __init__(
        self,
        space: gym.Space,
        like: gym.Space | None = None,
        bounds: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        self.original = space
        self.bounds = dict(bounds or {})
        self._paths: list[tuple[str, tuple[Any, ...], gym.Space]] = list(_leaves(space, ()))
        found: dict[str, gym.Space] = {}
        for key, _, leaf in self._paths:
            if isinstance(leaf, spaces.Graph):
                if isinstance(like, spaces.Dict) and f"{key}{JOIN}nodes" in like.spaces:
                    nodes: Any = like.spaces[f"{key}{JOIN}nodes"].shape
                    edges: Any = like.spaces[f"{key}{JOIN}edge_links"].shape
                    self.bounds[key] = (nodes[0], edges[0])
                parts = _graph_space(leaf, *self.bounds.setdefault(key, (16, 64)))
                added = {f"{key}{JOIN}{name}": part for name, part in parts.items()}
            else:
                added = {key: leaf}
            for name, member in added.items():
                if name in found:
                    raise ConfigError(f"two observations would both be called {name!r}; rename one of them")
                found[name] = member
        if not found:
            raise ConfigError("the observation space holds nothing")
        self.space = spaces.Dict(found)
        self.plain = isinstance(space, spaces.Dict) and list(found) == list(space.spaces)

    def __call__(self, observation: Any) -> dict[str, Any]:
        """Flatten one observation.

        Raises:
            ConfigError: it lacks a part of its space.
        """
        if self.plain:
            shown = observation.keys() if isinstance(observation, Mapping) else ()
            if missing := [key for key in self.space.spaces if key not in shown]:
                raise ConfigError(_missing(missing[0]))
            return observation
        flat: dict[str, Any] = {}
        for key, path, leaf in self._paths:
            value = observation
            for part in path:
                try:
                    value = value[part]
                except (LookupError, TypeError):
                    raise ConfigError(_missing(key)) from None
            if isinstance(leaf, spaces.Graph):
                flat |= {f"{key}{JOIN}{name}": part for name, part in self._graph(key, leaf, value).items()}
            else:
                flat[key] = value
        return flat

    def checked(self, observation: Any) -> dict[str, Any]:
        """Flatten one observation whose categories somebody will look up.

        Raises:
            ConfigError: it lacks a part of its space, or holds a category that there is not.
        """
        flat = self(observation)
        for key, member in self.space.spaces.items():
            if isinstance(member, spaces.Discrete | spaces.MultiDiscrete):
                odd = no_category(member, np.asarray(flat[key])[None])
                if odd is not None:
                    raise ConfigError(f"observation {key!r} is {odd.tolist()}, not in {member}")
        return flat

    def _graph(self, key: str, space: spaces.Graph, graph: Any) -> dict[str, np.ndarray]:
        nodes, links = np.asarray(graph.nodes), graph.edge_links
        links = np.zeros((0, 2), np.int64) if links is None else np.asarray(links).reshape(-1, 2)
        count = max(self.bounds[key][0], len(nodes))
        wires = max(self.bounds[key][1], len(links))
        found = {
            "nodes": _padded(_features(space.node_space, nodes), count, 0.0),
            "edge_links": _padded(links.astype(np.int32), wires, NO_EDGE),
            "node_mask": _padded(np.ones(len(nodes), np.int8), count, 0),
        }
        if space.edge_space is not None:
            features = np.zeros((0,)) if graph.edges is None else np.asarray(graph.edges)
            found["edge_features"] = _padded(_features(space.edge_space, features), wires, 0.0)
        return found

    def stack(self, observations: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """Stack flat observations over time, key → ``[T, …]``; graphs are padded to the largest.

        Raises:
            ConfigError: an array of another shape than its space says, what is no number, a category that there is not.
        """
        fixed = {key: leaf for key, _, leaf in self._paths if not isinstance(leaf, spaces.Graph)}
        out = {}
        for key in self.space.spaces:
            try:
                arrays = [np.asarray(one[key]) for one in observations]
            except ValueError as error:  # lists of several lengths
                raise ConfigError(f"observation {key!r} is no array ({error})") from None
            wanted = fixed[key].shape if key in fixed else None
            odd = next((array for array in arrays if wanted is not None and array.shape != wanted), None)
            if odd is not None:
                raise ConfigError(f"observation {key!r} has shape {odd.shape}, its space says {wanted}")
            out[key] = stacked(arrays, key)
            if out[key].dtype.kind not in "biuf":
                raise ConfigError(f"observation {key!r} holds {out[key].dtype.name} in place of numbers")
            if (odd := no_category(self.space[key], out[key])) is not None:
                raise ConfigError(f"observation {key!r} is {odd.tolist()}, not in {self.space[key]}")
        return out

    @property
    def modalities(self) -> dict[str, str]:
        """Modality of each flat key, from its kind, shape and type; the first graph's parts are ``graph``."""
        graphs = [key for key, _, leaf in self._paths if isinstance(leaf, spaces.Graph)]
        found = {key: modality_of(member) for key, member in self.space.spaces.items()}
        if graphs:  # several graphs cannot be joined: the others are read as tables
            found |= {f"{graphs[0]}{JOIN}{name}": "graph" for name in ("nodes", "edge_links", "node_mask")}
        return found

    def described(self, given: Mapping[str, Any], guesses: Mapping[str, Any]) -> dict[str, Any]:
        """Return what ``env.metadata`` says of each flat key: of the key itself, or else the guess, if there is one."""
        named = {clean(key): value for key, value in given.items()}
        found = dict(guesses)
        found.update({key: named[key] for key in self.space.spaces if key in named})
        return found

    def scales(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return the typical magnitudes of the flat keys, ``metadata["scales"]``.

        Raises:
            ConfigError: one that nothing can be divided by.
        """
        found = self.described(metadata.get("scales", {}), {})
        for key, scale in found.items():
            values = np.asarray(scale)
            if values.dtype.kind not in "iuf" or not (np.isfinite(values).all() and (values > 0).all()):
                raise ConfigError(f"the scale of observation {key!r} is {scale!r}; it is a positive number, or several")
        return found


def _missing(key: str) -> str:
    return f"observation {key!r} is in the observation space and not in what the environment shows"


def _leaves(space: gym.Space, path: tuple[Any, ...]) -> Iterator[tuple[str, tuple[Any, ...], gym.Space]]:
    key = JOIN.join(clean(str(part)) for part in path) or WHOLE
    if isinstance(space, spaces.Dict):
        for name, member in space.spaces.items():
            yield from _leaves(member, (*path, name))
    elif isinstance(space, spaces.Tuple):
        for number, member in enumerate(space.spaces):
            yield from _leaves(member, (*path, number))
    elif isinstance(space, (*ARRAYS, spaces.Graph)):
        yield key, path, space
    else:
        raise ConfigError(
            f"observation {key!r} is a {type(space).__name__}, which has no fixed size; "
            "offer it as Box, Discrete, MultiDiscrete, MultiBinary, Graph, or a Dict or Tuple of them"
            + (f", or leave it out (netllm_gym/Dict-v0 with leave_out={[path[0]]})" if path else "")
        )


def clean(key: str) -> str:
    """Return a key as files and networks can hold it: no ``/`` and no ``.``, and never empty."""
    return key.replace("/", JOIN).replace(".", JOIN) or "_"


def _graph_space(space: spaces.Graph, nodes: int, edges: int) -> dict[str, gym.Space]:
    found: dict[str, gym.Space] = {
        "nodes": spaces.Box(-np.inf, np.inf, (nodes, _width(space.node_space)), np.float32),
        "edge_links": spaces.Box(NO_EDGE, nodes - 1, (edges, 2), np.int32),
        "node_mask": spaces.MultiBinary(nodes),
    }
    if space.edge_space is not None:
        found["edge_features"] = spaces.Box(-np.inf, np.inf, (edges, _width(space.edge_space)), np.float32)
    return found


def _width(space: gym.Space) -> int:
    """Numbers that describe a node or an edge: a category is one-hot."""
    return int(space.n) if isinstance(space, spaces.Discrete) else int(np.prod(space.shape or ()))


def _features(space: gym.Space, values: np.ndarray) -> np.ndarray:
    if isinstance(space, spaces.Discrete):
        return np.eye(int(space.n), dtype=np.float32)[values.astype(np.int64).ravel() - int(space.start)]
    return values.reshape(len(values), _width(space)).astype(np.float32)


def _padded(rows: np.ndarray, count: int, fill: float) -> np.ndarray:
    out = np.full((count, *rows.shape[1:]), fill, rows.dtype)
    out[: len(rows)] = rows
    return out


def fill_of(key: str) -> float:
    """What pads the rows of a flat key."""
    return NO_EDGE if key.endswith(f"{JOIN}edge_links") else 0


def stacked(arrays: Sequence[np.ndarray], key: str = "") -> np.ndarray:
    """Stack arrays along a new first axis; where their lengths differ (graphs), the shorter are padded."""
    if len({array.shape for array in arrays}) > 1:
        longest = max(len(array) for array in arrays)
        arrays = [_padded(array, longest, fill_of(key)) for array in arrays]
    return np.stack(arrays)


def no_category(space: gym.Space, values: np.ndarray) -> np.ndarray | None:
    """Return the first of many observations that holds a category which its space has not."""
    if isinstance(space, spaces.Box):
        return None
    first: Any = 0 if isinstance(space, spaces.MultiBinary) else space.start  # type: ignore[attr-defined]
    count: Any = 2
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        count = space.n if isinstance(space, spaces.Discrete) else space.nvec
    wrong = (values < first) | (values >= first + count)
    where = wrong.reshape(len(values), -1).any(axis=1)
    return values[where.argmax()] if where.any() else None


def modality_of(space: gym.Space) -> str:
    """Guess a modality: categories are ``category``; three axes, or two of bytes, are an ``image``; two axes of numbers
    are a ``series`` (time first); everything else is ``scalar``.
    """
    if not isinstance(space, spaces.Box):
        return "category"
    axes = len(space.shape)
    if axes == 3 or (axes == 2 and space.dtype == np.uint8):
        return "image"
    return "series" if axes == 2 else "scalar"


def require_actions(space: gym.Space) -> None:
    """Refuse action spaces that no dataset holds.

    Raises:
        ConfigError: neither Box, Discrete, MultiDiscrete nor MultiBinary.
    """
    if not isinstance(space, ARRAYS):
        mixed = isinstance(space, spaces.Dict | spaces.Tuple)
        raise ConfigError(
            f"actions are a {type(space).__name__}"
            + (" with a part of no fixed size, or of very many choices:" if mixed else ";")
            + " datasets hold Box, Discrete, MultiDiscrete or MultiBinary actions, and a Dict or Tuple of these; "
            "put a gymnasium.ActionWrapper around the environment that offers one of these"
        )
