"""Files made to hurt: refused in one line, before anything large is stored, in time that grows with their size."""

from __future__ import annotations

import gzip
import io
import pickle
import random
import struct
import tarfile
import zipfile

import numpy as np
import pytest

from netllm_gym import traces
from netllm_gym.arrays import load_arrays, read_array, read_arrays, save_arrays
from netllm_gym.errors import CheckpointError, DamagedError, DownloadError, NetLLMGymError, TraceFormatError
from netllm_gym.traces.fetch import Source, fetch_files
from netllm_gym.traces.head.readers import read_head_csv
from netllm_gym.traces.jobs.readers.tpch import _load_dict, read_profile
from netllm_gym.traces.video.mpd import read_mpd
from netllm_gym.traces.video.tiles import read_tile_table

DURATIONS = {0: {"fresh_durations": {2: [5.0]}, "first_wave": {2: [5.0, 7.0]}, "rest_wave": {2: [3.0]}}}


def profile(content=DURATIONS) -> tuple[bytes, bytes]:
    adjacency, durations = io.BytesIO(), io.BytesIO()
    np.save(adjacency, np.zeros((1, 1)))
    np.save(durations, np.array(content, dtype=object), allow_pickle=True)
    return adjacency.getvalue(), durations.getvalue()


def test_a_profile_is_read_without_numpy_unpickling_it() -> None:
    job = read_profile(*profile(), "q", "f")
    assert job.stages[0].tasks == 3 and job.stages[0].first == {2: [0.007]}
    scalars = {0: {k: {np.int64(2): [np.float64(5.0)]} for k in DURATIONS[0]}}
    assert read_profile(*profile(scalars), "q", "f").stages[0].rest == {2: [0.005]}


def test_a_pickle_that_would_run_is_refused() -> None:
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    with pytest.raises(TraceFormatError, match="not allowed"):
        _load_dict(profile({0: Evil()})[1], "f")


def test_mutated_profiles_never_hurt_the_interpreter() -> None:
    rng = random.Random(3)
    adjacency, good = profile()
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(rng.randint(1, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            read_profile(adjacency, bytes(data), "q", "f")
        except TraceFormatError as error:
            assert "\n" not in str(error)


def test_lists_that_are_shared_a_million_times_are_counted_before_they_are_copied() -> None:
    samples = [1.0] * 3000
    shared = {k: dict.fromkeys(range(3000), samples) for k in DURATIONS[0]}
    with pytest.raises(TraceFormatError, match="samples"):
        read_profile(*profile({0: shared}), "q", "f")


HEAD = (
    '<MPD mediaPresentationDuration="PT100H"><Period><AdaptationSet mimeType="video/mp4">'
    "<SegmentTemplate><SegmentTimeline>"
)
TAIL = '</SegmentTimeline></SegmentTemplate><Representation bandwidth="9"/></AdaptationSet></Period></MPD>'


@pytest.mark.parametrize(
    "entries",
    ['<S d="1" r="999998"/>' + '<S d="1" r="-1"/>' * 1000, '<S d="1" r="1e308"/>', '<S d="1e308"/>', '<S d="inf"/>',
     '<S d="1e-300" r="-1"/>', '<S d="1" r="199999"/>' * 30],
)  # fmt: skip
def test_manifests_have_a_bounded_number_of_chunks(entries) -> None:
    with pytest.raises(TraceFormatError) as caught:
        read_mpd((HEAD + entries + TAIL).encode(), "m")
    assert "\n" not in str(caught.value)
    assert read_mpd((HEAD + '<S d="1" r="199998"/>' + TAIL).encode(), "m").chunks == 199_999


def archive(tmp_path, monkeypatch, data: bytes):
    monkeypatch.setenv("NETLLM_GYM_MIRROR", tmp_path.as_uri())
    (tmp_path / "a" / "b").mkdir(parents=True, exist_ok=True)
    (tmp_path / "a" / "b" / "c.tar.gz").write_bytes(gzip.compress(data, 1))
    return Source("a/b", "c")


def tar(entries, **kwargs) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **kwargs) as file:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_each_flavour_are_read(tmp_path, monkeypatch, format) -> None:
    name = "b-c/" + "x" * 60 + "/" + "y" * 60 + ".txt"
    source = archive(tmp_path, monkeypatch, tar({name: b"one", "b-c/z.bin": b"2" * 700}, format=format))
    assert fetch_files(source, ["*"]) == {name[4:]: b"one", "z.bin": b"2" * 700}


def test_an_extended_header_of_any_size_is_not_stored(tmp_path, monkeypatch) -> None:
    header = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT))
    header[156:157] = b"x"
    header[124:136] = b"%011o\0" % (1536 * 2**20)
    source = archive(tmp_path, monkeypatch, bytes(header) + b"\0" * 10_000)
    with pytest.raises(DownloadError, match="more than any archive"):
        fetch_files(source, ["*"])
    for data in (b"", b"junk" * 300, bytes(header)[:300], tar({"b/x": b"1" * 5000})[:2000]):
        with pytest.raises(DownloadError):
            fetch_files(archive(tmp_path, monkeypatch, data), ["*"])


