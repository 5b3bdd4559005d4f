"""Graphs as observations: padded nodes and edges in, one token for the whole and an embedding per node out.

The keys of an observation whose modality is ``graph`` make up one graph. Their roles follow from their spaces:

| space | role |
|---|---|
| integer Box `[E, 2]` | edges: rows of source and target; an edge with a negative end is padding |
| float Box `[N, F]`, N = highest row of the edges + 1 | nodes; a row of nothing but −1 is padding |
| float Box `[J, G]`, another number of rows (optional) | groups of nodes (jobs of stages): the last feature of a node is its group's row |
| `[N]` (optional) | node mask: which nodes exist |
| `[E]`, and `edge` in its name (optional) | edge mask: which edges exist |
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from netllm_gym.errors import ConfigError

NODE_WIDTH = 64
ROUNDS = 2


class Nodes(NamedTuple):
    """Node embeddings ``[…, N, NODE_WIDTH]``, and which of them exist, bool ``[…, N]``.

    `plain` ``[…, N]``, a weighted sum of each node's features, is what a pointer's scores begin with; None without one.
    """

    embedding: Tensor
    mask: Tensor
    plain: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> Nodes:
        """Change all that is there in the same way."""
        return Nodes(*(None if part is None else change(part) for part in self))  # type: ignore[arg-type]


def roles(spaces: Mapping[str, gym.Space]) -> dict[str, str]:
    """Tell which key plays which role: ``nodes``, ``edges``, ``groups``, ``node_mask``, ``edge_mask``.

    Raises:
        ConfigError: keys that do not make up a graph.
    """
    boxes: dict[str, Any] = dict(spaces)
    shapes = {key: tuple(space.shape or ()) for key, space in boxes.items()}
    edges = [k for k, s in shapes.items() if len(s) == 2 and s[1] == 2 and np.issubdtype(boxes[k].dtype, np.integer)]
    if len(edges) != 1:
        raise ConfigError(f"a graph needs one integer key of edges [E, 2]; the keys of modality graph are {shapes}")
    found = {"edges": edges[0]}
    count = int(np.max(boxes[edges[0]].high)) + 1
    for key, shape in shapes.items():
        if key == edges[0]:
            continue
        if len(shape) == 2 and np.issubdtype(boxes[key].dtype, np.floating):
            role = "nodes" if shape[0] == count else "groups"
        elif shape == (shapes[edges[0]][0],) and "edge" in key:
            role = "edge_mask"
        elif shape == (count,):
            role = "node_mask"
        else:
            raise ConfigError(f"observation {key!r} {shape} has no role in a graph of {count} nodes")
        if role in found:
            raise ConfigError(f"observations {found[role]!r} and {key!r} would both be the graph's {role}")
        found[role] = key
    if "nodes" not in found:
        raise ConfigError(f"a graph whose edges name {count} nodes needs a float key [{count}, F]; there are {shapes}")
    return found


def _features(x: Tensor, scale: Tensor) -> Tensor:
    """Values and signed logarithms."""
    x = x.float() / scale
    return torch.cat([x.clamp(-20.0, 20.0), x.sign() * x.abs().log1p()], dim=-1)


class Graph(nn.Module):
    """Message passing along and against the edges, then mean and maximum over the nodes.

    Each round adds to a node what its sources and its targets say (with separate weights), and where nodes have groups
    the mean of its group, so after two rounds a stage knows its neighbours' neighbours on both sides and its job.

    Padding costs nothing: each batch is cut to the rows that some graph of it uses, of groups too.

    Raises:
        ConfigError: keys that do not make up a graph.
    """

    node_scale: Tensor
    group_scale: Tensor

    def __init__(
        self, spaces: Mapping[str, gym.Space], width: int, scales: Mapping[str, Any], pointer_skip: bool = False
    ) -> None:
        super().__init__()
        self.roles = roles(spaces)
        shapes: dict[str, Any] = {role: spaces[key].shape for role, key in self.roles.items()}
        self.count, features = shapes["nodes"]
        self.grouped = "groups" in shapes
        node_scale = torch.as_tensor(scales.get(self.roles["nodes"]) or 1.0, dtype=torch.float32)
        if self.grouped:
            features -= 1  # the row of the group is no quantity
            node_scale = node_scale[:-1] if node_scale.ndim else node_scale
            group_scale = torch.as_tensor(scales.get(self.roles["groups"]) or 1.0, dtype=torch.float32)
            self.register_buffer("group_scale", group_scale, persistent=False)
            self.group = nn.Linear(2 * shapes["groups"][1], NODE_WIDTH)
            self.members = nn.ModuleList(nn.Linear(NODE_WIDTH, NODE_WIDTH, bias=False) for _ in range(ROUNDS))
        self.register_buffer("node_scale", node_scale, persistent=False)
        self.inward = nn.Linear(2 * features, NODE_WIDTH)
        self.own, self.sources, self.targets = (
            nn.ModuleList(nn.Linear(NODE_WIDTH, NODE_WIDTH, bias=bias) for _ in range(ROUNDS))
            for bias in (True, False, False)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(NODE_WIDTH) for _ in range(ROUNDS))
        self.outward = nn.Linear(2 * NODE_WIDTH, width)
        self.plain = nn.Linear(2 * features, 1, bias=False) if pointer_skip else None
        if self.plain is not None:
            nn.init.zeros_(self.plain.weight)

    def forward(self, observations: Mapping[str, Tensor]) -> tuple[Tensor, Nodes]:
        """Encode M graphs, key → ``[M, …]``: a token each, ``[M, width]``, and their nodes."""
        parts = {role: observations[key] for role, key in self.roles.items()}
        exists = parts["node_mask"].bool() if "node_mask" in parts else (parts["nodes"] != -1.0).any(-1)
        linked = (parts["edges"] >= 0).all(-1)
        if "edge_mask" in parts:
            linked = linked & parts["edge_mask"].bool()
        count, wires = used_rows(exists), used_rows(linked)
        table, exists = parts["nodes"][:, :count].float(), exists[:, :count]
        edges, linked = parts["edges"][:, :wires].long(), linked[:, :wires]
        present, carried = exists[..., None].float(), linked[..., None].float()
        if self.grouped:
            row = table[..., -1:].long().clamp(0, parts["groups"].shape[1] - 1)
            groups = self.group(_features(parts["groups"][:, : int(row.max()) + 1], self.group_scale))
            row = row.expand(-1, -1, NODE_WIDTH)
            seen = _features(table[..., :-1], self.node_scale)
            h = self.inward(seen) + groups.gather(1, row)
            sizes = torch.zeros_like(groups).scatter_add(1, row, present.expand_as(row)).clamp_min(1.0)
        else:
            seen = _features(table, self.node_scale)
            h = self.inward(seen)
        h = nn.functional.gelu(h) * present
        # Absent edges carry zeros from node 0 to node 0.
        ends = (edges * linked[..., None])[..., None].expand(-1, -1, -1, NODE_WIDTH)
        source, target = ends[:, :, 0], ends[:, :, 1]
        for i in range(ROUNDS):
            said = self.own[i](h)
            said = said.scatter_add(1, target, self.sources[i](h).gather(1, source) * carried)
            said = said.scatter_add(1, source, self.targets[i](h).gather(1, target) * carried)
            if self.grouped:
                means = torch.zeros_like(sizes).scatter_add(1, row, h) / sizes
                said = said + self.members[i](means).gather(1, row)
            h = self.norms[i](h + nn.functional.gelu(said)) * present
        mean = h.sum(1) / present.sum(1).clamp_min(1.0)
        highest = h.masked_fill(~exists[..., None], -1e4).amax(1) * exists.any(1, keepdim=True)
        token = self.outward(torch.cat([mean, highest], dim=-1))
        unused = self.count - count
        plain = None if self.plain is None else nn.functional.pad(self.plain(seen)[..., 0], (0, unused))
        return token, Nodes(nn.functional.pad(h, (0, 0, 0, unused)), nn.functional.pad(exists, (0, unused)), plain)


def used_rows(present: Tensor) -> int:
    """How many leading rows of ``[M, rows]`` some graph uses; at least one."""
    rows = present.any(0).nonzero()
    return int(rows[-1]) + 1 if len(rows) else 1
