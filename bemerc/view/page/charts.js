// The charts: uPlot with one time axis for all; strips of words, marks, faces and action units are painted in its hooks.

const chartsPlace = document.getElementById("charts");
const AXIS = 64;
const MARKS = {
  "micro-expression": ["c1", "diamond"], blink: ["c6", "bar"], "eyes shut": ["c6", "dash"], nod: ["c0", "down"], "head shake": ["c2", "side"], cut: ["c3", "full"],
};

class Charts {
  constructor(seek) {
    this.seek = seek;
    this.plots = [];
    this.heads = [];
  }

  open(dialogue) {
    for (const plot of this.plots) plot.destroy();
    chartsPlace.replaceChildren();
    this.plots = []; this.heads = []; this.wanted = [];
    this.dialogue = dialogue;
    this.shown = null;
    this.lanes = lanesOf(dialogue.utterances);
    this.range = [0, dialogue.duration_s];
    this.addZoom();
    this.add("Words", [], 8 + 38 * (1 + Math.max(...this.lanes)), { paint: (u) => this.paintWords(u) });
    this.add("Marks", this.markLegend(), 30, { paint: (u) => this.paintMarks(u) });
    if (dialogue.utterances.some((t) => t.choice && t.choice.faces > 1)) {
      this.add("Measured face", this.faceLegend(), 26, { paint: (u) => this.paintChoices(u) });
    }
    const units = Object.keys(dialogue.arrays).filter((name) => /^face\.AU\d+/.test(name));
    if (units.length) this.add("Action units, 0 to 5", [], 11 * units.length + 8, { paint: (u) => this.paintUnits(u, units) });
    this.addCurves("Head, degrees", "face", { pose_pitch_deg: "pitch (down +)", pose_yaw_deg: "yaw", pose_roll_deg: "roll" }, "deg");
    this.addCurves("Gaze, degrees", "face", { gaze_x_deg: "sideways", gaze_y_deg: "down" }, "deg");
    this.addCurves("Pitch, Hz", "audio", { pitch_hz: "pitch" }, "Hz", { points: true });
    this.addCurves("Loudness, dB", "audio", { energy_db: "loudness" }, "dB");
    this.addCurves("Body, degrees", "pose", { lean_deg: "lean", sway_deg: "sway", shoulder_tilt_deg: "shoulders" }, "deg");
    this.addCurves("Movement", "pose", { movement: "body", hands_movement: "hands" }, "");
    this.wanted.forEach((wanted, n) => this.build(wanted, n === this.wanted.length - 1));
    this.observer ??= new ResizeObserver(() => this.resize());
    this.observer.observe(chartsPlace);
    this.moveTo(0);
  }

  width() { return Math.max(240, chartsPlace.clientWidth); }
  resize() { for (const plot of this.plots) if (plot.width !== this.width()) plot.setSize({ width: this.width(), height: plot.height }); }

  addZoom() {
    const button = (text, label, keys, action) =>
      element("button", { type: "button", "aria-label": label, "aria-keyshortcuts": keys, onclick: action }, text);
    chartsPlace.append(element("div", { id: "zoom", role: "group", "aria-label": "Zoom" },
      button("+", "Zoom in", "+", () => this.zoom(0.5)), button("\u2212", "Zoom out", "-", () => this.zoom(2)),
      button("All", "Show the whole dialogue", "0", () => this.show(0, this.dialogue.duration_s)),
      element("span", { class: "faint" }, "Click to go there, drag to zoom in, double-click for all.")));
  }

  // The utterance that is shown: where others overlap it, curves and action units are its own.
  focus(turn) {
    const before = this.shown;
    this.shown = turn;
    if (![before, turn].some((one) => one !== null && overlaps(this.dialogue, one))) return;
    const [min, max] = this.range;
    for (const { plot, kind, names } of this.heads) {
      if (kind) plot.setData(this.rows(kind, names)); else plot.redraw(false);
      plot.setScale("x", { min, max });
    }
  }

