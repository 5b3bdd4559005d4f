"""Graphs as observations: padded nodes and edges in, one token for the whole and an embedding per node out.

A graph is the group of an observation's keys whose modality is ``graph``. Roles follow from names:

| key | shape | meaning |
|---|---|---|
| `nodes` | float `[N, F]` | features of each node, padded to N |
| `edges` | int `[E, 2]` | source and target of each edge, padded to E |
| `node_mask` (optional) | bool or 0/1 `[N]` | which nodes exist; without it all do |
| `edge_mask` (optional) | bool or 0/1 `[E]` | which edges exist; without it those with no negative end do |
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import torch
from torch import Tensor, nn

from netllm_gym.errors import ConfigError

NODE_WIDTH = 64
ROUNDS = 2
ROLES = ("nodes", "edges", "node_mask", "edge_mask")


class Nodes(NamedTuple):
    """Node embeddings ``[…, N, NODE_WIDTH]`` and which of them exist, bool ``[…, N]``."""

    embedding: Tensor
    mask: Tensor


class Graph(nn.Module):
    """Message passing along and against the edges, then mean and maximum over the nodes.

    Each round adds to a node what its sources and its targets say (with separate weights), so after two rounds a
    stage of a job knows its neighbours' neighbours on both sides.

    Raises:
        ConfigError: keys that do not make up a graph.
    """

    def __init__(self, spaces: dict[str, gym.Space], width: int, scale: float) -> None:
        super().__init__()
        if odd := sorted(set(spaces) - set(ROLES)):
            raise ConfigError(f"observation {odd[0]!r} has modality graph; a graph's keys are {', '.join(ROLES)}")
        shapes: dict[str, Any] = {key: space.shape for key, space in spaces.items()}
        if len(shapes.get("nodes") or ()) != 2 or len(shapes.get("edges") or ()) != 2 or shapes["edges"][1] != 2:
            raise ConfigError(f"a graph needs nodes [N, F] and edges [E, 2], got {shapes}")
        self.count, features = shapes["nodes"]
        self.keys = [key for key in ROLES if key in spaces]
        for key, size in (("node_mask", self.count), ("edge_mask", shapes["edges"][0])):
            if key in shapes and shapes[key] != (size,):
                raise ConfigError(f"{key} must have shape ({size},), got {shapes[key]}")
        self.scale = scale
        self.inward = nn.Linear(2 * features, NODE_WIDTH)
        self.own, self.sources, self.targets = (
            nn.ModuleList(nn.Linear(NODE_WIDTH, NODE_WIDTH, bias=bias) for _ in range(ROUNDS))
            for bias in (True, False, False)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(NODE_WIDTH) for _ in range(ROUNDS))
        self.outward = nn.Linear(2 * NODE_WIDTH, width)

    def forward(self, graph: dict[str, Tensor]) -> tuple[Tensor, Nodes]:
        """Encode M graphs: a token each, ``[M, width]``, and their nodes."""
        x = graph["nodes"].float() / self.scale
        x = torch.cat([x.clamp(-20.0, 20.0), x.sign() * x.abs().log1p()], dim=-1)
        edges = graph["edges"].long()
        exists = graph["node_mask"].bool() if "node_mask" in graph else torch.ones_like(x[..., 0], dtype=torch.bool)
        linked = (graph["edge_mask"].bool() if "edge_mask" in graph else torch.ones_like(edges[..., 0])).bool()
        linked = linked & (edges >= 0).all(-1)
        # Absent edges carry zeros from node 0 to node 0.
        ends = (edges * linked[..., None])[..., None].expand(-1, -1, -1, NODE_WIDTH)
        source, target = ends[:, :, 0], ends[:, :, 1]
        present, carried = exists[..., None].float(), linked[..., None].float()
        h = nn.functional.gelu(self.inward(x)) * present
        for own, sources, targets, norm in zip(self.own, self.sources, self.targets, self.norms, strict=True):
            said = own(h)
            said = said.scatter_add(1, target, sources(h).gather(1, source) * carried)
            said = said.scatter_add(1, source, targets(h).gather(1, target) * carried)
            h = norm(h + nn.functional.gelu(said)) * present
        mean = h.sum(1) / present.sum(1).clamp_min(1.0)
        highest = h.masked_fill(~exists[..., None], -1e4).amax(1) * exists.any(1, keepdim=True)
        return self.outward(torch.cat([mean, highest], dim=-1)), Nodes(h, exists)
