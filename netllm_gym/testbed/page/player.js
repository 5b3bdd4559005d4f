// The browser's player: dash.js asks the policy server for each segment, or decides by one of its own rules.
// The page's address says all: ?content=…&policy=…&rule=policy|throughput|bola|dynamic|l2a|lolp&buffer=SECONDS
"use strict";

const given = new URLSearchParams(location.search);
const contentUrl = given.get("content");
const policyUrl = given.get("policy");
const ruleName = given.get("rule") || "policy";
const video = document.getElementById("video");
const outcome = { done: false, reason: "", record: null, segments: [], stalls: 0, buffer: [] };
window.outcome = outcome;

let facts = null;
let player = null;
let zero = null; // first segment's request, in the page's clock (ms)
let begun = null; // first picture
let reported = 0; // seconds of stall already told
let arrived = 0; // segments that have come whole
let pending = null; // the last one, not yet told
const answers = new Map(); // segment -> level, so that each is asked for once
let decisionSeconds = 0;

performance.setResourceTimingBufferSize(100000);

const now = () => performance.now();
const since = (moment) => (moment - zero) / 1000;

function stalled(moment) {
  // What the clock shows more than what was played; playback runs at speed 1.
  return begun === null ? 0 : Math.max((moment - begun) / 1000 - video.currentTime, 0);
}

function takeStall(moment) {
  const total = Math.max(stalled(moment), reported);
  const fresh = total - reported;
  reported = total;
  return fresh;
}

function bufferAhead() {
  return Math.max(arrived * facts.chunk_s - video.currentTime, 0);
}

function post(what, body) {
  // Synchronous, as in Pensieve's player: a slow decision delays its request. Video goes on playing meanwhile.
  const request = new XMLHttpRequest();
  request.open("POST", `${policyUrl}/${what}`, false);
  request.setRequestHeader("Content-Type", "text/plain");
  request.send(JSON.stringify(body));
  if (request.status !== 200) {
    let reason = `policy server: status ${request.status}`;
    try { reason = JSON.parse(request.responseText).reason || reason; } catch (error) { /* keep the status */ }
    throw new Error(reason);
  }
  return request.responseText;
}

function closeBooks(moment) {
  // The last segment is told when the next is asked for: only then is it known how long the player paused.
  if (pending === null) return null;
  const closed = { ...pending, sleep_s: Math.max(since(moment) - pending.asked_s - pending.delay_s, 0),
                 buffer_s: bufferAhead(), wall_s: Math.max(since(moment), 0) };
  pending = null;
  outcome.segments.push(closed);
  return closed;
}

function decide(chunk) {
  if (answers.has(chunk)) return answers.get(chunk);
  const begin = now();
  const last = closeBooks(begin);
  let level = 0; // the lowest, when nobody answers
  if (!outcome.reason) {
    try {
      const answer = JSON.parse(post("decide", { chunk, buffer_s: bufferAhead(), last }));
      level = answer.level;
    } catch (error) {
      outcome.reason = error.message.startsWith("Failed") ? "policy server: NetworkError" : error.message;
    }
  }
  decisionSeconds = ruleName === "policy" ? (now() - begin) / 1000 : 0;
  answers.set(chunk, level);
  return level;
}

function PolicyRuleClass() {
  const SwitchRequest = dashjs.FactoryMaker.getClassFactoryByName("SwitchRequest");
  const context = this.context;
  return {
    getClassName: () => "PolicyRule",
    reset: () => {},
    getSwitchRequest: (rules) => {
      const request = SwitchRequest(context).create();
      request.rule = "PolicyRule";
      if (arrived === 0 || arrived >= facts.chunks) return request;
      const level = decide(arrived);
      if (level === null) return request;
      const choices = rules.getAbrController().getPossibleVoRepresentations(rules.getMediaInfo(), true);
      request.representation = choices.find((choice) => choice.id === String(level));
      request.priority = SwitchRequest.PRIORITY.STRONG;
      return request;
    },
  };
}
PolicyRuleClass.__dashjs_factory_name = "PolicyRule";

function onLoading(event) {
  const request = event.request;
  if (request.mediaType !== "video" || request.type !== "MediaSegment") return;
  if (zero === null) zero = now();
  // A browser's own rule decides without the policy server, which keeps the books all the same.
  if (ruleName !== "policy" && arrived > 0) decide(arrived);
}

function onLoaded(event) {
  const request = event.request;
  if (request.mediaType !== "video" || request.type !== "MediaSegment") return;
  const moment = now();
  if (!event.response || event.error) {
    outcome.reason = outcome.reason || "content server: a segment failed";
    return;
  }
  const timings = performance.getEntriesByName(request.url).filter((entry) => entry.responseEnd > 0);
  const timing = timings[timings.length - 1];
  const asked = timing ? timing.startTime : request.startDate - performance.timeOrigin;
  const first = timing && timing.responseStart ? timing.responseStart : request.firstByteDate - performance.timeOrigin;
  const end = timing ? timing.responseEnd : moment;
  pending = {
    chunk: request.index, level: Number(request.representation.id), size: event.response.byteLength,
    asked_s: Math.max(since(asked), 0), delay_s: Math.max((end - asked) / 1000, 1e-6),
    first_byte_s: Math.max((first - asked) / 1000, 0), decision_s: decisionSeconds,
    stall_s: takeStall(moment), startup_s: arrived === 0 ? Math.max(since(end), 0) : 0,
  };
  arrived = request.index + 1;
  decisionSeconds = 0;
  if (arrived === facts.chunks) finish();
}