  // A curve's rows of all utterances on one growing axis, with a gap between utterances. Of those that overlap, the one
  // that is shown, else the one that began first.
  rows(kind, names) {
    const times = this.dialogue.arrays[`${kind}.time`], columns = names.map((n) => this.dialogue.arrays[`${kind}.${n}`]);
    const { utterances } = this.dialogue, shown = utterances[this.shown];
    const inShown = (time) => shown !== undefined && shown.rows[kind] && shown.start_s <= time && time < shown.end_s;
    const picked = []; // [time, utterance, row]
    let reached = -Infinity;
    utterances.forEach((turn, number) => {
      const [first, count] = turn.rows[kind] || [0, 0], from = reached;
      for (let i = first; i < first + count; i++) {
        if (turn !== shown && (times[i] <= from || inShown(times[i]))) continue;
        picked.push([times[i], number, i]);
        if (turn !== shown) reached = Math.max(reached, times[i]);
      }
    });
    picked.sort((a, b) => a[0] - b[0]);
    const x = [], ys = names.map(() => []);
    picked.forEach(([time, number, row], at) => {
      if (at && time <= x.at(-1)) return;
      if (at && number !== picked[at - 1][1]) { x.push(x.at(-1) + 1e-6); ys.forEach((y) => y.push(null)); }
      x.push(time);
      ys.forEach((y, n) => y.push(columns[n][row]));
    });
    return [x, ...ys];
  }

  addCurves(title, kind, labels, unit, { points = false } = {}) {
    const names = Object.keys(labels).filter((name) => this.dialogue.arrays[`${kind}.${name}`]);
    if (!names.length) return;
    const series = names.map((name, n) => ({
      label: labels[name], stroke: () => color(`c${n}`), width: 1.4, spanGaps: false, points: { show: false }, dash: [[], [7, 3], [2, 3]][n],
      ...(points ? { paths: () => null, points: { show: true, size: 3, fill: () => color("c2"), stroke: () => color("c2") } } : {}),
    }));
    this.add(title, series, 74, { data: this.rows(kind, names), kind, names, unit, points });
  }

  add(title, series, height, options = {}) { this.wanted.push({ title, series, height, ...options }); }

  build({ title, series, height, data = null, paint = null, kind = null, names = [], unit = "", points = false }, last) {
    const head = element("div", { class: "head" }, element("b", {}, title));
    const values = kind === null ? [] : series.map((one, n) => {
      const value = element("span", {}, "");
      const line = element("span", {}, element("span", { class: "dot" }), ` ${one.label} `, value);
      line.firstChild.style.background = color(points ? "c2" : `c${n}`);
      head.append(line);
      return value;
    });
    if (kind === null) head.append(...series);
    const box = element("div", { class: "chart", role: "img", "aria-label": `${title} over time` }, head);
    chartsPlace.append(box);
    const strip = paint !== null, faint = () => color("faint"), grid = { stroke: () => color("line"), width: 1 };
    const options = {
      width: this.width(), height: height + (last ? 26 : 0), legend: { show: false }, padding: [4, 10, 2, 0],
      cursor: { y: false, sync: { key: "time" }, drag: { x: true, y: false, dist: 5, setScale: false }, points: { show: !strip, size: 5 } },
      scales: { x: { time: false, min: 0, max: this.dialogue.duration_s }, y: { range: strip ? [0, 1] : valueRange } },
      series: [{}, ...(strip ? [{ paths: () => null, points: { show: false } }] : series)],
      axes: [
        { show: last, size: 26, font: "11px system-ui", stroke: faint, grid, ticks: grid, values: (_, ticks) => ticks.map((t) => (t < 60 ? `${+t.toFixed(2)} s` : clock(t).replace(/\.00$/, ""))) },
        { size: AXIS, stroke: faint, grid: { ...grid, show: !strip }, ticks: { ...grid, show: !strip }, font: "11px system-ui", space: 24, ...(strip ? { values: () => [] } : {}) },
      ],
      hooks: {
        setSelect: [(u) => { if (u.select.width > 0) this.zoomTo(u); }],
        draw: strip ? [paint] : [],
      },
    };
    const plot = new uPlot(options, data || [[0, this.dialogue.duration_s], [null, null]], box);
    const playhead = element("div", { class: "playhead" });
    plot.over.append(playhead);
    this.onClick(plot);
    this.plots.push(plot);
    this.heads.push({ plot, playhead, values, kind, names, unit });
  }

