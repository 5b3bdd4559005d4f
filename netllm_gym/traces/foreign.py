"""Text files of tools that hold no trace as they are: what they are, and what to do."""

from __future__ import annotations

import re

from netllm_gym.errors import TraceFormatError
from netllm_gym.traces.video.readers import BEGINS

_TASKS = "give its tasks with run times, as WfCommons instances, GraphML, node-link JSON or a table with parents"
_UNROLLED = "write a table job_id,task_id,runtime_s,parents"
_FIELDS = "tshark -r FILE -T fields -E header=y -E separator=, -e frame.time_epoch -e ip.src -e frame.len"
_ROWS = "a table with a row a job: job_id,submit_s,runtime_s,num_cpus"
# How a file begins -> what it is and the remedy.
_KNOWN = (
    (BEGINS, "the manifest of a video, not a trace: play it with the argument video=FILE, and see its levels with "
     "netllm-gym traces info FILE"),
    (r"version https://git-lfs\.", "a pointer of Git LFS, not the file itself: fetch that with git lfs pull"),
    (r"(#![^\n]*\n)?(#[^\n]*\n|\s)*(sudo +)?tc +(qdisc|class) ",
     "a script for tc: write a table time_s,throughput_mbps of its rates"),
    (r"(\d\d:\d\d:\d\d|\d{9,10})\.\d{6} (IP6?|ARP) ", f"tcpdump's text: write the capture as a table: {_FIELDS}"),
    (r"[\s=|]*IO Statistics", f"tshark's statistics: write the packets as a table: {_FIELDS}"),
    (r"version \d+\s+run \S", "an OMNeT++ vector file: write a table of time_s,throughput_bps from its vector"),
    (r"Linux \S+ \(.*\)\s", "sar's text: write it as a table: sadf -d FILE -- -n DEV"),
    (r"(#[^\n]*\n\s*)*(x-pegasus|pegasus|cwlVersion)\s*:", f"a workflow's description without run times: {_TASKS}"),
    (r"(?i)(#[^\n]*\n\s*)*JOB\s+\S+\s+\S+[^{]*?\bPARENT\s", f"a description for DAGMan without run times: {_TASKS}"),
    (r"(#[^\n]*\n\s*)*@([A-Z_]+ \d+ *\{|HYPERPERIOD )",
     f"TGFF: how long its tasks run depends on the processor that its tables describe; {_UNROLLED}"),
    (r"[^\n]*\btrace_?id\b[^\n]*\brpc_?id\b[^\n]*\brt\b",
     f"calls of microservices, which last within their callers, not after them: {_UNROLLED}, without inner calls"),
    (r"HashOwner,HashApp,[^\n]*,1,2,3,", f"how often functions were called a minute, not for how long: write {_ROWS}"),
    (r"(?i)[^\n]*\b(context_?tokens|request.?tokens|input_?(length|tokens)|prompt_?tokens)\b",
     f"requests to a language model by their tokens; how long one runs depends on the machine: write {_ROWS}"),
    (r"# ninja log v\d", f"a build without what waits for what: {_UNROLLED} (ninja -t graph tells parents)"),
    (r"\d{1,18},\d?,\d{1,18},[0-8],[^,\n]{20,},[0-3],[^,\n]{20,},[^,\n]*\n",
     "Google's job events of 2011, which do not tell how many tasks a job has: read its task_events"),
    (r"\s*JOBID +PARTITION ", "squeue's list of jobs that run now: sacct -P writes those that ran"),
    (r"(#[^\n]*\n\s*)*((apiVersion|kind|name|on|jobs|stages|version|tasks) *:|---)[^\n]*\n(\s*[\w\"'-]+ *:|\s*- )",
     f"YAML, and none that a trace is written in: {_TASKS}"),
    (r"\s*JobID(Raw)? [^\n|,]*\n-{3,}[- ]*\n", "sacct's columns of fixed width, which cut names: use sacct -P"),
    (r"(Creator [^\n]*\n\s*)?graph\s*\[", f"GML: {_TASKS}"),
    (r"(<\?xml[^>]*>\s*)?<gexf", f"GEXF: {_TASKS}"),
    (r"\s*\{[^\[]{0,2000}\"traceEvents\"", "a timeline of events, and nothing in it tells what waits for what"),
    (r"\s*\{\s*\"log\"\s*:\s*\{", "a browser's archive of requests: write a table start_ms,duration_ms,bytes from it"),
)  # fmt: skip


def refuse_foreign(text: str, name: str) -> None:
    """Refuse the text of a tool whose files are known to hold no trace.

    Raises:
        TraceFormatError: it is such a file.
    """
    start = text.lstrip("\ufeff \t\r\n")[:20_000]
    for pattern, what in _KNOWN:
        if re.match(pattern, start):
            raise TraceFormatError(name, what, 1)
