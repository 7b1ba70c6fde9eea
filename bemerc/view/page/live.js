// A conversation that goes on: frames and sound of this browser's camera and microphone to the program that opened the
// page; what it measured drawn on the very frame that was measured.

const index = JSON.parse(document.getElementById("index").textContent);
const byId = (id) => document.getElementById(id);
const overlay = byId("overlay"), note = byId("frame-note"), transcript = byId("transcript");
const STEPS = 16384, KEPT_S = 20, LARGEST = 1280, FRAME = 1, SOUND = 2, FRAME_HEAD = 32, SOUND_HEAD = 16, QUALITY = 0.95, SOUND_STARTS_MS = 2000;
const video = document.createElement("video"), picture = new OffscreenCanvas(1, 1);
const sent = new Map(); // number -> the frame that waits for its measurements
let socket = null, starting = false, start_ms = 0, credit = false, number = 0, presented = 0, context = null, mesh = true;
video.muted = true;
video.playsInline = true;

byId("model").textContent = index.model ? `${index.model}: ${index.labels.join(", ")}` : "without a model: nothing is labelled";
byId("start").addEventListener("click", () => (socket ? stop("Stopped.") : starting || begin()));
byId("mesh").addEventListener("click", toggleMesh);
byId("cue").addEventListener("submit", (event) => {
  event.preventDefault();
  tell({ type: "cue", text: byId("words").value });
  byId("words").value = "";
});
document.addEventListener("keydown", (event) => {
  if (event.key === "m" && event.target.tagName !== "INPUT") toggleMesh();
});

function toggleMesh() {
  mesh = !mesh;
  byId("mesh").setAttribute("aria-pressed", String(mesh));
}

// ---- recording

async function begin() {
  starting = true;
  try {
    video.srcObject = await devices();
  } catch (error) {
    note.textContent = `No camera: ${error.message}. Let the page use it, then press Start again.`;
    return;
  } finally { starting = false; }
  const open = socket = new WebSocket(index.socket);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("message", ({ data }) => { if (!socket || socket === open) receive(JSON.parse(data)); });
  socket.addEventListener("close", () => { if (socket === open) stop("The program has ended the connection."); });
  byId("start").textContent = "Stop";
  await new Promise((resolve) => open.addEventListener("open", resolve));
  if (socket !== open) return; // it was stopped meanwhile
  try {
    await record(open, video.srcObject);
  } catch (error) {
    if (socket === open) stop(`The camera or the microphone cannot be read: ${error.message}. Press Start again.`);
  }
}

// Another conversation: its times begin at 0, and its ids are those of the one before.
async function record(open, stream) {
  forget(Infinity);
  curves.clear();
  for (const row of transcript.children) delete row.dataset.id;
  await video.play();
  if (socket !== open) return;
  const microphone = stream.getAudioTracks().length > 0, sound = microphone && await startSound(open);
  if (socket !== open) return;
  start_ms = performance.now();
  tell({ type: "start", sound });
  if (sound) await listen(stream);
  if (socket !== open) return;
  credit = true;
  presented = 0;
  newest_ms = null;
  const missing = microphone ? "The browser's sound does not start (is there no output for sound?)" : "No microphone";
  note.textContent = sound ? "" : `${missing}: an utterance ends when you say so.`;
  watch(open);
}

// Camera and microphone; where the microphone is missing, in use or refused, the camera alone.
async function devices() {
  const picture = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
  const sound = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  try {
    return await navigator.mediaDevices.getUserMedia({ video: picture, audio: sound });
  } catch {
    return navigator.mediaDevices.getUserMedia({ video: picture });
  }
}

function stop(reason) {
  if (!socket) return;
  const open = socket;
  socket = null;
  if (open.readyState === WebSocket.OPEN) open.send(JSON.stringify({ type: "stop" })); else open.close();
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  context?.close();
  context = null;
  note.textContent = reason;
  byId("start").textContent = "Start";
}

function tell(message) { if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message)); }

function watch(open) {
  video.requestVideoFrameCallback((now, about) => {
    if (!socket || socket !== open) return;
    const skipped = presented ? Math.max(0, about.presentedFrames - presented - 1) : 0;
    presented = about.presentedFrames;
    keep(about.captureTime ?? now, skipped);
    watch(open);
  });
}

