"""Mutations of whole files: of bytes, of tokens that formats care about, of lines and of JSON values."""

from __future__ import annotations

import json
import random
import re
from typing import Any

TOKENS = [
    b"0", b"-1", b"1e308", b"1e309", b"-1e308", b"nan", b"inf", b"-inf", b"9" * 30, b"9" * 500,
    b"1e-320", b"0x1f", b"1_0",
    b",", b";", b"\t", b" ", b"\n", b"\r\n", b'"', b"'", b"\0", b"\xff", b"\xef\xbb\xbf", b"[", b"]", b"{", b"}",
    b"[" * 400,    b"null", b"true", b"#", b"%", b"//", b"time", b"yaw", b"x", b"w", b"qx", b"user", b"throughput_mbps",
    b"2020-01-01T00:00:00Z",
    b"99:99:99", b"2020-13-41", b"<S d='1'/>", b"&#x0;", b"<!--", b"PT1S", b"r='-1'", b"1.5 Mbits/sec", b"\xc3\xa9",
    b"\xe2\x80\xa8",
    b"\x0b", b"\x85", b"1" * 20, b"18446744073709551615", b"-9223372036854775808", b"2147483648", b"4294967295",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 1e308, -1e308, 10**30, 10**400, "", "x", "nan", "9" * 400, [], {}, [[]], [{}],
    {"": []}, 0.5, [1] * 30, "\0", "é", 2**63, -(2**63), [None] * 3,
]  # fmt: skip
TOML = [
    b"{}", b"[]", b"[[]]", b"{ x = 1 }", b"{ train = -1, valid = 1e308, test = 0 }", b"[1, 2]", b'["", "x"]', b'""',
    b"1", b"-1", b"0.0", b"nan", b"inf", b"true", b"9223372036854775807", b"1" * 400,
    b"1979-05-27T07:32:00Z", b"[1.5, -1]", b'"../../x"',
]  # fmt: skip
_LINE = re.compile(rb"^([^=\n]+) = (.+)$|(?<=[{,] )(\w+) = ([^,}\n]+)", re.M)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


def mutated(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Return `data` after one to six mutations, at most 64 KiB long."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        out = _once(out, rng, others)
    return bytes(out[:65_536])


def _once(data: bytearray, rng: random.Random, others: list[bytes]) -> bytearray:
    if not data:
        return bytearray(rng.choice(TOKENS))
    at = rng.randrange(len(data))
    match rng.randrange(13):
        case 0:
            data[at] = rng.randrange(256)
        case 1:
            data[at] ^= 1 << rng.randrange(8)
        case 2:
            del data[at : at + rng.choice((1, 2, 8, 64, 1024))]
        case 3:
            data[at:at] = rng.choice(TOKENS)
        case 4:  # a number becomes another
            found = list(_NUMBER.finditer(data))
            if found:
                chosen = rng.choice(found)
                data[chosen.start() : chosen.end()] = rng.choice(TOKENS)
        case 5:  # a piece again
            end = at + rng.choice((1, 4, 32, 256))
            data[at:at] = data[at:end] * rng.choice((1, 2, 20))
        case 6:
            del data[at:]
        case 7:  # the end of another file
            other = rng.choice(others)
            data[at:] = other[rng.randrange(len(other) + 1) :]
        case 8 | 9:  # lines and cells change places
            lines = bytes(data).split(b"\n")
            if rng.random() < 0.5:
                rng.shuffle(lines)
            else:
                i = rng.randrange(len(lines))
                cells = lines[i].split(b",")
                match rng.randrange(4):
                    case 0:
                        rng.shuffle(cells)
                    case 1:
                        cells.append(rng.choice(TOKENS))
                    case 2:
                        cells.pop()
                    case _:
                        cells[rng.randrange(len(cells))] = rng.choice(TOKENS)
                lines[i] = b",".join(cells)
            return bytearray(b"\n".join(lines))
        case 10 | 11:
            return _json(data, rng)
        case _:  # a binary number becomes another
            width = rng.choice((1, 2, 4, 8))
            data[at : at + width] = rng.choice((0, 1, 2**31, 2**63, 2**64 - 1, 0xFFFFFFFF)).to_bytes(8, "little")[
                :width
            ]
    return data


def _toml(data: bytearray, rng: random.Random) -> bytearray:
    found = list(_LINE.finditer(data))
    if not found:
        return data
    line = rng.choice(found)
    key, value = (1, 2) if line[1] else (3, 4)
    if rng.random() < 0.2:
        data[line.start() : line.end()] = b""
    elif rng.random() < 0.2:
        data[line.start(key) : line.end(key)] = rng.choice((b"x", b"kind", b"env", b"seed", b"settings", b'""'))
    else:
        other = rng.choice(found)
        data[line.start(value) : line.end(value)] = rng.choice((*TOML, other[2] or other[4]))
    return data


def _json(data: bytearray, rng: random.Random) -> bytearray:
    """Change one value, key or place of a JSON document, or the value of a TOML line; leave what is neither."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return _toml(data, rng)
    places: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting and len(places) < 500:
        node = waiting.pop()
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, key))
            waiting.append(node[key])
    if not places:
        return bytearray(json.dumps(rng.choice(VALUES)).encode())
    node, key = rng.choice(places)
    match rng.randrange(4):
        case 0:
            del node[key]
        case 1 if isinstance(node, dict):
            node[rng.choice(("", "x", "id", "time", "parents"))] = node.pop(key)
        case 2:
            node[key] = [node[key]] * rng.choice((0, 1, 2))
        case _:
            node[key] = rng.choice(VALUES)
    try:
        return bytearray(json.dumps(document).encode())
    except (ValueError, RecursionError):
        return data