  onClick(plot) {
    let down = null;
    plot.over.addEventListener("mousedown", (event) => { down = event.clientX; });
    plot.over.addEventListener("mouseup", (event) => {
      const box = plot.over.getBoundingClientRect();
      if (down !== null && Math.abs(event.clientX - down) < 5) this.seek(plot.posToVal(event.clientX - box.left, "x"));
      down = null;
    });
    plot.over.addEventListener("dblclick", () => this.show(0, this.dialogue.duration_s));
  }

  zoomTo(plot) {
    const { left, width } = plot.select;
    this.show(plot.posToVal(left, "x"), plot.posToVal(left + width, "x"));
    for (const one of this.plots) one.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  }

  zoom(factor) {
    const length = (this.range[1] - this.range[0]) * factor, from = this.time - length / 2;
    this.show(from, from + length);
  }

  show(from, to) {
    const length = Math.min(this.dialogue.duration_s, Math.max(0.2, to - from));
    const first = Math.min(Math.max(0, from), this.dialogue.duration_s - length);
    this.range = [first, first + length];
    for (const plot of this.plots) plot.setScale("x", { min: first, max: first + length });
    this.moveTo(this.time);
  }

  moveTo(time) {
    this.time = time;
    const [from, to] = this.range, length = to - from;
    if ((time < from || time > to) && length < this.dialogue.duration_s) { this.show(time - length * 0.1, time + length * 0.9); return; }
    for (const { plot, playhead } of this.heads) playhead.style.transform = `translateX(${plot.valToPos(time, "x").toFixed(1)}px)`;
    clearTimeout(this.later); // numbers that change sixty times a second are not read
    const wait = 100 - (performance.now() - (this.written || 0));
    if (wait > 0) this.later = setTimeout(() => this.writeValues(), wait); else this.writeValues();
  }

  // The values at the playhead.
  writeValues() {
    this.written = performance.now();
    const { time } = this, turn = this.dialogue.utterances[turnAt(this.dialogue, time)];
    for (const { values, kind, names, unit } of this.heads) {
      const near = kind && nearestRow(this.dialogue, kind, turn, time);
      values.forEach((value, n) => {
        const number = near && near.off < 0.2 ? this.dialogue.arrays[`${kind}.${names[n]}`][near.row] : null;
        value.textContent = number === null ? "\u2013" : `${number.toFixed(unit === "" ? 2 : 1)}${unit === "deg" ? "\u00b0" : unit && ` ${unit}`}`;
      });
    }
  }

  // ---- strips

  clipped(u, action) {
    const { ctx } = u, { left, top, width, height } = u.bbox;
    ctx.save();
    ctx.beginPath(); ctx.rect(left, top, width, height); ctx.clip();
    action(ctx, top, height, (time) => u.valToPos(time, "x", true), u.pxRatio || devicePixelRatio || 1);
    ctx.restore();
  }

  paintWords(u) {
    this.clipped(u, (ctx, above, all, at, ratio) => {
      ctx.font = `${12 * ratio}px system-ui, sans-serif`;
      const height = all / (1 + Math.max(...this.lanes));
      for (const [number, turn] of this.dialogue.utterances.entries()) {
        const top = above + this.lanes[number] * height;
        const left = at(turn.start_s), width = at(turn.end_s) - left;
        ctx.globalAlpha = 0.22; ctx.fillStyle = color(speakerColor(this.dialogue, turn.speaker));
        ctx.fillRect(left, top, Math.max(1, width - 1), height);
        ctx.globalAlpha = 1; ctx.fillRect(left, top, Math.max(1, Math.min(3 * ratio, width)), height);
        if (width < 26 * ratio) continue;
        ctx.save(); ctx.beginPath(); ctx.rect(left, top, width - 4, height); ctx.clip();
        ctx.fillStyle = color("text"); ctx.direction = rightToLeft(turn.text) ? "rtl" : "ltr";
        ctx.textAlign = "left"; ctx.textBaseline = "middle";
        ctx.fillText(fitted(ctx, turn.text || turn.id, width - 12 * ratio), left + 7 * ratio, top + height * 0.3);
        ctx.fillStyle = color("faint"); ctx.direction = "ltr";
        const label = turn.predicted !== null ? `${turn.predicted} ${turn.scores[turn.predicted].toFixed(2)}` : turn.label || "";
        ctx.fillText(fitted(ctx, [turn.speaker, label].filter(Boolean).join(" \u00b7 "), width - 12 * ratio), left + 7 * ratio, top + height * 0.74);
        ctx.restore();
      }
    });
  }