let left_out = 0, newest_ms = null; // newest_ms: when the frame that waits in ``picture`` was recorded
// Keep the frame that is on screen now, in place of one that waits; it goes when the one before was measured.
function keep(captured_ms, skipped) {
  left_out += skipped + (newest_ms !== null);
  if (!video.videoWidth) return;
  const shrunk = Math.min(1, LARGEST / Math.max(video.videoWidth, video.videoHeight));
  const [width, height] = [video.videoWidth, video.videoHeight].map((side) => Math.max(1, Math.round(side * shrunk)));
  if (picture.width !== width || picture.height !== height) Object.assign(picture, { width, height });
  picture.getContext("2d", { willReadFrequently: true }).drawImage(video, 0, 0, width, height);
  newest_ms = captured_ms;
  send();
}

// As a JPEG: a twentieth of the bytes, which take longer on their way than the picture to be written and read.
async function send() {
  if (!credit || newest_ms === null || socket?.readyState !== WebSocket.OPEN) return;
  const open = socket, captured_ms = newest_ms, skipped = left_out;
  credit = false;
  newest_ms = null;
  left_out = 0;
  const written = picture.convertToBlob({ type: "image/jpeg", quality: QUALITY });
  const image = picture.transferToImageBitmap(), { width, height } = image;
  let jpeg;
  try {
    jpeg = new Uint8Array(await (await written).arrayBuffer());
  } catch (error) {
    if (socket === open) stop(`The camera's picture cannot be written: ${error.message}. Press Start again.`);
    return;
  }
  if (socket !== open || open.readyState !== WebSocket.OPEN) {
    image.close();
    return;
  }
  const message = new Uint8Array(FRAME_HEAD + jpeg.length), head = new DataView(message.buffer);
  number += 1;
  head.setUint32(0, FRAME, true);
  head.setUint32(4, number, true);
  head.setFloat64(8, (captured_ms - start_ms) / 1000, true);
  head.setFloat64(16, (performance.now() - captured_ms) / 1000, true);
  head.setUint16(24, width, true);
  head.setUint16(26, height, true);
  head.setUint32(28, skipped, true);
  message.set(jpeg, FRAME_HEAD);
  sent.set(number, { image, captured_ms });
  open.send(message);
}

// Whether sound flows. Firefox has none, not even of a microphone, where nothing can be played.
async function startSound(open) {
  const made = context = new AudioContext({ sampleRate: index.rate_hz });
  await Promise.race([made.resume().catch(() => {}), new Promise((resolve) => setTimeout(resolve, SOUND_STARTS_MS))]);
  if (made.state === "running" && socket === open) return true;
  if (made.state !== "closed") made.close();
  if (context === made) context = null;
  return false;
}

async function listen(stream) {
  await context.audioWorklet.addModule("worklet.js");
  const tap = new AudioWorkletNode(context, "tap", { numberOfOutputs: 0 });
  context.createMediaStreamSource(stream).connect(tap);
  let offset_ms = Infinity; // from the sound's clock to the page's: the least delay seen
  tap.port.onmessage = ({ data: { start, samples } }) => {
    if (socket?.readyState !== WebSocket.OPEN) return;
    const end_ms = 1000 * (start + samples.length / index.rate_hz);
    offset_ms = Math.min(offset_ms, performance.now() - end_ms);
    const message = new Uint8Array(SOUND_HEAD + samples.byteLength), head = new DataView(message.buffer);
    head.setUint32(0, SOUND, true);
    head.setFloat64(8, (1000 * start + offset_ms - start_ms) / 1000, true);
    message.set(new Uint8Array(samples.buffer), SOUND_HEAD);
    socket.send(message);
  };
}

// ---- what was measured