def test_a_table_that_unpacks_to_a_gigabyte_is_refused_by_its_headers(tmp_path) -> None:
    path = tmp_path / "t.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("v1.npy", "w") as member:
        member.write(b"\x93NUMPY\x01\x00")
        text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (16777216, 1, 1), }"
        member.write(struct.pack("<H", 118) + text.ljust(117) + b"\n")
        for _ in range(129):
            member.write(bytes(2**20))
    with pytest.raises(TraceFormatError, match="too large"):
        read_tile_table(path)


@pytest.mark.parametrize(
    "shape", ["(4611686018427387904, 2)", "(-1,)", "(10**9,)", "(2,)", "(True,)", "'x'", "(1," * 60]
)
def test_headers_of_arrays_are_checked(shape) -> None:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", 310) + text.ljust(309) + b"\n" + bytes(8)
    with pytest.raises(TraceFormatError):
        read_array(data, "a")


def test_every_flipped_bit_of_a_stored_file_is_found(tmp_path) -> None:
    path = tmp_path / "s.npz"
    save_arrays(path, a=np.arange(40.0), b=np.array(["x", "yy"]))
    good = path.read_bytes()
    assert load_arrays(path, "fetch again")["a"][3] == 3.0
    for place in range(len(good)):
        data = bytearray(good)
        data[place] ^= 1 << place % 8
        path.write_bytes(bytes(data))
        with pytest.raises(DamagedError, match=r"damaged.*fetch again"):
            load_arrays(path, "fetch again")
    for cut in range(0, len(good), 7):
        path.write_bytes(good[:cut])
        with pytest.raises(DamagedError, match="fetch again"):
            load_arrays(path, "fetch again")


def test_mutated_archives_of_arrays_are_refused_or_read(tmp_path) -> None:
    path = tmp_path / "m.npz"
    np.savez_compressed(path, grid=np.array([8, 8]), chunk_s=1.0, ladder_mbps=np.array([1, 5]), v1=np.ones((3, 2, 64)))
    good = path.read_bytes()
    rng = random.Random(1)
    for _ in range(1500):
        data = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            read_arrays(io.BytesIO(bytes(data)), "m")
        except TraceFormatError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "log", ["0,1,2,3\n1e308,1,2,3\n", "-1e308,1,2,3\n1e308,1,2,3\n", "0,1e308,2,3\n", "0,1,2,1e300\n1,1,2,3\n"]
)
def test_absurd_numbers_in_a_head_log(log) -> None:
    with pytest.raises(TraceFormatError):
        read_head_csv(log.encode(), "u", "v")


def gguf(keys=(), tensors=()) -> bytes:
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for name, kind, value in keys:
        out += struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + value
    for name, shape, kind, offset in tensors:
        out += (
            struct.pack("<Q", len(name)) + name + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        )
        out += struct.pack("<IQ", kind, offset)
    return out


ALIGN = b"general.alignment"
TEXT = struct.pack("<Q", 2) + b"32"


