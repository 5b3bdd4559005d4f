"""Workflow graphs in the files of other tools: Pegasus' DAX, GraphML, Graphviz' DOT and the Standard Task Graph set.

| file | tasks | run time | dependencies |
|---|---|---|---|
| DAX | ``<job id="ID1" name="map" runtime="13.4"/>`` | ``runtime``, s | ``<child ref="ID2"><parent ref="ID1"/>`` |
| GraphML | ``<node id="a"><data key="d0">13.4</data>`` | a key called runtime, duration, … | ``<edge source target>`` |
| DOT | ``a [runtime=13.4];`` | an attribute of such a name | ``a -> b -> {c d};`` |
| node-link | ``{"nodes": [{"id": "a", "runtime": 9}]`` | a value of such a name | ``"links": [{"source", "target"}]`` |
| SAGA | ``{"task_graph": {"tasks": [{"name": "a", "cost": 9}]`` | cost | ``"dependencies": [{"source", "target"}]`` |
| STG | ``3 7 2 1 2`` | the second number | after their count |
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.jobs.readers.wfcommons import LONGEST_S, MAX_EDGES, MAX_NAME, MAX_TASKS, job_of
from netllm_gym.traces.jobs.workload import JobTemplate
from netllm_gym.traces.jsontext import number, read_json
from netllm_gym.traces.moments import is_number
from netllm_gym.traces.text import decode
from netllm_gym.traces.xmltext import read_xml

MAX_BYTES = 64 * 2**20
MAX_GRAPHS = 20_000
UNDIRECTED = "an undirected graph says nothing of what waits for what"
Tasks = dict[str, tuple[str, list[str], float]]
_RUNTIME = re.compile(
    r"(run_?time|duration|execution_?time|exec_?time|processing_?time|cost|weight|size|work|time|length)"
    r"(_?(in_?)?(s|sec|seconds|ms))?", re.I
)  # fmt: skip


def guess_graph(text: str) -> str | None:
    """Return ``dax``, ``graphml``, ``dot`` or ``stg`` by how a file begins, or ``None``."""
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith("<"):
        head = start[:20_000]
        return "dax" if re.search(r"<(\w+:)?adag[\s>]", head) else "graphml" if "<graphml" in head else None
    if start[:1] in ("{", "["):
        head = start[:60_000]
        if '"task_graph"' in head and re.search(r'"dependencies"\s*:', text[:2_000_000]):
            return "node-link"  # SAGA's
        tasks = '"tasks"' in head and not re.search(r'"(jobs|parents?|dep\w*|child\w*|predecessors?)"\s*:', head)
        joined = re.search(r'"(links|edges|adjacency)"\s*:', text[:2_000_000])
        return "node-link" if joined and (tasks or '"nodes"' in head) else None
    if re.match(r"(//[^\n]*\n|#[^\n]*\n|/\*.*?\*/|\s)*(strict\s+)?digraph\b", start[:20_000], re.S):
        return "dot"
    rows = [line.split() for line in start.splitlines()[:4] if line.strip()]
    if len(rows) < 4 or len(rows[0]) != 1 or not all(x.isdigit() and len(x) < 10 for row in rows for x in row):
        return None
    entry = all(len(row) >= 3 and len(row) == 3 + int(row[2]) and int(row[0]) == i for i, row in enumerate(rows[1:4]))
    return "stg" if entry else None


def read_graphs(data: bytes, source: str, kind: str, used: set[str] | None = None) -> list[JobTemplate]:
    """Return each graph of a file as a job.

    Args:
        data: content of the file.
        source: its name.
        kind: ``dax``, ``dot``, ``graphml``, ``node-link`` or ``stg``.
        used: takes the names that run times were read from.

    Raises:
        TraceFormatError: not such a file, a task without a run time, an unknown task, or a cycle.
    """
    if len(data) > MAX_BYTES:
        raise TraceFormatError(source, f"larger than {MAX_BYTES // 2**20} MiB")
    text = decode(data, source)
    readers = {"node-link": _node_links, "graphml": _graphmls, "dot": _dots}
    used = set() if used is None else used
    graphs = readers[kind](text, source, used) if kind in readers else [(_dax if kind == "dax" else _stg)(text, source)]
    if not graphs or not all(graphs):
        raise TraceFormatError(source, "no task in this graph")
    if len(graphs) > MAX_GRAPHS:
        raise TraceFormatError(source, f"more than {MAX_GRAPHS} graphs")
    names = [source] if len(graphs) == 1 else [f"{source}#{i}" for i in range(1, len(graphs) + 1)]
    return [job_of(tasks, source=name) for name, tasks in zip(names, graphs, strict=True)]


def _no_run_time(task: str, source: str) -> TraceFormatError:
    return TraceFormatError(source, f"task {task[:40]!r} has no run time: give every task one (runtime, duration, …)")


def _seconds(text: str | None, task: str, source: str, scale: float = 1.0) -> float:
    text = (text or "").strip()
    if not text:
        raise _no_run_time(task, source)
    seconds = float(text) * scale if is_number(text) else -1.0
    if not 0 <= seconds <= LONGEST_S:
        raise TraceFormatError(source, f"task {task[:40]!r} cannot run for {text[:40]!r} s")
    return seconds


def _add(tasks: Tasks, key: str, program: str, seconds: float, source: str) -> None:
    if not 0 < len(key) <= MAX_NAME or len(program) > MAX_NAME:
        raise TraceFormatError(source, f"a task's name has 1 to {MAX_NAME} characters")
    if key in tasks:
        raise TraceFormatError(source, f"two tasks are called {key[:40]!r}")
    if len(tasks) >= MAX_TASKS:
        raise TraceFormatError(source, f"more than {MAX_TASKS} tasks")
    tasks[key] = (re.sub(r"[\d_]+$", "", program) or program, [], seconds)


def _join(tasks: Tasks, pairs: list[tuple[str, str]], source: str) -> Tasks:
    if len(pairs) > MAX_EDGES:
        raise TraceFormatError(source, f"more than {MAX_EDGES} dependencies")
    for parent, child in dict.fromkeys(pairs):
        for key in (parent, child):
            if key not in tasks:
                raise TraceFormatError(source, f"a dependency names the task {key[:40]!r}, which is not there")
        tasks[child][1].append(parent)
    return tasks


def _dax(text: str, source: str) -> Tasks:
    root = read_xml(text, source)
    tasks: Tasks = {}
    for job in root.findall("job"):
        key = job.get("id") or ""
        given = job.get("runtime") or next(
            (p.text for p in job.findall("profile") if (p.get("key") or "").lower() == "runtime"), None
        )
        _add(tasks, key, job.get("name") or key, _seconds(given, key, source), source)
    pairs = [
        (parent.get("ref") or "", child.get("ref") or "")
        for child in root.findall("child")
        for parent in child.findall("parent")
    ]
    return _join(tasks, pairs, source)


def _graphmls(text: str, source: str, used: set[str]) -> list[Tasks]:
    root = read_xml(text, source)
    declared = [k for k in root.findall("key") if k.get("for") in (None, "node", "all")]
    names = {k.get("id") or "": k.get("attr.name") or k.get("id") or "" for k in declared}
    usual = {k.get("id") or "": default.text or "" for k in declared if (default := k.find("default")) is not None}
    keys = [k for k, n in names.items() if _RUNTIME.fullmatch(n)]
    keys.sort(key=lambda k: not names[k].lower().startswith(("run", "dur", "exec")))
    if not keys:
        shown = ", ".join(repr(n[:30]) for n in list(names.values())[:8]) or "none"
        raise TraceFormatError(source, f"no key of the nodes is a run time (runtime, duration, …); there are: {shown}")
    used.add(names[keys[0]])
    scale = 1e-3 if names[keys[0]].lower().endswith("ms") else 1.0
    graphs = root.findall("graph")
    if any(graph.get("edgedefault") == "undirected" for graph in graphs):
        raise TraceFormatError(source, UNDIRECTED)
    found = []
    for graph in graphs:
        tasks: Tasks = {}
        for node in graph.findall("node"):
            key = node.get("id") or ""
            data = usual | {d.get("key") or "": d.text or "" for d in node.findall("data")}
            label = next(
                (data[k] for k, n in names.items() if n.lower() in ("name", "label", "program") and k in data), key
            )
            _add(tasks, key, label.strip() or key, _seconds(data.get(keys[0]), key, source, scale), source)
        pairs = [(edge.get("source") or "", edge.get("target") or "") for edge in graph.findall("edge")]
        found.append(_join(tasks, pairs, source))
    return found


def _node_links(text: str, source: str, used: set[str]) -> list[Tasks]:
    """Return the graph of a document, or those of a list of graphs, bare or under a key of their own."""
    document = read_json(text, source, MAX_BYTES)
    lists = [document, *document.values()] if isinstance(document, dict) and "nodes" not in document else [document]
    for listed in lists:
        if isinstance(listed, list) and listed and all(isinstance(x, dict) and "nodes" in x for x in listed):
            return [_node_link(graph, source, used) for graph in listed]
    return [_node_link(document, source, used)]


def _node_link(document: Any, source: str, used: set[str]) -> Tasks:
    if not isinstance(document, dict):
        raise TraceFormatError(source, "a node-link graph is an object")
    if document.get("directed") is False:
        raise TraceFormatError(source, UNDIRECTED)
    if isinstance(document.get("elements"), dict):  # Cytoscape wraps everything
        document = {
            k: [x.get("data") if isinstance(x, dict) else x for x in v] if isinstance(v, list) else v
            for k, v in document["elements"].items()
        }
    nodes = document.get("nodes", document.get("tasks"))
    links = document.get("links", document.get("edges"))
    if isinstance(nodes, list) and isinstance(document.get("adjacency"), list):
        links = [
            {"source": node.get("id"), "target": child.get("id")}
            for node, children in zip(nodes, document["adjacency"], strict=False)
            for child in (children if isinstance(children, list) else [])
            if isinstance(node, dict) and isinstance(child, dict)
        ]
    if isinstance(document.get("task_graph"), dict):  # SAGA: beside it stands a network with nodes of its own
        nodes, links = (document["task_graph"].get(k) for k in ("tasks", "dependencies"))
    if not isinstance(nodes, list) or not isinstance(links, list):
        raise TraceFormatError(source, "a node-link graph has lists of nodes and of links")
    tasks: Tasks = {}
    for node in nodes:
        key = str(node.get("id", node.get("name", "")))[: MAX_NAME + 1] if isinstance(node, dict) else ""
        named = sorted(k for k in node if _RUNTIME.fullmatch(k)) if key else []
        named.sort(key=lambda k: not k.lower().startswith(("run", "dur", "exec")))
        if not named:
            raise _no_run_time(key, source)
        used.add(named[0])
        seconds = number(node[named[0]], f"the run time of task {key[:40]!r}", source)
        seconds *= 1e-3 if named[0].lower().endswith("ms") else 1.0
        if not 0 <= seconds <= LONGEST_S:
            raise TraceFormatError(source, f"task {key[:40]!r} cannot run for {seconds:g} s")
        program = next((str(node[k])[:MAX_NAME] for k in ("program", "type", "name", "label") if node.get(k)), key)
        _add(tasks, key, program, seconds, source)
    links = [
        dict(zip(("source", "target"), link, strict=True)) if isinstance(link, list) and len(link) == 2 else link
        for link in links
    ]
    if not all(isinstance(link, dict) for link in links):
        raise TraceFormatError(source, "a link is an object with a source and a target")
    ends = (("source", "from", "src", "parent"), ("target", "to", "dst", "child"))
    pairs = []
    for link in links:
        parent, child = (next((link[k] for k in names if k in link), None) for names in ends)
        pairs.append((str(parent)[:MAX_NAME], str(child)[:MAX_NAME]))
    return _join(tasks, pairs, source)


_TOKEN = re.compile(
    r"""\s+|//[^\n]*|\#[^\n]*|/\*.*?\*/|(?P<text>"(?:[^"\\]|\\.)*"|[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff.]*|"""
    r"""-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)|(?P<mark>->|--|[\[\]{};,=:])""",
    re.S,
)