const latencies = [];
const RECEIVERS = {
  next: () => { credit = true; send(); },
  look: (look) => show(look),
  frame: (frame) => { showUnits(frame.face); curves.add("face", frame.time_s, frame.face ?? {}); },
  voice: (voice) => { curves.add("voice", voice.time_s, voice); },
  begin: ({ start_s }) => { curves.begin(start_s); },
  utterance: (turn) => showTurn(turn),
  summary: (figures) => { byId("figures").textContent = `${figures.frames} frames measured, ${figures.dropped} dropped.` +
    (figures.dropped_sound_s ? ` ${figures.dropped_sound_s} s of sound dropped.` : ""); },
  error: ({ text }) => stop(text),
};
function receive(message) { RECEIVERS[message.event]?.(message); }

// Frames up to this number; their pictures are closed, for the collector takes its time.
function forget(newest) {
  for (const [key, { image }] of sent) {
    if (key > newest) continue;
    image.close();
    sent.delete(key);
  }
}

// The frame that was measured, and on it what was seen.
function show(look) {
  const frame = sent.get(look.number);
  if (!frame) return;
  const { width, height } = frame.image;
  if (overlay.width !== width || overlay.height !== height) {
    Object.assign(overlay, { width, height });
    byId("stage").style.aspectRatio = String(width / height);
  }
  const drawing = overlay.getContext("2d");
  drawing.drawImage(frame.image, 0, 0);
  forget(look.number);
  if (mesh) drawAll(drawing, look, width, height);
  overlay.dataset.number = look.number;
  byId("clock").textContent = clock(look.time_s).slice(0, -1);
  if (context || !note.textContent) note.textContent = look.faces.length ? "" : "No face is seen.";
  requestAnimationFrame(() => shown(look.number, performance.now() - frame.captured_ms));
}

function drawAll(drawing, look, width, height) {
  const at = (flat, n) => (flat[2 * n] === null ? null : [flat[2 * n] / STEPS, flat[2 * n + 1] / STEPS]);
  if (look.joints) strokeAll(drawing, index.bones.map((bone) => bone.map((n) => at(look.joints, n))), width, height, "#ffb347", 2.2);
  look.faces.forEach((face, n) => {
    const main = n === look.main;
    strokeAll(drawing, index.lines.map((line) => line.map((k) => at(face.mesh, k))), width, height, main ? "#8ee3ff" : "#c9c9c9", 1.1);
    const [left, top, right, bottom] = face.box.map((edge, k) => (edge / STEPS) * (k % 2 ? height : width));
    drawing.lineWidth = 3; drawing.strokeStyle = "#000a"; drawing.strokeRect(left, top, right - left, bottom - top);
    drawing.lineWidth = 1.5; drawing.strokeStyle = main ? "#ffffff" : "#aaaaaa"; drawing.strokeRect(left, top, right - left, bottom - top);
  });
}

function shown(number, latency_ms) {
  tell({ type: "shown", number, latency_ms });
  latencies.push(latency_ms);
  if (latencies.length % 15) return;
  const recent = latencies.slice(-300).sort((a, b) => a - b);
  const [half, most] = [0.5, 0.95].map((share) => Math.round(recent[Math.floor(share * (recent.length - 1))]));
  byId("figures").textContent = `Capture to overlay: half within ${half} ms, 95 % within ${most} ms.`;
}

const unitRows = byId("units").querySelector("tbody");
function showUnits(face) {
  const units = Object.entries(face ?? {}).filter(([name]) => /^AU\d+_r$/.test(name));
  if (unitRows.children.length !== units.length) unitRows.replaceChildren(...units.map(([name]) => barRow(name.slice(0, 4), 0, 5, "")));
  units.forEach(([, value], n) => {
    unitRows.children[n].querySelector("rect").setAttribute("width", String(Math.max(0.4, 20 * (value ?? 0))));
    unitRows.children[n].lastChild.textContent = value === null ? "" : value.toFixed(1);
  });
}