function finish() {
  if (outcome.done) return;
  const moment = now();
  const last = closeBooks(moment);
  const shown = video.getVideoPlaybackQuality();
  const estimate = player.getAverageThroughput("video");
  const extra = {
    startup_s: begun === null ? since(moment) : since(begun),
    dropped_frames: shown.droppedVideoFrames,
    stalls: outcome.stalls,
    player_kbps: Number.isFinite(estimate) ? estimate : 0,
  };
  // After a failure the server is told everything once more: an agent may have failed on a server that lives.
  const failed = outcome.reason !== "";
  try {
    outcome.record = post("finish", failed ? { segments: outcome.segments, reason: outcome.reason, extra } : { last, extra });
  } catch (error) {
    outcome.reason = outcome.reason || error.message;
  }
  outcome.done = true;
}

function settings() {
  const off = { active: false };
  const on = { active: true };
  const rules = {
    throughputRule: off, bolaRule: off, insufficientBufferRule: off, switchHistoryRule: off, droppedFramesRule: off,
    l2ARule: off, loLPRule: off, abandonRequestsRule: ruleName === "policy" ? off : on,
  };
  const guards = { insufficientBufferRule: on, switchHistoryRule: on };
  const own = {
    throughput: { throughputRule: on, ...guards },
    bola: { bolaRule: on, ...guards },
    dynamic: { throughputRule: on, bolaRule: on, ...guards },
    l2a: { l2ARule: on },
    lolp: { loLPRule: on },
  };
  Object.assign(rules, own[ruleName] || {});
  const streaming = {
    abr: { rules, limitBitrateByPortal: false, initialBitrate: { video: 1 }, autoSwitchBitrate: { video: true } },
    lastBitrateCachingInfo: { enabled: false },
    lastMediaSettingsCachingInfo: { enabled: false },
    fragmentRequestTimeout: 0, // an outage may last as long as it likes
    buffer: { fastSwitchEnabled: false },
    retryAttempts: { MediaSegment: 0 },
  };
  // For our agents the simulator's cap; dash.js's own rules keep its own targets unless another is asked for.
  const target = ruleName === "policy" ? facts.buffer_cap_s : Number(given.get("buffer"));
  if (target > 0) {
    Object.assign(streaming.buffer, {
      bufferTimeDefault: target, bufferTimeAtTopQuality: target, bufferTimeAtTopQualityLongForm: target,
    });
  }
  return { debug: { logLevel: 0 }, streaming };
}

function draw() {
  if (zero !== null && facts !== null) {
    outcome.buffer.push([since(now()), bufferAhead(), video.currentTime]);
    const pen = document.getElementById("plot").getContext("2d");
    const { width, height } = pen.canvas;
    const span = Math.max(since(now()), 20);
    const top = Math.max(...outcome.buffer.map((point) => point[1]), 10);
    pen.clearRect(0, 0, width, height);
    pen.strokeStyle = "#1f77b4"; pen.lineWidth = 3; pen.beginPath();
    for (const [at, level] of outcome.buffer) pen.lineTo(at / span * width, height - level / top * (height - 10));
    pen.stroke();
    const last = outcome.segments[outcome.segments.length - 1];
    document.getElementById("line").textContent =
      `${ruleName}: buffer ${bufferAhead().toFixed(1)} s, segment ${arrived} of ${facts.chunks}` +
      (last ? `, level ${last.level}, ${(last.size * 8e-6 / last.delay_s).toFixed(2)} Mbit/s` : "");
  }
  setTimeout(draw, 500);
}

async function start() {
  facts = await (await fetch(`${policyUrl}/begin`, { method: "POST", body: "{}" })).json();
  if (facts.reason) throw new Error(facts.reason);
  player = dashjs.MediaPlayer().create();
  player.updateSettings(settings());
  if (ruleName === "policy") {
    player.addABRCustomRule("qualitySwitchRules", "PolicyRule", dashjs.FactoryMaker.getClassFactory(PolicyRuleClass));
  }
  const events = dashjs.MediaPlayer.events;
  player.on(events.FRAGMENT_LOADING_STARTED, onLoading);
  player.on(events.FRAGMENT_LOADING_COMPLETED, onLoaded);
  player.on(events.FRAGMENT_LOADING_ABANDONED, () => { outcome.abandoned = (outcome.abandoned || 0) + 1; });
  player.on(events.ERROR, (event) => { outcome.reason = outcome.reason || `player: ${event.error && event.error.message}`; });
  video.addEventListener("playing", () => { if (begun === null) begun = now() - video.currentTime * 1000; });
  video.addEventListener("waiting", () => { if (begun !== null) outcome.stalls += 1; });
  player.initialize(video, `${contentUrl}/manifest.mpd`, true);
  draw();
}

start().catch((error) => { outcome.reason = `player: ${error.message}`; outcome.done = true; });