@pytest.mark.parametrize(
    "data",
    [
        gguf([(ALIGN, 4, struct.pack("<I", 0))]),
        gguf([(ALIGN, 8, TEXT)]),
        gguf([(b"a", 9, struct.pack("<IQ", 9, 1) * 2000)]),
        gguf([(b"a", 9, struct.pack("<IQ", 4, 2**63))]),
        gguf([(b"a", 8, struct.pack("<Q", 2**63))]),
        gguf([(b"a", 99, b"")]),
        b"GGUF" + struct.pack("<IQQ", 3, 2**63, 2**63),
        gguf(tensors=[(b"t", (2**63, 2**63), 0, 0)]),
        gguf(tensors=[(b"t", (4,), 0, 2**64 - 1)]),
        gguf(tensors=[(b"t", (5,), 3, 0)]),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q", 1) + b"t" + struct.pack("<I", 2**31),
    ],
)
def test_language_model_files_are_measured_before_they_are_read(tmp_path, data) -> None:
    from netllm_gym.agents.llm.gguf import GGUF

    (tmp_path / "m.gguf").write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        GGUF(tmp_path / "m.gguf").tensor("t")
    assert isinstance(caught.value, NetLLMGymError) and "\n" not in str(caught.value)


def test_pickles_are_never_loaded_from_arrays(tmp_path) -> None:
    np.savez(tmp_path / "o.npz", a=np.array([{}], dtype=object))
    with pytest.raises(TraceFormatError, match="numbers or text"):
        read_arrays(tmp_path / "o.npz", "o")
    assert pickle  # what this test is about


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("header", "row", "column", "said"),
    [
        ("time,qw,qx,qy,qz", (0, 0.7, 0.7, 0, 0), 1, "a row without a whole sample"),
        ("time,x,y,z", (0, 0, 0, 1), 1, "a row without a whole sample"),
        (
            f"time,{','.join(f'm{i}{j}' for i in '012' for j in '012')}",
            (0, 1, 0, 0, 0, 1, 0, 0, 0, 1),
            1,
            "whole sample",
        ),
        ("time,x,y,z,qx,qy,qz,qw", (0, 1, 1.7, 0, 0, 0, 0, 1), 2, ""),  # where the head stands is left out
        ("start_ms,duration_ms,bytes", (0, 100, 10000), 2, ""),  # one download is left out, and that is noted
        (
            "M1,10,j_1,1,Terminated,100,200,100,0.5",
            ("M", 10, "j", 1, "Terminated", 1, 2, 100, 0.5),
            1,
            "needs instances",
        ),
    ],
)
def test_numbers_that_overflow_are_no_warning_and_no_value(tmp_path, header, row, column, said) -> None:
    rows = [list(row) for _ in range(60)]
    for i, cells in enumerate(rows):
        cells[0] = f"M{i + 2}" if row[0] == "M" else i * 100 if "_ms" in header else i / 10
        cells[column] = 1e308 if i == 30 else cells[column]
    path = tmp_path / "log.csv"
    path.write_text("\n".join([header, *(",".join(map(str, cells)) for cells in rows)]) + "\n")
    if said:
        with pytest.raises(TraceFormatError, match=rf"log\.csv:32: .*{said}"):
            traces.load(path)
        return
    [trace] = traces.load(path)
    values = trace.angles_deg[trace.valid] if hasattr(trace, "angles_deg") else trace.throughput_mbps
    assert len(values) > 20 and np.isfinite(values).all()


def test_a_job_that_comes_after_centuries_is_refused(tmp_path) -> None:
    (tmp_path / "jobs.csv").write_text("job_id,submit_time,duration,num_gpus\n1,1e300,10,1\n2,0,4,1\n")
    with pytest.raises(TraceFormatError, match=r"jobs\.csv: a job that comes 1e\+29\d s after the first"):
        traces.load(tmp_path / "jobs.csv")


def test_what_is_wrong_with_one_job_names_its_file(tmp_path) -> None:
    (tmp_path / "tasks.csv").write_text("job_id,task_id,runtime_s,parents\n1,a,3,b\n1,b,4,a\n")
    with pytest.raises(TraceFormatError, match=r"tasks\.csv: job '1': the stages depend on each other in a cycle"):
        traces.load(tmp_path / "tasks.csv")
