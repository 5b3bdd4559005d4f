"""Small networks for head motion, and one training loop for all. Torch loads on first use.

Inputs are motion relative to the last sample and increments, so that the networks cannot learn where a data
set's zero lies; outputs are displacements, so that zero is hold-last. Angles are scaled by 30°.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym import extras
from netllm_gym.envs.viewport.windows import MIRROR

SCALE_DEG = 30.0


def require_torch() -> Any:
    """Return torch.

    Raises:
        MissingExtraError: it is not installed.
    """
    return extras.load("torch", "a viewport network")


def motion_features(history_deg: NDArray[np.float64]) -> NDArray[np.float32]:
    """Position relative to the last sample, and increments, scaled; shape ``[N, h, 6]``. Histories are
    unwrapped."""
    relative = history_deg - history_deg[:, -1:]
    steps = np.diff(history_deg, axis=1, prepend=history_deg[:, :1])
    return np.concatenate([relative / SCALE_DEG, steps / SCALE_DEG * 5.0], axis=-1).astype(np.float32)


def motion_and_place(history_deg: NDArray[np.float64]) -> NDArray[np.float32]:
    """:func:`motion_features`, then sine and cosine of the angles themselves; shape ``[N, h, 12]``.

    Where the head points says how far up it can still go, and in NetLLM's reading how motion is shared out between roll
    and pitch. Networks that see it must be trained on windows turned at random (:func:`turned`), or they learn where
    the training videos' objects are.
    """
    angles = np.radians(history_deg)
    place = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).astype(np.float32)
    return np.concatenate([motion_features(history_deg), place], axis=-1)


def _still(inputs: int, outputs: int) -> Any:
    """A last layer that answers zero until it is trained: an untrained network is hold-last."""
    torch = require_torch()
    head = torch.nn.Linear(inputs, outputs)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    return head


def build_gru(hidden: int, layers: int, future: int) -> Any:
    """A GRU over the history whose last state gives the whole horizon at once."""
    torch = require_torch()

    class GRUNet(torch.nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.gru = torch.nn.GRU(12, hidden, layers, batch_first=True)
            self.head = _still(hidden, future * 3)

        def forward(self, motion: Any, image: Any) -> Any:
            state = self.gru(motion)[0][:, -1]
            return self.head(state).view(-1, future, 3)

    return GRUNet()


def build_mlp(hidden: int, history: int, future: int) -> Any:
    """Two hidden layers on the last `history` samples give the whole horizon at once: what needs no memory."""
    torch = require_torch()
    nn = torch.nn

    class MLPNet(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Linear(12 * history, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
            )
            self.head = _still(hidden, future * 3)

        def forward(self, motion: Any, image: Any) -> Any:
            short = history - motion.shape[1]  # before a short history the head stood still
            seen = torch.cat([motion[:, :1].expand(-1, short, -1), motion], dim=1)
            return self.head(self.layers(seen.flatten(1))).view(-1, future, 3)

    return MLPNet()


def build_track(hidden: int, future: int, cells: int) -> Any:
    """TRACK (Romero Rondón et al., PAMI 2022): position and image branches, fused, unrolled over the horizon.

    Each branch and the fusion is an LSTM; the decoder starts from its own last position and feeds on its own
    output (the published port hands it the first future sample). With ``cells=0`` there is no image branch.
    """
    torch = require_torch()
    nn = torch.nn

    class TrackNet(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.position = nn.LSTM(12, hidden, batch_first=True)
            self.position_cell = nn.LSTMCell(3, hidden)
            if cells:
                self.image = nn.Sequential(nn.Linear(cells, hidden), nn.ReLU())
                self.image_cell = nn.LSTMCell(hidden, hidden)
            self.fusion = nn.LSTMCell(2 * hidden if cells else hidden, hidden)
            self.head = _still(hidden, 3)

        def forward(self, motion: Any, image: Any) -> Any:
            _, (h, c) = self.position(motion)
            p = (h[0], c[0])
            zero = torch.zeros_like(p[0])
            i, f = (zero, zero), (zero, zero)
            seen = self.image(image) if cells else None
            where = torch.zeros(len(motion), 3, dtype=motion.dtype)
            path = []
            for _ in range(future):
                p = self.position_cell(where, p)
                state = p[0]
                if cells:
                    i = self.image_cell(seen, i)
                    state = torch.cat([state, i[0]], dim=-1)
                f = self.fusion(state, f)
                where = where + self.head(f[0])
                path.append(where)
            return torch.stack(path, dim=1)

    return TrackNet()


def train(
    network: Any,
    data: tuple[NDArray, NDArray, NDArray],
    valid: tuple[NDArray, NDArray, NDArray],
    epochs: int,
    learning_rate: float,
    batch: int,
    seed: int,
    mirror: bool,
    report: Callable[[int, float], None] | None = None,
) -> float:
    """Train on displacements under the absolute error and keep the epoch that is best on `valid`.

    Args:
        network: from one of the builders.
        data, valid: features ``[N, h, 12]``, images ``[N, cells]``, displacements ``[N, f, 3]`` in
            degrees.
        epochs, learning_rate, batch: of Adam, with a cosine decay to zero.
        seed: of initialisation order and shuffling; the same seed gives the same network on the same machine.
        mirror: flip left and right at random (only without images).
        report: called with the epoch and the error on `valid` in degrees.

    Returns:
        The best error on `valid`, degrees.
    """
    torch = require_torch()
    x, image, y = (torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32)) for part in data)
    vx, vimage, vy = (torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32)) for part in valid)
    y, vy = y / SCALE_DEG, vy / SCALE_DEG
    flip_y = torch.tensor(MIRROR, dtype=torch.float32)
    flip_x = torch.cat([flip_y.repeat(3), torch.ones(3)])  # motion, increments and sines turn round, cosines stay
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
    steps = epochs * -(-len(x) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    best, kept = np.inf, {key: value.clone() for key, value in network.state_dict().items()}
    for epoch in range(epochs):
        network.train()
        order = rng.permutation(len(x))
        for begin in range(0, len(x), batch):
            picked = torch.from_numpy(order[begin : begin + batch])
            bx, by = x[picked], y[picked]
            if mirror:
                half = torch.from_numpy(rng.random((len(bx), 1, 1)) < 0.5)
                bx, by = torch.where(half, bx * flip_x, bx), torch.where(half, by * flip_y, by)
            loss = (network(bx, image[picked]) - by).abs().mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        network.eval()
        with torch.no_grad():
            parts = [
                (network(vx[i : i + 2048], vimage[i : i + 2048]) - vy[i : i + 2048]).abs().sum()
                for i in range(0, len(vx), 2048)
            ]
        error = float(sum(parts)) / vy.numel() * SCALE_DEG
        if report is not None:
            report(epoch, error)
        if error < best:
            best, kept = error, {key: value.clone() for key, value in network.state_dict().items()}
    network.load_state_dict(kept)
    network.eval()
    return best
