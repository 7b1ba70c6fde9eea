// Wires the player, the charts and the panels to each other and to the keyboard.

const byId = (id) => document.getElementById(id);
const seekBar = byId("seek"), playButton = byId("play"), choose = byId("dialogue"), help = byId("help");
let dialogue = null, shownTurn = -1;

const charts = new Charts((time) => player.seek(time));
const player = new Player((time) => {
  setText(playButton, player.playing ? "Pause" : "Play");
  setText(byId("clock"), `${clock(time).slice(0, player.playing ? -1 : undefined)} / ${clock(dialogue.duration_s)}`);
  seekBar.value = String(time);
  seekBar.setAttribute("aria-valuetext", clock(time).slice(0, -3));
  charts.moveTo(time);
  const turn = turnAt(dialogue, time);
  if (turn !== shownTurn) {
    shownTurn = turn;
    charts.focus(turn);
    showTurn(dialogue, turn, goTo);
    markCurrent(turn);
  }
});

function setText(place, text) { if (place.textContent !== text) place.textContent = text; }

// An utterance, which stays the one shown where others overlap it.
function goTo(turn) {
  dialogue.chosen = turn;
  player.seek(dialogue.utterances[turn].start_s);
  player.draw(); // where the frame is the same
}

async function open(number, id = null) {
  const opened = await openDialogue(number);
  dialogue = opened;
  choose.value = String(number);
  seekBar.max = String(dialogue.duration_s);
  shownTurn = -1;
  charts.open(dialogue);
  showTranscript(dialogue, goTo);
  player.open(dialogue);
  if (id !== null) goTo(dialogue.utterances.findIndex((turn) => turn.id === id));
}

function jump({ dialogue: number, id }) {
  if (String(number) === choose.value) goTo(dialogue.utterances.findIndex((turn) => turn.id === id)); else open(number, id);
  byId("watch").scrollIntoView({ block: "nearest" });
}

const near = (count) => goTo(Math.min(dialogue.utterances.length - 1, Math.max(0, shownTurn + count)));
function nextMark(direction) {
  const times = charts.marks().map((mark) => mark.apex_s).sort((a, b) => a - b);
  const ahead = direction > 0 ? times.find((t) => t > player.time + 0.01) : times.findLast((t) => t < player.time - 0.01);
  if (ahead !== undefined) player.seek(ahead + 1e-3);
}
function toggleMesh() {
  player.mesh = !player.mesh;
  byId("mesh").setAttribute("aria-pressed", String(player.mesh));
  player.draw();
}
const togglePlay = () => (player.playing ? player.pause() : player.play());

const KEYS = [
  ["Space", "play, pause", [" "], togglePlay],
  ["\u2190 \u2192", "one frame back, forward", ["ArrowLeft", "ArrowRight"], (key) => player.step(key === "ArrowLeft" ? -1 : 1)],
  ["j l", "one second back, forward", ["j", "l"], (key) => player.seek(player.time + (key === "j" ? -1 : 1))],
  ["p n", "utterance before, next", ["p", "n"], (key) => near(key === "p" ? -1 : 1)],
  ["b e", "mark before, next: micro-expression, blink, shut eyes, nod, head shake, cut", ["b", "e"], (key) => nextMark(key === "b" ? -1 : 1)],
  ["Home End", "beginning, end", ["Home", "End"], (key) => player.seek(key === "Home" ? 0 : dialogue.duration_s)],
  ["+ \u2212 0", "zoom in, out, all", ["+", "=", "-", "0"], (key) => (key === "0" ? charts.show(0, dialogue.duration_s) : charts.zoom(key === "-" ? 2 : 0.5))],
  ["m", "overlay on, off", ["m"], toggleMesh],
  ["?", "this list", ["?"], () => help.showModal()],
];

document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (!dialogue || help.open || event.ctrlKey || event.metaKey || event.altKey || target.tagName === "SELECT") return;
  if (key === " " && ["BUTTON", "SUMMARY"].includes(target.tagName)) return; // a key press is a click there
  const entry = KEYS.find(([, , keys]) => keys.includes(key));
  if (!entry) return;
  event.preventDefault();
  entry[3](key);
});

playButton.addEventListener("click", togglePlay);
byId("back").addEventListener("click", () => player.step(-1));
byId("forward").addEventListener("click", () => player.step(1));
byId("mesh").addEventListener("click", toggleMesh);
byId("speed").addEventListener("change", (event) => { video.playbackRate = video.defaultPlaybackRate = Number(event.target.value); });
byId("about").addEventListener("click", () => help.showModal());
seekBar.addEventListener("input", () => player.seek(Number(seekBar.value)));
choose.addEventListener("change", () => open(Number(choose.value)));
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  if (!dialogue) return;
  const { time } = player;
  charts.open(dialogue);
  shownTurn = -1;
  player.changed(time);
});

for (const [keys, what] of KEYS) byId("keys").append(element("dt", {}, keys), element("dd", {}, what));
for (const text of index.holds) byId("holds").append(element("li", {}, text));
index.dialogues.forEach(({ id, speakers, duration_s }, number) => {
  const who = speakers.length ? ` \u2014 ${speakers.join(", ")}` : "";
  choose.append(element("option", { value: String(number), dir: "auto" }, `${id}${who} (${clock(duration_s).slice(0, -3)})`));
});
showLists(jump);
open(0).catch((error) => { turnPlace.replaceChildren(element("p", { role: "alert" }, `This page cannot be shown: ${error}`)); throw error; });
