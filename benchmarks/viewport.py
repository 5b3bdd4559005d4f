"""Viewport prediction and streaming: the table of agents, speed, and QoE against prediction error and buffer.

python benchmarks/viewport.py table            all agents on the four published settings (needs the public sets)
python benchmarks/viewport.py compare AGENT …  agents against hold-last and the GRU on them, paired
python benchmarks/viewport.py motion           error by how far the head went
python benchmarks/viewport.py canonical        canonical angles: great circle and tiles
python benchmarks/viewport.py gru READING      train the shipped GRU (published or canonical) and write its weights
python benchmarks/viewport.py llm OUT          train the shipped language model
python benchmarks/viewport.py speed            windows/s and streaming steps/s, with refits as the peer
python benchmarks/viewport.py stream OUT       QoE of predictors and buffer targets, two plots and a GIF in OUT
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np

import netllm_gym  # noqa: F401 (registers the environments)
from netllm_gym import make_agent, traces
from netllm_gym.agents.base import EnvInfo
from netllm_gym.agents.classical import viewport_predictors as p
from netllm_gym.agents.classical.viewport_agents import LinearL1, Ridge
from netllm_gym.envs.viewport.metrics import score
from netllm_gym.envs.viewport.tiles import TileView
from netllm_gym.envs.viewport.windows import SETTINGS, WindowProtocol, cut

UNTRAINED = {
    "hold-last": p.HoldLast(),
    "damped-velocity": p.DampedVelocity(),
    "history-mean": p.HistoryMean(),
    "velocity-as-published": p.Velocity(unwrap=False),
    "velocity": p.Velocity(),
    "linear-regression-as-published": p.LinearRegression(unwrap=False),
    "linear-regression": p.LinearRegression(),
}


def predictors(train: str, history: int, future: int) -> dict:
    from netllm_gym.agents.learned.viewport_agents import GRU

    found = dict(UNTRAINED)
    found["ridge"] = Ridge().fit(train, history, future)
    found["linear-l1"] = LinearL1().fit(train, history, future)
    found["gru"] = GRU()
    found["gru"].fit(train, history, 30)
    return found


def table(suffix: str = "/as-published") -> None:
    rows: dict[str, list[str]] = {}
    for name, setting in SETTINGS.items():
        protocol = setting.protocol
        windows = cut(tuple(traces.load(setting.traces + suffix, "test")), protocol)
        for agent, predictor in predictors("viewport/jin2022" + suffix, protocol.history, protocol.future).items():
            figures = score(predictor.predict(windows.history_deg, protocol.future), windows)
            rows.setdefault(agent, []).append(f"{figures['mae_published_deg']}")
            print(
                f"{name:8s} {agent:32s} {figures['mae_published_deg']} skill {figures['skill']:+.3f}",
                flush=True,
            )
    print("| agent | " + " | ".join(SETTINGS) + " |\n|---|" + "---|" * len(SETTINGS))
    for agent, cells in rows.items():
        print(f"| {agent} | " + " | ".join(cells) + " |")


def compare(*agents: str) -> None:
    """Play agents on the four settings and compare them, window by window, with hold-last and the GRU."""
    from netllm_gym.envs.viewport.metrics import interval
    from netllm_gym.evaluation import evaluate, load_setting

    for name in SETTINGS:
        setting = load_setting("viewport", name, "paper")
        frame = evaluate(agents=["viewport/gru", *agents], setting=setting, progress=False).frame
        if frame["failed"].any():
            raise SystemExit(frame.loc[frame["failed"], ["agent", "reason"]].drop_duplicates().to_string())
        # An episode's mean counts for each of its windows, so that the figures are the published protocol's.
        steps = frame.pivot(index="episode", columns="agent", values="steps")
        errors = frame.pivot(index="episode", columns="agent", values="mae_published_deg")
        viewer = np.repeat(np.arange(len(errors)), steps["viewport/hold-last"])
        for agent in dict.fromkeys(frame["agent"]):
            if agent == "viewport/oracle":
                continue
            cells = [interval(errors[agent].to_numpy()[viewer], viewer)]
            for other in ("viewport/hold-last", "viewport/gru"):
                cells.append(interval((errors[agent] - errors[other]).to_numpy()[viewer], viewer))
            print(f"{name:8s} {agent:24s} {cells[0]} | - hold-last {cells[1]} | - gru {cells[2]}", flush=True)


def motion() -> None:
    """Error by how far the head went, on the test windows of the first and third setting."""
    from netllm_gym.agents.learned.viewport_agents import GRU
    from netllm_gym.envs.viewport.metrics import by_motion

    train = "viewport/jin2022/as-published"
    found = {key: UNTRAINED[key] for key in ("hold-last", "damped-velocity", "linear-regression")}
    found["linear-l1"], found["gru"] = LinearL1().fit(train, 10, 20), GRU()
    found["gru"].fit(train, 10, 30)
    for name in ("default", "unseen2"):
        windows = cut(tuple(traces.load(SETTINGS[name].traces + "/as-published", "test")), SETTINGS[name].protocol)
        for agent, predictor in found.items():
            bins = by_motion(predictor.predict(windows.history_deg, 20), windows)
            print(name, agent, {k: {m: round(v, 2) for m, v in b.items()} for k, b in bins.items()}, flush=True)


def gru(reading: str) -> None:
    """Train the GRU that the package ships for one reading (canonical, published) and write its weights."""
    from netllm_gym.agents.learned import viewport_networks as networks
    from netllm_gym.agents.learned.viewport_agents import GRU, ZOO

    (ZOO / reading).with_suffix(".safetensors").unlink(missing_ok=True)
    agent = GRU()
    agent.report = lambda epoch, error: print(f"epoch {epoch + 1}: {error:.3f}° on valid", flush=True)
    agent.fit("viewport/jin2022" + ("/as-published" if reading == "published" else ""), 10, 30)
    networks.ship(ZOO / reading, agent._network)


def llm(out: str, minutes: str = "7") -> None:
    """Train the language model that the package ships, on the training part of Jin2022, and save it in `out`."""
    from netllm_gym.agents.llm import storage
    from netllm_gym.agents.llm.config import LLMConfig
    from netllm_gym.agents.llm.trainer import train
    from netllm_gym.datasets.viewport_windows import window_experience

    name = "viewport/jin2022/as-published"
    data = window_experience(name, "train", stride=3, spacing=15, turns=2, future=30)
    valid = window_experience(name, "valid", future=30)
    valid.episodes = valid.episodes[::2]
    config = LLMConfig(
        objective="regression", regression_loss="absolute", layers=3, lora_rank=8, warmup=20, steps=2000, eval_every=80,
        patience=99,
    )  # fmt: skip
    storage.save(train(config, data, valid, out=f"{out}-run", minutes=float(minutes), progress=print), out)


def canonical() -> None:
    for name in ("default", "unseen2"):
        setting = SETTINGS[name]
        windows = cut(tuple(traces.load(setting.traces, "test")), setting.protocol)
        for agent, predictor in predictors("viewport/jin2022", 10, 20).items():
            f = score(predictor.predict(windows.history_deg, 20), windows, view=TileView())
            tiles = " ".join(f"{key} {f[key].mean:.3f}" for key in ("hit_rate", "tile_iou", "full_cover"))
            print(f"{name} {agent:32s} great circle {f['great_circle_deg']} {tiles}", flush=True)


def speed() -> None:
    windows = cut(tuple(traces.load("viewport/synthetic", "train")), WindowProtocol(stride=1)).history_deg
    history = np.resize(windows, (200_000, 10, 3))
    for name, predictor in UNTRAINED.items():
        predictor.predict(history, 20)
        best = min(_timed(lambda predictor=predictor: predictor.predict(history, 20)) for _ in range(3))
        print(f"{name:32s} {len(history) / best / 1e6:.2f} M windows/s")
    few = history[:20]
    refit = _timed(lambda: [_refit(h, 20) for h in few]) / len(few)
    print(f"refit after every step (numpy least squares): {1 / refit:.0f} windows/s")
    env = gym.make("netllm_gym/ViewportStreaming-v0").unwrapped
    actions = np.random.default_rng(0).integers(1, env.action_space.nvec.max(), (4000, 64))
    for trace in range(len(env.traces)):
        env.reset(seed=0, options={"trace": trace})
    begin, steps = time.perf_counter(), 0
    for episode in range(32):
        env.reset(seed=episode)
        over = False
        while not over:
            _, _, over, _, _ = env.step(actions[steps])
            steps += 1
    print(f"streaming: {steps / (time.perf_counter() - begin):.0f} chunk steps/s on 8 × 8 tiles")


def _timed(work) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _refit(history: np.ndarray, future: int) -> np.ndarray:
    """NetLLM's way: fit, predict one step, append it, fit again, for each angle."""
    out = []
    for angle in history.T:
        seen = list(angle)
        for _ in range(future):
            window = np.array(seen[-len(history) :])
            slope, intercept = np.polyfit(np.arange(len(window)), window, 1)
            seen.append(slope * len(window) + intercept)
        out.append(seen[-future:])
    return np.array(out).T


