"""Published weights: read byte by byte, refused in a line when something is wrong, replayed to the digit."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile

import numpy as np
import pytest

from netllm_gym import evaluate, make_agent, traces, zoo
from netllm_gym.agents.museum import exhibit
from netllm_gym.agents.museum.abr import EXHIBITS, PublishedABR, layers, tensorflow_shapes
from netllm_gym.agents.museum.archive import Exhibit, read
from netllm_gym.agents.museum.bundle import read_bundle
from netllm_gym.errors import CheckpointError, ConfigError, DownloadError
from netllm_gym.evaluation import load_setting
from netllm_gym.traces.fetch import Source, content_digest


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def message(*fields):
    """A protocol buffer of (number, int or bytes)."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def block(entries):
    """A block of a string table, keys sharing their prefixes."""
    out, before = b"", b""
    for key, value in entries:
        shared = next(
            (i for i, (a, b) in enumerate(zip(before, key, strict=False)) if a != b), min(len(before), len(key))
        )
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return out + struct.pack("<II", 0, 1)


def bundle(tensors, **odd):
    """Write (index, data) of a checkpoint; `odd` replaces a field of the last tensor's entry."""
    data, entries = b"", [(b"", message((1, 1)))]
    for name, value in tensors.items():
        dims = b"".join(message((2, message((1, size)))) for size in value.shape)
        fields = {"dtype": (1, 1), "shape": (2, dims), "offset": (4, len(data)), "size": (5, value.nbytes)}
        if name == list(tensors)[-1]:
            fields |= odd
        entries.append((name.encode(), message(*fields.values()) + b"\x35" + b"\0" * 4))
        data += value.astype("<f4").tobytes()
    first = block(entries)
    where = varint(0) + varint(len(first))
    second = block([(b"zzz", where)])
    index = first + b"\0" * 5 + second + b"\0" * 5
    handle = varint(0) + varint(0) + varint(len(first) + 5) + varint(len(second))
    return index + handle.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57), data


@pytest.fixture
def tensors():
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in tensorflow_shapes(6, 3).items()}


def test_a_checkpoint_comes_back_bit_for_bit(tensors):
    found = read_bundle(*bundle(tensors))
    assert list(found) == list(tensors)
    for name, value in tensors.items():
        np.testing.assert_array_equal(found[name], value)


def test_damaged_checkpoints_are_refused_in_a_line(tensors):
    small = {"a/W": np.ones((2, 3), np.float32), "b": np.ones(4, np.float32)}
    index, data = bundle(small)
    for end in range(len(index)):
        with pytest.raises(CheckpointError):
            read_bundle(index[:end], data)
    for end in range(len(data)):
        with pytest.raises(CheckpointError, match="reaches beyond"):
            read_bundle(index, data[:end])
    rng = np.random.default_rng(1)
    for _ in range(3000):  # every outcome is the tensors or one line
        broken = bytearray(index)
        for place in rng.integers(0, len(broken), rng.integers(1, 4)):
            broken[place] = rng.integers(256)
        try:
            read_bundle(bytes(broken), data)
        except CheckpointError as error:
            assert "\n" not in str(error)


def test_oversized_tensors_are_refused_before_they_are_made():
    small = {"b": np.ones(4, np.float32)}
    huge = message((2, message((1, 1 << 30))), (2, message((1, 1 << 30))))
    for odd, told in (
        ({"size": (5, 1 << 60)}, "does not fit"),
        ({"shape": (2, huge)}, "does not fit"),
        ({"shape": (2, huge), "size": (5, 1 << 62)}, "reaches beyond"),
        ({"offset": (4, 1 << 62)}, "reaches beyond"),
        ({"shape": (2, message((2, message((1, 1 << 63)))))}, "a shape that no tensor"),
        ({"shape": (2, message(*[(2, message((1, 1)))] * 70))}, "a shape that no tensor"),
        ({"dtype": (1, 7)}, "no tensor of float32"),
        ({"dtype": (1, 1), "shard": (3, 5)}, "another file"),
    ):
        with pytest.raises(CheckpointError, match=told):
            read_bundle(*bundle(small, **odd))


def test_torch_files_run_nothing(tmp_path):
    pytest.importorskip("torch")

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    for data in (pickle.dumps(Evil()), b"", b"PK\x03\x04 no zip", pickle.dumps({"a": 1})):
        with pytest.raises(CheckpointError, match=r"x\.pth: not a"):
            read({"x.pth": data})
    assert not (tmp_path / "ran").exists()
    with pytest.raises(CheckpointError, match="one index and one file of data, got 1 and 0"):
        read({"x.index": b""})


def archive(root, source, files):
    folder = root / source.repository
    folder.mkdir(parents=True)
    with tarfile.open(folder / f"{source.commit}.tar.gz", "w:gz") as out:
        for path, data in files.items():
            member = tarfile.TarInfo(f"repo-x/{path}")
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))