  marks() { return [...this.dialogue.cuts, ...this.dialogue.utterances.flatMap((turn) => turn.marks)]; }

  markLegend() {
    const kinds = [...new Set(this.marks().map((mark) => mark.kind))];
    const count = (kind) => this.marks().filter((mark) => mark.kind === kind).length;
    const shapes = { diamond: "\u25c6", bar: "\u275a", dash: "\u25ac", down: "\u25bc", side: "\u25c4\u25ba", full: "\u2502" };
    return Object.keys(MARKS).filter((kind) => kinds.includes(kind)).map((kind) => {
      const shape = element("span", {}, shapes[MARKS[kind][1]]);
      shape.style.color = color(MARKS[kind][0]);
      return element("span", {}, shape, ` ${kind} (${count(kind)})`);
    });
  }

  faceLegend() {
    const tracks = this.dialogue.utterances.flatMap((turn) => (turn.choice ? turn.choice.spans.map((span) => span[2]) : []));
    const faces = [...new Set(tracks)].sort((a, b) => a - b).map((track) => {
      const dot = element("span", { class: "dot" });
      dot.style.background = color(`c${track % COLORS}`);
      return element("span", {}, dot, ` face ${track + 1}`);
    });
    return [...faces, element("span", { class: "faint" }, "the stronger the colour, the higher the score")];
  }

  paintMarks(u) {
    this.clipped(u, (ctx, top, height, at, ratio) => {
      for (const mark of this.marks()) {
        const [tint, shape] = MARKS[mark.kind], x = at(mark.apex_s), y = top + height / 2, size = 5 * ratio;
        ctx.fillStyle = color(tint);
        if (mark.end_s > mark.start_s) {
          ctx.globalAlpha = 0.25; ctx.fillRect(at(mark.start_s), y - size, at(mark.end_s) - at(mark.start_s), 2 * size); ctx.globalAlpha = 1;
        }
        ctx.beginPath();
        if (shape === "full") ctx.rect(x - ratio, top, 2 * ratio, height);
        else if (shape === "bar") ctx.rect(x - 1.2 * ratio, y - size, 2.4 * ratio, 2 * size);
        else if (shape === "dash") ctx.rect(at(mark.start_s), y - 1.2 * ratio, at(mark.end_s) - at(mark.start_s), 2.4 * ratio);
        else {
          const corners = { diamond: [[0, -1], [0.8, 0], [0, 1], [-0.8, 0]], down: [[-1, -0.8], [1, -0.8], [0, 1]], side: [[-1.2, 0], [0, -0.9], [1.2, 0], [0, 0.9]] }[shape];
          corners.forEach(([dx, dy], n) => (n ? ctx.lineTo(x + dx * size, y + dy * size) : ctx.moveTo(x, y + dy * size) || ctx.moveTo(x + dx * size, y + dy * size)));
        }
        ctx.fill();
      }
    });
  }

  paintChoices(u) {
    const times = this.dialogue.arrays["face.time"];
    this.clipped(u, (ctx, top, height, at, ratio) => {
      ctx.font = `${11 * ratio}px system-ui, sans-serif`; ctx.textBaseline = "middle"; ctx.textAlign = "left";
      for (const turn of this.dialogue.utterances) {
        if (!turn.choice || !turn.rows.face) continue;
        for (const [first, end, track, score, tracks] of turn.choice.spans) {
          const start = times[turn.rows.face[0] + first], stop = times[Math.min(turn.rows.face[0] + end, turn.rows.face[0] + turn.rows.face[1]) - 1];
          const left = at(start), width = Math.max(2, at(stop) - left);
          ctx.globalAlpha = 0.25 + 0.55 * score; ctx.fillStyle = color(`c${track % COLORS}`);
          ctx.fillRect(left, top + 2, width, height - 4); ctx.globalAlpha = 1;
          ctx.fillStyle = color("text");
          const text = fitted(ctx, `face ${track + 1} of ${tracks}, score ${score.toFixed(2)}`, width - 8 * ratio);
          if (width > 30 * ratio) ctx.fillText(text, left + 5 * ratio, top + height / 2);
        }
      }
    });
  }