def _episodes(env, agent, count: int) -> dict[str, float]:
    totals: dict[str, list[float]] = {}
    errors = []
    for trace in range(count):
        observation, info = env.reset(
            seed=trace, options={"trace": trace % len(env.traces), "network": trace % len(env.networks)}
        )
        agent.reset(EnvInfo.of(env, trace, agent.privileged))
        over, sums = (
            False,
            {"qoe": 0.0, "quality": 0.0, "stall_s": 0.0, "spatial": 0.0, "change": 0.0, "wasted_bytes": 0.0},
        )
        while not over:
            if hasattr(agent, "angles") and not agent.privileged:
                from netllm_gym.traces.head_geometry import great_circle_deg

                expected = agent.angles(observation, info)
                first = env.chunk * 5
                truth = env.trace.angles_deg[first : first + len(expected)]
                errors.append(float(great_circle_deg(expected[: len(truth)], truth).mean()))
            observation, reward, over, _, info = env.step(agent.act(observation, info))
            sums["qoe"] += reward
            for key in sums:
                if key != "qoe":
                    sums[key] += info[key]
        for key, value in sums.items():
            totals.setdefault(key, []).append(value / env.chunks)
    figures = {key: float(np.mean(values)) for key, values in totals.items()}
    figures["qoe_se"] = float(np.std(totals["qoe"]) / np.sqrt(count))
    return figures | ({"error_deg": float(np.mean(errors))} if errors else {"error_deg": 0.0})