def _tokens(text: str, source: str) -> list[tuple[str, bool, int]]:
    out: list[tuple[str, bool, int]] = []
    at = 0
    line = 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.end() == at:
            raise TraceFormatError(source, f"{text[at : at + 20]!r} is no DOT", line)
        if match["text"] is not None:
            quoted = match["text"].startswith('"')
            out.append((match["text"][1:-1].replace('\\"', '"') if quoted else match["text"], True, line))
        elif match["mark"] is not None:
            out.append((match["mark"], False, line))
        line += match[0].count("\n")
        at = match.end()
    return out


def _dots(text: str, source: str, used: set[str]) -> list[Tasks]:
    """Return the graphs of a file, one below another."""
    tokens = _tokens(text, source)
    found, begin, depth = [], 0, 0
    for at, (word, is_text, _) in enumerate(tokens):
        depth += (word == "{") - (word == "}") if not is_text else 0
        if depth == 0 and word == "}" and not is_text:
            found.append(tokens[begin : at + 1])
            begin = at + 1
    if len(found) < 2 or begin < len(tokens):
        return [_dot(tokens, source, used)]
    return [_dot(graph, source, used) for graph in found]


def _dot(tokens: list[tuple[str, bool, int]], source: str, used: set[str]) -> Tasks:
    attributes: dict[str, dict[str, str]] = {}
    pairs: list[tuple[str, str]] = []
    defaults: dict[str, str] = {}
    at = next((i for i, t in enumerate(tokens) if t[0] == "{"), len(tokens)) + 1
    chain: list[list[str]] = []  # groups of nodes joined by arrows
    group: list[str] | None = None  # inside { }
    arrow = False

    def finish(own: dict[str, str]) -> None:
        nonlocal arrow
        for left, right in pairwise(chain):
            pairs.extend((a, b) for a in left for b in right)
            if len(pairs) > MAX_EDGES:
                raise TraceFormatError(source, f"more than {MAX_EDGES} dependencies")
        if len(chain) == 1:
            for name in chain[0]:
                attributes.setdefault(name, dict(defaults)).update(own)
        for names in chain:
            for name in names:
                attributes.setdefault(name, dict(defaults))
        chain.clear()
        arrow = False

    while at < len(tokens):
        word, is_text, line = tokens[at]
        following = tokens[at + 1][0] if at + 1 < len(tokens) and not tokens[at + 1][1] else ""
        if not is_text and word == "[":
            end = next((i for i in range(at, len(tokens)) if tokens[i][0] == "]" and not tokens[i][1]), len(tokens))
            inside = [t for t in tokens[at + 1 : end] if t[1] or t[0] == "="]
            own = {
                inside[i][0].lower(): inside[i + 2][0]
                for i in range(len(inside) - 2)
                if inside[i + 1][0] == "=" and not inside[i + 1][1]
            }
            if chain == [["node"]]:
                defaults.update(own)
                chain.clear()
            elif chain in ([["edge"]], [["graph"]]):
                chain.clear()
            else:
                finish(own)
            at = end + 1
            continue
        if not is_text and word == "->":
            arrow = True
        elif not is_text and word == "--":
            raise TraceFormatError(source, UNDIRECTED, line)
        elif not is_text and word == "{" and arrow:
            group = []
        elif not is_text and word == "}" and group is not None:
            chain.append(group)
            group, arrow = None, False
        elif not is_text and word == ":":
            at += 1  # a port
        elif not is_text and word in ";{}":
            if group is None:
                finish({})
        elif is_text and following == "=" and group is None:
            finish({})
            at += 2  # an attribute of the graph
        elif is_text and word == "subgraph":
            finish({})
            at += 1 if following != "{" else 0
        elif is_text and group is not None:
            group.append(word)
        elif is_text:
            if not arrow:
                finish({})
            chain.append([word])
            arrow = False
        at += 1
    finish({})
    tasks: Tasks = {}
    for name, own in attributes.items():
        named = sorted(k for k in own if _RUNTIME.fullmatch(k))
        key = next((k for k in named if k.startswith(("run", "dur", "exec"))), named[0] if named else "")
        used |= {key} if key else set()
        scale = 1e-3 if key.endswith("ms") else 1.0
        program = own.get("program") or own.get("name") or own.get("label") or name
        _add(
            tasks,
            name,
            program if len(program) <= MAX_NAME else name,
            _seconds(own.get(key), name, source, scale),
            source,
        )
    return _join(tasks, pairs, source)


def _stg(text: str, source: str) -> Tasks:
    tasks: Tasks = {}
    pairs: list[tuple[str, str]] = []
    for at, line in enumerate(text.splitlines(), start=1):
        fields = line.split("#", 1)[0].split()
        if not fields or (len(fields) == 1 and not tasks):
            continue
        if not all(x.isdigit() and len(x) < 10 for x in fields) or len(fields) < 3 or len(fields) != 3 + int(fields[2]):
            raise TraceFormatError(source, "expected a task, its time, the number of its predecessors and those", at)
        _add(tasks, fields[0], "task", _seconds(fields[1], fields[0], source), source)
        pairs += [(parent, fields[0]) for parent in fields[3:]]
    return _join(tasks, pairs, source)
