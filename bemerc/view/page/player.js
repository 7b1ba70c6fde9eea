// The player: one clock over all clips of a dialogue, and the overlay of the very frame on screen.

const video = document.getElementById("video"), overlay = document.getElementById("overlay");
const stage = document.getElementById("stage"), frameNote = document.getElementById("frame-note");
const SAME_FRAME_S = 0.004;

class Player {
  // ``changed(time)`` is called whenever another moment is shown.
  constructor(changed) {
    this.changed = changed;
    this.dialogue = null;
    this.time = 0;
    this.segment = -1;
    this.playing = false;
    this.mesh = true;
    this.shown = null; // the time of the frame on screen, by the frame itself
    this.loading = 0;
    this.calls = "requestVideoFrameCallback" in HTMLVideoElement.prototype;
    video.addEventListener("ended", () => this.atEnd());
    video.addEventListener("loadedmetadata", () => this.fit());
    video.addEventListener("seeked", () => { if (!this.calls) this.frame(video.currentTime); });
    this.size = [0, 0];
    new ResizeObserver(() => {
      this.size = [overlay.clientWidth, overlay.clientHeight];
      this.draw();
    }).observe(stage);
    if (this.calls) this.listen();
    const tick = (now) => { this.tick(now); requestAnimationFrame(tick); };
    requestAnimationFrame(tick);
  }

  open(dialogue) {
    this.pause();
    this.dialogue = dialogue;
    this.segment = -1;
    this.drawn = null;
    this.seek(0);
  }

  get current() { return this.dialogue.segments[this.segment]; }
  get hasVideo() { return this.dialogue && this.current && this.current.video !== null; }

  seek(time) {
    const segments = this.dialogue.segments;
    this.time = Math.min(Math.max(0, time), Math.max(0, this.dialogue.duration_s - 1e-3));
    const at = Math.max(0, lastAtOrBefore(segments.map((s) => s.start_s), this.time + 1e-6));
    if (at !== this.segment) this.enter(at);
    if (this.hasVideo) {
      const wanted = this.time - this.current.start_s + this.current.clip_start_s;
      if (video.readyState >= 1) video.currentTime = wanted; else this.pending = wanted;
    } else this.draw();
    this.changed(this.time);
  }

  enter(at) {
    this.segment = at;
    this.shown = null;
    video.hidden = !this.hasVideo;
    if (this.hasVideo) {
      const address = videoAddress(this.current.video);
      if (video.dataset.address !== address) {
        video.dataset.address = address;
        video.src = address;
      }
    } else video.pause();
    this.fit();
  }

  fit() {
    if (!this.dialogue || !this.current) return;
    const aspect = this.hasVideo && video.videoWidth ? video.videoWidth / video.videoHeight : this.current.aspect;
    stage.style.aspectRatio = String(aspect);
    stage.style.maxWidth = `calc(52vh * ${aspect})`;
    if (this.pending !== undefined && video.readyState >= 1) {
      video.currentTime = this.pending;
      this.pending = undefined;
      if (this.playing) this.start();
    }
    this.draw();
  }

  start() { video.play().catch(() => this.pause()); }

  play() {
    if (this.time >= this.dialogue.duration_s - 0.01) this.seek(0);
    this.playing = true;
    this.last = null;
    if (this.hasVideo && this.pending === undefined) this.start();
    this.changed(this.time);
  }

  pause() {
    this.playing = false;
    video.pause();
    if (this.dialogue) this.changed(this.time);
  }

  // The end of this part: go on with the next one.
  atEnd() {
    if (!this.playing) return;
    const next = this.dialogue.segments[this.segment + 1];
    if (!next) { this.pause(); return; }
    this.seek(next.start_s);
    if (this.hasVideo && this.pending === undefined) this.start();
  }

  listen() {
    video.requestVideoFrameCallback((_, about) => { this.frame(about.mediaTime); this.listen(); });
  }

  // A frame came on screen whose own time on its clip's clock is ``clipTime``.
  frame(clipTime) {
    if (!this.hasVideo) return;
    this.shown = clipTime - this.current.clip_start_s + this.current.start_s;
    this.draw();
  }

  tick(now) {
    if (!this.playing || !this.dialogue) return;
    const end = this.current.start_s + this.current.duration_s;
    if (this.hasVideo) {
      if (this.pending !== undefined || video.seeking) return;
      this.time = video.currentTime - this.current.clip_start_s + this.current.start_s;
      if (!this.calls) this.frame(video.currentTime);
    } else {
      if (this.last) this.time += ((now - this.last) / 1000) * video.playbackRate;
      this.last = now;
      this.draw();
    }
    if (this.time >= end) this.atEnd();
    this.changed(this.time);
  }

  // One measured frame on or back.
  step(frames) {
    this.pause();
    const now = this.shown !== null && this.hasVideo ? this.shown : this.time;
    const turn = this.dialogue.utterances[turnAt(this.dialogue, now)];
    const kind = turn.rows.face ? "face" : turn.rows.pose ? "pose" : null;
    const times = kind && this.dialogue.arrays[`${kind}.time`];
    const [first, count] = kind ? turn.rows[kind] : [0, 0];
    const row = kind ? lastAtOrBefore(times, now + 1e-3, first, first + count) + frames : -1;
    // A thousandth of a second into the frame, so that rounding cannot show the one before.
    this.seek(kind && row >= first && row < first + count ? times[row] + 1e-3 : now + frames * 0.04);
  }

  // ---- overlay