  paintUnits(u, units) {
    const times = this.dialogue.arrays["face.time"], from = rgb(color("heat-low")), to = rgb(color("heat-high"));
    this.clipped(u, (ctx, top, height, at) => {
      const row = height / units.length;
      const { utterances } = this.dialogue, shown = utterances[this.shown];
      for (const turn of [...utterances.toReversed(), ...(shown ? [shown] : [])]) {
        const [first, count] = turn.rows.face || [0, 0];
        if (turn === shown && count) ctx.clearRect(at(turn.start_s), top, at(turn.end_s) - at(turn.start_s), height);
        if (!count || at(times[first + count - 1]) < u.bbox.left || at(times[first]) > u.bbox.left + u.bbox.width) continue;
        units.forEach((name, n) => paintRow(ctx, this.dialogue.arrays[name], times, first, count, at, top + n * row, row, from, to));
      }
    });
    const { ctx } = u, row = u.bbox.height / units.length, ratio = devicePixelRatio || 1;
    ctx.save();
    ctx.font = `${10 * ratio}px system-ui, sans-serif`; ctx.fillStyle = color("faint"); ctx.textAlign = "right"; ctx.textBaseline = "middle";
    units.forEach((name, n) => ctx.fillText(name.slice(5).replace("_r", ""), u.bbox.left - 6 * ratio, u.bbox.top + (n + 0.5) * row));
    ctx.restore();
  }
}

// A lane for each utterance, so that those of one lane do not overlap; of more than four at a time the last share one.
function lanesOf(utterances) {
  const ends = [];
  return utterances.map(({ start_s, end_s }) => {
    const free = ends.findIndex((end) => end <= start_s + 1e-3), lane = free >= 0 ? free : Math.min(ends.length, 3);
    ends[lane] = Math.max(end_s, ends[lane] ?? 0);
    return lane;
  });
}

// One action unit of one utterance: a cell per frame, or per pixel with the strongest of its frames.
function paintRow(ctx, values, times, first, count, at, top, height, from, to) {
  const step = count > 1 ? (times[first + count - 1] - times[first]) / (count - 1) : 0.04;
  let left = Math.floor(at(times[first])), strongest = null;
  for (let i = first; i < first + count; i++) {
    const value = values[i], right = Math.floor(at(i + 1 < first + count ? times[i + 1] : times[i] + step));
    if (value !== null && (strongest === null || value > strongest)) strongest = value;
    if (right <= left) continue;
    if (strongest !== null) {
      const share = Math.min(1, Math.max(0, strongest / 5));
      ctx.fillStyle = `rgb(${from.map((c, n) => Math.round(c + (to[n] - c) * share)).join(",")})`;
      ctx.fillRect(left, top, right - left, height - 1);
    }
    left = right; strongest = null;
  }
}

// Of the values on screen; without any 0 to 1, as an axis without a range would lose its margin.
const valueRange = (_, low, high) => (low === null || high === null ? [0, 1] : uPlot.rangeNum(low, high, 0.1, true));
const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const rightToLeft = (text) => /^[^\p{L}]*[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/u.test(text);

function fitted(ctx, text, width) {
  if (ctx.measureText(text).width <= width) return text;
  let low = 0, high = text.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (ctx.measureText(`${text.slice(0, middle)}\u2026`).width <= width) low = middle; else high = middle - 1;
  }
  return low ? `${text.slice(0, low)}\u2026` : "";
}

function speakerColor(dialogue, speaker) {
  const speakers = [...new Set(dialogue.utterances.map((turn) => turn.speaker))];
  return `c${Math.max(0, speakers.indexOf(speaker)) % COLORS}`;
}
