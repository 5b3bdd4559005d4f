"use strict";
// Sorting, hiding agents, and the episode player. Without this script the page still says everything.
(() => {
  const $ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const hidden = new Set();

  // Sort: a click on a heading orders the rows by the cells' data-value, once more turns the order round.
  for (const table of $("table.sortable")) {
    $("thead th", table).forEach((head, column) => {
      const button = document.createElement("button");
      button.textContent = head.textContent;
      button.title = "sort";
      head.textContent = "";
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        $("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const value = (row) => {
          const text = row.children[column].dataset.value ?? row.children[column].textContent;
          return text === "" ? NaN : Number.isNaN(Number(text)) ? text : Number(text);
        };
        const body = table.tBodies[0];
        const rows = [...body.rows].map((row) => [value(row), row]);
        const missing = ([key]) => typeof key === "number" && Number.isNaN(key);
        rows.sort(([a], [b]) => {
          if (missing([a]) || missing([b])) return missing([a]) - missing([b]);
          const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
          return up ? order : -order;
        });
        body.append(...rows.map(([, row]) => row));
      });
    });
  }

  // Hide: a box per agent; the table's rows and everything drawn of the agent follow.
  for (const box of $("#agents input")) {
    box.addEventListener("change", () => {
      const number = box.value;
      box.checked ? hidden.delete(number) : hidden.add(number);
      $(`[data-agent="${number}"]`).forEach((node) => node.classList.toggle("off", !box.checked));
      draw();
    });
  }

  // Details are opened for printing: nothing may be missing on paper.
  window.addEventListener("beforeprint", () => $("details").forEach((node) => { node.open = true; }));

  // The player: one episode, step by step, agent beside agent.
  const place = document.getElementById("player");
  const source = document.getElementById("episodes");
  if (!place || !source) return;
  place.hidden = false;
  const data = JSON.parse(source.textContent);
  const NS = "http://www.w3.org/2000/svg";
  const choice = place.querySelector("select");
  const slider = place.querySelector("input[type=range]");
  const play = place.querySelector("button");
  const stage = place.querySelector(".stage");
  const values = place.querySelector(".values");
  let timer = 0;
  data.examples.forEach((example, number) => choice.add(new Option(example.label, number)));

  function node(kind, attributes, parent, text) {
    const made = document.createElementNS(NS, kind);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  }

  const show = (value) => String(Number(value.toPrecision(Math.abs(value) >= 100 ? 6 : 3))).replace("-", "−");

  function ticks(low, high, count) {
    const raw = (high - low) / count || 1;
    const unit = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((factor) => factor * unit).find((size) => size >= raw);
    const found = [];
    for (let at = Math.ceil(low / step) * step; at <= high + 1e-9; at += step) found.push(at);
    return found;
  }

  function path(points, x, y, stepped) {
    return points.map(([a, b], i) => {
      if (!i) return `M${x(a)},${y(b)}`;
      return stepped ? `V${y(b)}H${x(a)}` : `L${x(a)},${y(b)}`;
    }).join("");
  }

  function draw() {
    const example = data.examples[Number(choice.value) || 0];
    const width = Math.max(stage.clientWidth, 280);
    const left = 46, right = 8, top = 22, gap = 28, bottom = 40;
    const panels = example.panels.filter((panel) => !panel.agent || !hidden.has(String(panel.agent)));
    const each = panels.length > 2 ? 96 : 150;
    const height = top + panels.length * (each + gap) + bottom;
    const now = example.end * slider.value / slider.max;
    stage.textContent = "";
    const svg = node("svg", {
      viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": example.label,
    }, stage);
    const x = (value) => left + (width - left - right) * value / example.end;
    const clip = node("clipPath", { id: "past" }, svg);
    node("rect", { x: 0, y: 0, width: x(now), height }, clip);
    panels.forEach((panel, number) => {
      const from = top + number * (each + gap);
      const visible = panel.lines.filter((line) => line.agent === undefined || !hidden.has(String(line.agent)));
      const all = visible.flatMap((line) => line.points.map((point) => point[1]));
      const low = panel.bars ? -0.5 : Math.min(0, ...all);
      const high = panel.bars ? panel.rows - 0.5 : Math.max(...all, low + 1e-6) * 1.04;
      const y = (value) => from + each - each * (value - low) / (high - low);
      node("text", { x: left, y: from - 5, class: "title" }, svg, panel.title);
      for (const at of ticks(low, high, 3)) {
        node("line", { x1: left, x2: width - right, y1: y(at), y2: y(at), class: "grid" }, svg);
        node("text", { x: left - 5, y: y(at) + 4, "text-anchor": "end" }, svg, show(at));
      }
      for (const [faded, extra] of [[true, { opacity: 0.22 }], [false, { "clip-path": "url(#past)" }]]) {
        const group = node("g", extra, svg);
        for (const line of visible) {
          const flat = path(line.points, x, y, line.stepped);
          if (line.agent === undefined) {
            const points = line.points, last = points[points.length - 1][0];
            node("path", { d: `${flat}V${y(low)}H${x(points[0][0])}Z`, class: "area" }, group);
            continue;
          }
          const agent = data.agents[line.agent];
          node("path", {
            d: flat, fill: "none", stroke: agent.colour, "stroke-width": 2, "stroke-dasharray": agent.dash,
          }, group);
          if (!faded || now >= example.end) for (const [at] of line.stalls ?? []) {
            node("path", { d: `M${x(at) - 4},${y(low) - 4}l8,8m0,-8l-8,8`, stroke: agent.colour, "stroke-width": 2 }, group);
          }
        }
        for (const [row, start, end, job] of panel.bars ?? []) {
          node("rect", {
            x: x(start), y: y(row + 0.5), width: Math.max(x(end) - x(start), 0.4), height: y(row - 0.5) - y(row + 0.5),
            fill: data.colours[job % data.colours.length],
          }, group);
        }
      }
    });
    for (const at of ticks(0, example.end, Math.max(3, Math.floor(width / 110)))) {
      node("text", { x: x(at), y: height - bottom + 8, "text-anchor": "middle" }, svg, show(at));
    }
    node("text", { x: (left + width) / 2, y: height - 6, "text-anchor": "middle" }, svg, data.axis);
    node("line", { x1: x(now), x2: x(now), y1: top - 4, y2: height - bottom - 4, class: "cursor" }, svg);
    values.textContent = "";
    for (const [key, agent] of Object.entries(data.agents)) {
      if (hidden.has(key)) continue;
      const item = document.createElement("li");
      item.style.borderColor = agent.colour;
      const told = panels.flatMap((panel) => panel.lines.filter((line) => String(line.agent) === key).map((line) => {
        const past = line.points.filter(([at]) => at <= now + 1e-9);
        return past.length ? `${panel.title} ${show(past[past.length - 1][1])}` : "";
      })).filter(Boolean);
      item.textContent = [agent.name, ...told, `whole episode: ${example.worth[key]}`].join(" · ");
      values.append(item);
    }
  }

  function stop() {
    cancelAnimationFrame(timer);
    timer = 0;
    play.textContent = "▶ play";
  }

  play.addEventListener("click", () => {
    if (timer) return stop();
    if (Number(slider.value) >= Number(slider.max)) slider.value = 0;
    play.textContent = "❚❚ pause";
    const begin = performance.now(), from = Number(slider.value);
    const frame = (time) => {
      slider.value = from + (time - begin) / 8000 * slider.max;
      draw();
      if (Number(slider.value) >= Number(slider.max)) return stop();
      timer = requestAnimationFrame(frame);
    };
    timer = requestAnimationFrame(frame);
  });
  slider.addEventListener("input", () => { stop(); draw(); });
  choice.addEventListener("change", () => { stop(); draw(); });
  window.addEventListener("resize", draw);
  draw();
})();