def test_weights_are_verified_kept_and_fetched_again_when_the_cache_is_damaged(tmp_path, monkeypatch, tensors):
    monkeypatch.setenv("NETLLM_GYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NETLLM_GYM_MIRROR", (tmp_path / "mirror").as_uri())
    index, data = bundle(tensors)
    files = {"m/x.ckpt.index": index, "m/x.ckpt.data-00000-of-00001": data}
    source = Source("somebody/weights", "0" * 40)
    archive(tmp_path / "mirror", source, files)
    shapes = tensorflow_shapes(6, 3)
    with pytest.raises(DownloadError, match="digest mismatch"):
        Exhibit(source, "m/x.ckpt", "1" * 64, shapes).tensors()
    good = Exhibit(source, "m/x.ckpt", content_digest(files), shapes)
    first = good.tensors()
    (kept,) = (tmp_path / "cache" / "museum").iterdir()
    for damaged in (b"", kept.read_bytes()[:1000], b"x" * 100):
        kept.write_bytes(damaged)
        for name, value in good.tensors().items():
            np.testing.assert_array_equal(value, first[name])
    (tmp_path / "mirror" / "somebody" / "weights" / f"{'0' * 40}.tar.gz").unlink()
    assert set(good.tensors()) == set(shapes), "the cache is enough"
    name = next(iter(shapes))
    with pytest.raises(CheckpointError, match="the network wants"):
        Exhibit(source, "m/x.ckpt", "", {name: (7, 7)}).check(first)
    with pytest.raises(CheckpointError, match="no tensor other"):
        Exhibit(source, "m/x.ckpt", "", {"other": (1,)}).check(first)
    with pytest.raises(CheckpointError, match="not finite"):
        Exhibit(source, "m/x.ckpt", "", {name: shapes[name]}).check({name: first[name] * np.nan})


def test_the_live_tap_of_the_kernels(tensors):
    """A kernel of four over one step, padded alike on both sides as far as it goes: one before, two after."""
    kernel = tensors["actor/Conv1D/W"]
    row = np.random.default_rng(3).normal(size=6).astype(np.float32)
    padded = np.zeros((4, 6), np.float32)
    padded[1] = row
    expected = np.einsum("ti,tio->o", padded, kernel[:, 0])
    np.testing.assert_allclose(row @ layers(tensors)["throughput"][0], expected, rtol=1e-5)


def test_names():
    assert exhibit("abr/genet-as-published") is EXHIBITS["genet"]
    assert exhibit("cluster/decima-as-published-greedy") is not None
    assert exhibit("abr/mpc-as-published") is None and exhibit("abr/bba") is None and exhibit("abr/genet") is None


@pytest.fixture(scope="module")
def mirror():
    if not os.environ.get("NETLLM_GYM_MIRROR", "").startswith("file://"):
        pytest.skip("no local mirror of the published weights (set NETLLM_GYM_MIRROR=file://…)")


@pytest.mark.realdata
def test_genet_and_pensieve_replay_to_the_digit(mirror, fcc_hsdpa):
    """Genet's greedy mean over NetLLM's 100 traces is an independent replay's; the others' first replay is ours."""
    agents = ["abr/genet-as-published", "abr/pensieve-as-published", "abr/udr-real-as-published"]
    setting = load_setting("abr", "as-published", "paper")
    means = evaluate(agents=agents, setting=setting, progress=False).frame.groupby("agent")["qoe"].mean()
    assert means["abr/genet-as-published"] == pytest.approx(0.827490959530295, abs=1e-6)
    assert means["abr/pensieve-as-published"] == pytest.approx(1.014, abs=1e-3)
    assert means["abr/udr-real-as-published"] == pytest.approx(0.938, abs=1e-3)


@pytest.mark.realdata
@pytest.mark.llm
def test_ppo_has_trained_on_every_test_recording_of_the_default_split(mirror, fcc_hsdpa):
    from netllm_gym.reproduce.overlap import overlap

    pytest.importorskip("torch")
    assert isinstance(make_agent("abr/ppo-as-published"), PublishedABR)
    found = overlap("abr/ppo-as-published", load_setting("abr", "default", "paper"))
    assert (found.shared, found.of) == (58, 58)
    assert overlap("abr/ppo-as-published", load_setting("abr", "unseen1", "paper")).shared == 0
    assert overlap("abr/genet-as-published", load_setting("abr", "default", "paper")) is None


@pytest.mark.realdata
@pytest.mark.llm
def test_decima_schedules_as_well_as_published(mirror):
    """39.0 and 50.3 s on the first two published sequences, in another simulator with other draws."""
    pytest.importorskip("torch")
    setting = load_setting("cluster", "as-published", "paper")
    setting.bring(lambda line: None)
    frame = evaluate(agents=["cluster/decima-as-published"], setting=setting, episodes=1, progress=False).frame
    own = frame[frame["agent"] == "cluster/decima-as-published"]["mean_jct_s"]
    assert own.mean() == pytest.approx(39.0, rel=0.05)


@pytest.mark.realdata
def test_other_ladders_and_environments_are_refused(mirror):
    agent = make_agent("abr/genet-as-published")
    import gymnasium as gym

    from netllm_gym import EnvInfo

    env = gym.make("netllm_gym/ViewportPrediction-v0", traces="viewport/synthetic", split="test")
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="chooses among 6 levels"):
        agent.reset(EnvInfo.of(env))


@pytest.mark.parametrize("agent", sorted({entry.agent for entry in zoo.entries()}))
def test_what_a_shipped_agent_learnt_from_is_a_set_of_the_catalog(agent: str) -> None:
    from netllm_gym.reproduce.overlap import training_sets

    found = [name for one in training_sets(agent) for name in one.sources()]
    assert found
    assert set(found) <= set(traces.names())


def test_the_generalist_learnt_from_the_part_of_families_that_no_test_shares():
    from netllm_gym.reproduce.overlap import training_sets

    names = [one.name for one in training_sets("any/generalist")]
    assert {"viewport/jin2022", "cluster/tpch"} <= set(names)
    assert not any(name.startswith("abr/") for name in names)
    assert any(name.startswith("all public families, less") for name in names)
