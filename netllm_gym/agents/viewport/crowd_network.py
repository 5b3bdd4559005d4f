"""A viewer's next looks from his own motion and the paths of earlier viewers of the same video.

Each earlier viewer is a row: where he looked relative to ours over the last seconds, how he moved, and where he went
next. Attention chooses whom to follow. The answer mixes *their motion* and *their places* (two gates per head, moment
and angle) and adds a correction. Nothing depends on where a video's objects are, nor on how many viewers there are.

Two readers share everything but the attention's states: small networks alone (``plain``), or a language model that
reads the viewers as tokens, nearest last, and our own motion as the final token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netllm_gym.agents.viewport.crowd_config import PIECE, CrowdConfig

SCALE_DEG = 30.0
NEAREST = 24  # viewers a language model reads: each costs a token


def fold(degrees: Tensor) -> Tensor:
    """Differences of angles, folded into [-180, 180)."""
    return torch.remainder(degrees + 180.0, 360.0) - 180.0


@dataclass(frozen=True)
class Rows:
    """What a network sees of a batch of windows, all relative to the newest sample of our viewer.

    Attributes:
        own: our motion up to now, ``[B, h, 3]``, degrees; 0 at the newest sample.
        paths: each earlier viewer's motion from his place now, ``[B, K, h + f, 3]``, degrees.
        offset: his place now relative to ours, ``[B, K, 3]``, degrees.
        known: which samples of his future are known, ``[B, K, f]``.
        mask: which viewers are there, ``[B, K]``.
    """

    own: Tensor
    paths: Tensor
    offset: Tensor
    known: Tensor
    mask: Tensor

    def mirrored(self) -> Rows:
        """The same with left and right exchanged."""
        sign = torch.tensor([-1.0, 1.0, -1.0], device=self.own.device)
        return Rows(self.own * sign, self.paths * sign, self.offset * sign, self.known, self.mask)


def rows_of(history_deg: Tensor, crowd_deg: Tensor, crowd_mask: Tensor, reach: int, future: int) -> Rows:
    """Turn angles into :class:`Rows`.

    Args:
        history_deg: ``[B, h, 3]``, wrapped or not.
        crowd_deg: ``[B, K, h + f, 3]``, the same moments and the next f samples.
        crowd_mask: ``[B, K, h + f]``, which samples are known.
        reach: history samples the network reads: older ones are cut, missing ones filled with the oldest.
        future: samples it answers; what lies beyond the given f is unknown.
    """
    shown = history_deg.shape[1]
    if shown > reach:
        history_deg, crowd_deg, crowd_mask = (
            history_deg[:, -reach:],
            crowd_deg[:, :, shown - reach :],
            crowd_mask[:, :, shown - reach :],
        )
        shown = reach
    fill = reach - shown
    history = torch.cat([history_deg[:, :1].expand(-1, fill, -1), history_deg], dim=1)
    ahead = crowd_deg.shape[2] - shown
    parts, marks = (
        [crowd_deg[:, :, :1].expand(-1, -1, fill, -1), crowd_deg],
        [crowd_mask[:, :, :1].expand(-1, -1, fill), crowd_mask],
    )
    if ahead < future:
        parts.append(crowd_deg.new_zeros((*crowd_deg.shape[:2], future - ahead, 3)))
        marks.append(crowd_mask.new_zeros((*crowd_mask.shape[:2], future - ahead)))
    crowd = torch.cat(parts, dim=2)[:, :, : reach + future]
    known = torch.cat(marks, dim=2)[:, :, : reach + future].bool()
    mask = known[:, :, :reach].all(-1)
    steps = fold(history.diff(dim=1, prepend=history[:, :1]))
    own = steps.cumsum(1)
    their = fold(crowd.diff(dim=2, prepend=crowd[:, :, :1])).cumsum(2)
    paths = their - their[:, :, reach - 1 : reach]
    # An unknown sample hides what follows it: paths are sums of steps.
    ahead_known = known[:, :, reach:].int().cumprod(-1).bool() & mask[..., None]
    paths = torch.cat(
        [paths[:, :, :reach] * mask[..., None, None], paths[:, :, reach:] * ahead_known[..., None]], dim=2
    )
    offset = fold(crowd[:, :, reach - 1] - history[:, None, -1]) * mask[..., None]
    return Rows(own - own[:, -1:], paths, offset, ahead_known, mask)


def _perceptron(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, outputs))


class CrowdNetwork(nn.Module):
    """See the module.

    Args:
        config: its sizes.

    Raises:
        ConfigError: a backbone that cannot be had.
    """

    def __init__(self, config: CrowdConfig) -> None:
        super().__init__()
        self.config = config
        h, f, d = config.history, config.future, config.width
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.key = _perceptron(6 * h + 9, d, d)
            self.value = _perceptron(3 * h + 4 * f + 9, d, d)
            self.query = _perceptron(6 * h, d, d)
            self.norm = nn.LayerNorm(2 * d)
            self.gate = nn.Linear(2 * d, config.heads * 2 * (f // PIECE) * 3)
            self.correct = _perceptron(2 * d, d, 3 * f)
            for layer in (self.gate, self.correct[2]):  # an untrained network holds the last place
                for parameter in layer.parameters():
                    nn.init.zeros_(parameter)
            self.reader = None if config.backbone == "plain" else Reader(config)

    def forward(self, rows: Rows) -> Tensor:
        """Displacements from the newest sample, degrees, ``[B, f, 3]``."""
        h, f, heads = self.config.history, self.config.future, self.config.heads
        batch, viewers = rows.mask.shape
        past, ahead = rows.paths[:, :, :h], rows.paths[:, :, h:]
        apart = rows.offset[:, :, None] + past - rows.own[:, None]
        turn = torch.deg2rad(rows.offset)
        place = torch.cat([torch.sin(turn), torch.cos(turn), rows.offset / SCALE_DEG], dim=-1)
        query = self.query(
            torch.cat([rows.own, rows.own.diff(dim=1, prepend=rows.own[:, :1]) * 5.0], -1).flatten(1) / SCALE_DEG
        )
        key = self.key(torch.cat([apart.flatten(2) / SCALE_DEG, past.flatten(2) / SCALE_DEG, place], dim=-1))
        value = self.value(
            torch.cat(
                [past.flatten(2) / SCALE_DEG, ahead.flatten(2) / SCALE_DEG, rows.known.to(past.dtype), place], dim=-1
            )
        )
        if self.reader is not None:
            near = apart.square().mean(dim=(2, 3)).masked_fill(~rows.mask, torch.inf)
            query, key, value = self.reader(query, key, value, near, rows.mask)
        split = (batch, viewers, heads, -1)
        score = (
            torch.einsum("bhd,bkhd->bhk", query.view(batch, heads, -1), key.view(split))
            / (key.shape[-1] / heads) ** 0.5
        )
        weight = score.masked_fill(~rows.mask[:, None], -1e4).softmax(-1) * rows.mask[:, None]
        mixed = torch.einsum("bhk,bkhd->bhd", weight, value.view(split)).flatten(1)
        state = self.norm(torch.cat([query, mixed], dim=-1))
        # A viewer whose future is not known yet leaves his share to the others.
        share = weight[..., None] * rows.known[:, None]
        share = share / share.sum(2, keepdim=True).clamp_min(1e-6)
        motion = torch.einsum("bhkf,bkfc->bhfc", share, ahead)
        there = torch.einsum("bhkf,bkfc->bhfc", share, (ahead + rows.offset[:, :, None]) * rows.known[..., None])
        gates = self.gate(state).view(batch, heads, 2, f // PIECE, 3).repeat_interleave(PIECE, dim=3)
        mix = (gates[:, :, 0] * motion + gates[:, :, 1] * there).sum(1)
        return mix + self.correct(state).view(batch, f, 3) * SCALE_DEG

    def weights(self) -> dict[str, Tensor]:
        """What is learnt, by name: the frozen backbone is left out."""
        learnt = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {name: value for name, value in self.state_dict().items() if name in learnt}


class Reader(nn.Module):
    """A language model that reads viewers as tokens and passes on what it made of them.

    Args:
        config: names the backbone.
    """

    def __init__(self, config: CrowdConfig) -> None:
        from netllm_gym.agents.llm.backbone import load_backbone, width
        from netllm_gym.agents.llm.config import LLMConfig
        from netllm_gym.agents.llm.model import with_lora

        super().__init__()
        llm = LLMConfig(
            backbone=config.backbone, layers=config.layers, weights=config.weights, lora_rank=config.lora_rank,
            lora_alpha=2.0 * config.lora_rank, lora_dropout=0.0, objective="regression", seed=config.seed,
        )  # fmt: skip
        backbone = load_backbone(llm)
        size = width(backbone)
        self.backbone: Any = with_lora(backbone, llm) if llm.tuning == "lora" else backbone
        self.inward = nn.Linear(2 * config.width, size)
        self.own = nn.Linear(config.width, size)
        self.start = nn.Parameter(torch.randn(size) * INPUT_RMS)  # takes the role of the text's first token
        self.scale = nn.LayerNorm(size, elementwise_affine=False)
        self.outward = nn.Linear(size, 3 * config.width)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, distance: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Add what the language model says to query ``[B, d]``, keys and values ``[B, K, d]``.

        `distance` ``[B, K]`` orders the viewers: the nearest is read last, those beyond :data:`NEAREST` not at all.
        """
        batch, _, d = key.shape
        order = distance.argsort(dim=1, descending=True, stable=True)[:, -NEAREST:]
        rows = order[..., None]
        tokens = self.inward(torch.cat([key, value], -1).gather(1, rows.expand(-1, -1, 2 * d)))
        present = mask.gather(1, order)
        tokens = torch.cat([tokens, self.own(query)[:, None]], dim=1)
        tokens = torch.cat([self.start.expand(batch, 1, -1), self.scale(tokens) * INPUT_RMS], dim=1)
        ones = present.new_ones((batch, 1))
        attend = torch.cat([ones, present, ones], dim=1)
        hidden = self.backbone(
            inputs_embeds=tokens.to(self.backbone.dtype),
            attention_mask=attend.long(),
            position_ids=(attend.cumsum(1) - 1).clamp_min(0),  # absent viewers take no place
            use_cache=False,
        ).last_hidden_state.float()
        said = self.outward(hidden[:, 1:])
        own, keys, values = said[:, -1, :d], said[:, :-1, d : 2 * d], said[:, :-1, 2 * d :]
        keys = key.scatter_add(1, rows.expand(-1, -1, d), keys)
        values = value.scatter_add(1, rows.expand(-1, -1, d), values)
        return query + own, keys, values


INPUT_RMS = 0.13  # of SmolLM2's token embeddings: tokens enter at the size the decoder was trained on