const SENTENCES = { facial_expression: "Face", body_language: "Body", posture: "Posture", voice: "Voice" };
function showTurn(turn) {
  const scores = Object.entries(turn.scores ?? {}).sort((a, b) => b[1] - a[1]);
  const label = turn.label ?? "";
  byId("turn").replaceChildren(
    element("div", { class: "who" }, element("strong", {}, words(turn.speaker || "Speaker")), label ? element("span", { class: "tag" }, label) : "",
      element("span", { class: "faint" }, `${clock(turn.start_s)} to ${clock(turn.end_s)}`)),
    element("p", { class: "words", dir: "auto" }, turn.text || "(no words)"),
    turn.reason ? element("p", { class: "faint" }, turn.reason) : "",
    element("table", { class: "bars" }, element("tbody", {}, ...scores.map(([name, p]) => barRow(name, p, 1, p.toFixed(2))))),
    ...Object.entries(turn.description).map(([slot, text]) => element("p", {}, element("b", {}, `${SENTENCES[slot] || slot}: `), text)));
  const row = element("li", { "data-id": turn.id }, element("span", { class: "time" }, clock(turn.start_s).slice(0, -1)),
    words(turn.text || "(no words)"), label ? element("span", { class: "tag" }, label) : "");
  const before = [...transcript.children].find((one) => one.dataset.id === turn.id);
  if (before) before.replaceWith(row); else transcript.append(row);
  transcript.scrollTop = transcript.scrollHeight;
}

// ---- the last 20 seconds

const CURVES = [
  ["Action units", "face", { AU01_r: "AU01 brows up", AU04_r: "AU04 brows down", AU12_r: "AU12 smile", AU25_r: "AU25 lips part" }],
  ["Pitch, Hz", "voice", { pitch_hz: "pitch" }],
  ["Loudness, dB", "voice", { energy_db: "loudness" }],
];
const curves = {
  data: { face: [], voice: [] }, begun: [],
  add(kind, time, values) {
    const rows = this.data[kind];
    rows.push([time, values]);
    while (rows.length && rows[0][0] < time - KEPT_S) rows.shift();
  },
  clear() { this.data = { face: [], voice: [] }; this.begun = []; },
  begin(time) { this.begun.push(time); if (this.begun.length > 99) this.begun.shift(); },
  build() {
    const place = byId("charts");
    this.plots = CURVES.map(([title, kind, names], at) => {
      const head = element("div", { class: "head" }, element("b", {}, title),
        ...Object.values(names).map((name, n) => { const span = element("span", {}, name); span.style.color = color(`c${n}`); return span; }));
      const chart = element("div", { class: "chart" }, head);
      place.append(chart);
      const series = Object.keys(names).map((name, n) => ({ stroke: color(`c${n}`), width: 1.4, points: { show: name === "pitch_hz", size: 3 }, spanGaps: false }));
      const axis = { stroke: color("faint"), grid: { stroke: color("line"), width: 1 }, font: "11px system-ui" };
      const scales = { x: { time: false }, y: at ? {} : { range: [0, 5] } };
      const plot = new uPlot({ width: Math.max(240, place.clientWidth), height: at === CURVES.length - 1 ? 140 : 110, padding: [8, 16, 4, 0], legend: { show: false }, cursor: { show: false },
        scales, series: [{}, ...series], axes: [{ ...axis, show: at === CURVES.length - 1 }, { ...axis, size: 64 }],
        hooks: { drawClear: [(u) => this.mark(u)] } }, [[0], ...series.map(() => [null])], chart);
      return { plot, kind, names: Object.keys(names) };
    });
    new ResizeObserver(() => this.plots.forEach(({ plot }) => plot.setSize({ width: Math.max(240, place.clientWidth), height: plot.height }))).observe(place);
    setInterval(() => this.draw(), 200);
  },
  // Where utterances begin.
  mark(u) {
    u.ctx.fillStyle = color("c1");
    for (const time of this.begun) {
      const x = u.valToPos(time, "x", true);
      if (x >= u.bbox.left && x <= u.bbox.left + u.bbox.width) u.ctx.fillRect(x, u.bbox.top, 1.5, u.bbox.height);
    }
  },
  draw() {
    const now = Math.max(this.data.face.at(-1)?.[0] ?? 0, this.data.voice.at(-1)?.[0] ?? 0);
    if (!socket || !now) return;
    for (const { plot, kind, names } of this.plots) {
      const rows = this.data[kind];
      if (!rows.length) continue;
      plot.setData([rows.map(([time]) => time), ...names.map((name) => rows.map(([, values]) => values[name] ?? null))], true);
      plot.setScale("x", { min: Math.max(0, now - KEPT_S), max: Math.max(now, KEPT_S) });
    }
  },
};
curves.build();