  draw() {
    if (!this.dialogue || !this.current) return;
    const time = this.hasVideo && this.shown !== null ? this.shown : this.time;
    const turn = this.dialogue.utterances[turnAt(this.dialogue, time)];
    const face = this.rowFor("face", turn, time), pose = this.rowFor("pose", turn, time);
    const [width, height] = this.size, ratio = window.devicePixelRatio || 1;
    const same = pose !== null && pose.off <= SAME_FRAME_S;
    const drawn = [turn.id, face?.row, pose?.row, this.othersAt(turn, time).map(({ row }) => row), same, this.mesh, width, height, ratio].join();
    if (drawn === this.drawn) return; // what is there is right already
    this.drawn = drawn;
    overlay.width = Math.round(width * ratio);
    overlay.height = Math.round(height * ratio);
    const context = overlay.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const seen = face !== null && this.measured(face), others = this.othersAt(turn, time);
    overlay.setAttribute("aria-label", seen ? "Face mesh of the frame on screen" : "No face measured in this frame");
    frameNote.textContent = this.note(turn, face, seen);
    if (!this.mesh) return;
    if (pose) this.drawBody(context, pose.row, width, height, same);
    for (const { row, name, score, crop } of others) {
      const style = { kind: "others", crop, tint: "#c9c9c9", rim: "#c9c9c9", dash: [2, 4], label: `${name}${scoreText(score)}` };
      this.drawFace(context, row, width, height, style);
    }
    if (!seen) return;
    const unsure = turn.choice?.uncertain;
    const label = others.length ? `measured${scoreText(scoreAt(turn, face.row))}` : "";
    const style = { kind: "face", crop: turn.crop, tint: "#8ee3ff", rim: unsure ? "#e69f00" : "#ffffff", dash: unsure ? [6, 4] : [], label };
    this.drawFace(context, face.row, width, height, style);
  }

  // The others in sight in this very frame: their rows in ``others.*``, names and scores.
  othersAt(turn, time) {
    const times = this.dialogue.arrays["others.time"], there = [];
    for (const { rows: [first, count], name, score, crop } of turn.others) {
      const row = nearestIn(times, first, count, time);
      if (Math.abs(times[row] - time) <= 0.025) there.push({ row, name, score, crop });
    }
    return there;
  }

  rowFor(kind, turn, time) {
    const near = nearestRow(this.dialogue, kind, turn, time);
    if (near === null || time < turn.start_s - 0.02 || time > turn.end_s + 0.02) return null;
    return near.off <= (kind === "face" ? 0.025 : 0.1) ? near : null;
  }

  measured(face) {
    const place = this.dialogue.arrays["face.face_x"], mesh = this.dialogue.arrays["face.mesh"];
    if (place) return place[face.row] !== null;
    return mesh ? mesh.steps[face.row * mesh.width] !== ABSENT : false;
  }

  note(turn, face, seen) {
    if (turn.rows.face === undefined) return turn.reasons.face || "No face was measured in this utterance.";
    if (!face) return "This frame was not measured.";
    return seen ? "" : "No face was found in this frame.";
  }

  // One face in its style: which arrays it is in, colours of mesh and box, a label above it.
  drawFace(context, row, width, height, { kind, crop, tint, rim, dash, label }) {
    const { arrays } = this.dialogue, mesh = arrays[`${kind}.mesh`];
    const lines = mesh ? index.lines.map((line) => line.map((i) => point(mesh, row, i))) : [];
    strokeAll(context, lines, width, height, tint, 1.1);
    const [x, y, size] = ["face_x", "face_y", "face_size"].map((name) => arrays[`${kind}.${name}`]?.[row] ?? null);
    if (x === null || y === null) return;
    const [l, t, r, b] = crop || [0, 0, 1, 1], cw = (r - l) * width, ch = (b - t) * height;
    const half = (size * ch) / 2 * 1.12, halfX = half * 0.86;
    const left = l * width + x * cw - halfX, top = t * height + y * ch - half;
    context.lineWidth = 3; context.strokeStyle = "#000a"; context.strokeRect(left, top, 2 * halfX, 2 * half);
    context.lineWidth = 1.5; context.strokeStyle = rim;
    context.setLineDash(dash);
    context.strokeRect(left, top, 2 * halfX, 2 * half);
    context.setLineDash([]);
    if (!label) return;
    context.font = "12px system-ui, sans-serif"; context.lineJoin = "round";
    context.lineWidth = 3; context.strokeStyle = "#000c"; context.strokeText(label, left, top - 5);
    context.fillStyle = rim; context.fillText(label, left, top - 5);
  }

  drawBody(context, row, width, height, same) {
    const { arrays, joints: names } = this.dialogue, joints = arrays["pose.joints"], hands = arrays["pose.hands"];
    context.globalAlpha = same ? 1 : 0.55; // the body is measured at fewer frames than the face
    if (joints) {
      const bones = index.bones.map((bone) => bone.map((name) => point(joints, row, names.indexOf(name))));
      strokeAll(context, bones, width, height, "#ffb347", 2.2);
    }
    if (hands) {
      const fingers = [0, 21].flatMap((from) => index.fingers.map((f) => f.map((i) => point(hands, row, from + i))));
      strokeAll(context, fingers, width, height, "#ffd9a0", 1.4);
    }
    context.globalAlpha = 1;
  }
}

const scoreText = (score) => score === null || score === undefined ? "" : `, ${score.toFixed(2)}`;

// The score of the target face in a row of the dialogue: that of the span of frames in which it lies.
function scoreAt(turn, row) {
  const frame = row - turn.rows.face[0], span = turn.choice?.spans.find(([first, end]) => first <= frame && frame < end);
  return span ? span[3] : null;
}

function point({ width, steps }, row, number) {
  const at = row * width + 2 * number;
  return steps[at] === ABSENT ? null : [steps[at] / STEPS, steps[at + 1] / STEPS];
}