def stream(out: Path, head: str = "viewport/jin2022", count: int = 126) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    out.mkdir(parents=True, exist_ok=True)
    env = gym.make("netllm_gym/ViewportStreaming-v0", traces=head).unwrapped
    agents = {"whole sphere": make_agent("streaming/whole-sphere")}
    for name in (
        "linear-regression",
        "velocity",
        "history-mean",
        "hold-last",
        "damped-velocity",
        "linear-l1",
    ):
        agents[name] = make_agent("streaming/predictive", predictor=f"viewport/{name}")
    agents["oracle"] = make_agent("streaming/oracle")
    found = {}
    for name, agent in agents.items():
        found[name] = _episodes(env, agent, count)
        print(name, {k: round(v, 4) for k, v in found[name].items()}, flush=True)
    targets = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
    curves: dict[str, list[float]] = {}
    for target in targets:
        for name, predictor in (("hold-last", "viewport/hold-last"), ("oracle", None)):
            agent = (
                make_agent("streaming/predictive", predictor=predictor) if predictor else make_agent("streaming/oracle")
            )
            env = gym.make("netllm_gym/ViewportStreaming-v0", traces=head, buffer_target_s=target).unwrapped
            curves.setdefault(name, []).append(_episodes(env, agent, count)["qoe"])
        print(target, {k: round(v[-1], 4) for k, v in curves.items()}, flush=True)
    (out / "streaming.json").write_text(json.dumps({"agents": found, "targets": targets, "curves": curves}, indent=1))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, f in found.items():
        if name == "whole sphere":
            left.axhline(f["qoe"], color="0.6", linestyle=":", label="whole sphere (no prediction)")
        else:
            left.errorbar(f["error_deg"], f["qoe"], 2 * f["qoe_se"], fmt="o")
            left.annotate(name, (f["error_deg"], f["qoe"]), xytext=(4, 4), textcoords="offset points", fontsize=8)
    left.set(xlabel="error of the predicted view (great circle, °)", ylabel="QoE per chunk")
    left.legend(fontsize=8)
    for name, values in curves.items():
        right.plot(targets, values, marker="o", label=name)
    right.set(xlabel="buffer target (s)", ylabel="QoE per chunk")
    right.legend()
    figure.savefig(out / "streaming_qoe.png", dpi=110)
    _gif(out / "streaming.gif", head)


def _gif(path: Path, head: str) -> None:
    from PIL import Image

    env = gym.make(
        "netllm_gym/ViewportStreaming-v0",
        traces=head,
        action_mode="view",
        max_chunks=24,
        render_mode="rgb_array",
    ).unwrapped
    env.reset(seed=0, options={"trace": 5})
    frames, over = [], False
    while not over:
        action = {"motion_deg": np.zeros(env.action_space["motion_deg"].shape, np.float32), "level": 3}
        _, _, over, _, _ = env.step(action)
        frames.append(Image.fromarray(env.render()).resize((384, 192)).quantize(32))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=400, loop=0)


if __name__ == "__main__":
    command = sys.argv[1] if len(sys.argv) > 1 else "speed"
    if command == "stream":
        stream(Path(sys.argv[2]))
    else:
        commands = {"table": table, "compare": compare, "motion": motion, "gru": gru, "llm": llm}
        {**commands, "canonical": canonical, "speed": speed}[command](*sys.argv[2:])
