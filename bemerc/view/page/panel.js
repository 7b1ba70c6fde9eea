// What is known of the utterance at this moment, the transcript, and the lists of where to look first.

const turnPlace = document.getElementById("turn"), transcript = document.getElementById("transcript");
const SENTENCES = { facial_expression: "Face", body_language: "Body", posture: "Posture", voice: "Voice", listener: "Listener" };
const KINDS = { face: "face", pose: "body", audio: "sound" };

function showTurn(dialogue, number, goTo) {
  const turn = dialogue.utterances[number];
  const dot = element("span", { class: "dot", "aria-hidden": "true" });
  dot.style.background = color(speakerColor(dialogue, turn.speaker));
  turnPlace.replaceChildren(
    element("div", { class: "who" }, dot, element("strong", {}, words(turn.speaker || "no name")), ...labels(turn),
      element("span", { class: "faint" }, words(turn.id), ` ${clock(turn.start_s)} to ${clock(turn.end_s)}`)),
    element("p", { class: "words", dir: "auto" }, turn.text || "(no words)"),
    element("div", { class: "columns" },
      element("div", {}, ...probabilities(turn), ...ledger(dialogue, turn, goTo)),
      element("div", {}, ...sentences(turn), ...measured(dialogue, turn))));
}

function labels(turn) {
  const made = [];
  if (turn.label !== null) made.push(element("span", { class: "tag" }, `label: ${turn.label}`));
  if (turn.predicted !== null) {
    const verdict = turn.label === null ? "" : turn.predicted === turn.label ? " right" : " wrong";
    made.push(element("span", { class: `tag${verdict}` }, `predicted: ${turn.predicted}${verdict && `,${verdict}`}`));
  }
  if (turn.conflict) made.push(element("span", { class: "tag" }, `voice ${turn.conflict.voice}, face ${turn.conflict.face}`));
  return made;
}

function probabilities(turn) {
  if (!turn.scores) return [];
  const rows = Object.entries(turn.scores).sort((a, b) => b[1] - a[1])
    .map(([label, p]) => barRow(label, p, 1, p.toFixed(3), turn.label === label ? " (label)" : ""));
  return [element("h3", {}, "Predicted probabilities"),
    turn.caveat ? element("p", { class: "caveat" }, turn.caveat) : "", element("table", { class: "bars" }, element("tbody", {}, ...rows))];
}

// log p(label) with everything minus log p(label) with a part left out: what the part adds.
function ledger(dialogue, turn, goTo) {
  if (!turn.evidence) return [];
  const { labels: names, log_probs: whole, parts } = turn.evidence;
  const best = whole.indexOf(Math.max(...whole));
  const rows = parts.map(([part, without, inner]) => ({ part, inner, gain: whole[best] - without[best], now: names[without.indexOf(Math.max(...without))] }));
  const largest = Math.max(0.05, ...rows.map(({ gain }) => Math.abs(gain)));
  return [
    element("h3", {}, "Evidence"),
    element("p", { class: "faint" }, `How much each part adds to log p(${names[best]}); below zero it speaks against it. After an arrow: the answer without it.`),
    element("table", { class: "bars" }, element("tbody", {}, ...rows.map(({ part, gain, now, inner }) =>
      barRow(partName(dialogue, part, goTo), gain, largest, `${gain > 0 ? "+" : ""}${gain.toFixed(2)}`,
        now !== names[best] ? ` \u2192 ${now}` : "", inner, true)))),
  ];
}

function partName(dialogue, part, goTo) {
  if (part === "explanation") return "control: another explanation";
  if (!part.startsWith("turn:")) return part.replace(/^[^:]*:/, "");
  const number = dialogue.utterances.findIndex(({ id }) => id === part.slice(5)), turn = dialogue.utterances[number];
  if (!turn) return part;
  return element("button", { type: "button", onclick: () => goTo(number) }, words(`${turn.speaker}: ${turn.text}`));
}

function sentences(turn) {
  const rows = Object.entries(turn.sentences).filter(([, text]) => text)
    .map(([slot, text]) => element("p", {}, element("b", {}, `${SENTENCES[slot] || slot}: `), text));
  return rows.length ? [element("h3", {}, "Description"), ...rows] : [];
}

function measured(dialogue, turn) {
  const made = [element("h3", {}, "Measured")];
  if (turn.choice) made.push(element("p", {}, choiceText(turn.choice)));
  if (turn.others.length) made.push(element("p", {}, othersText(turn.others)));
  const shares = dialogue.modalities.map((kind) => `${KINDS[kind]} ${Math.round(100 * (turn.covered[kind] ?? 0))} %`);
  made.push(element("p", { class: "faint" }, `Of the frames: ${shares.join(", ")}.`));
  for (const texts of [turn.reasons, turn.notes]) {
    for (const [kind, text] of Object.entries(texts)) made.push(element("p", { class: "faint" }, `${KINDS[kind]}: ${text}`));
  }
  return made;
}

function choiceText({ by, faces, score, uncertain, spans }) {
  if (!faces) return "No face was seen.";
  const doubt = `score ${score.toFixed(2)}${uncertain ? ", which leaves it uncertain" : ""}`;
  if (by === "alone") return `The only face was measured, ${doubt}.`;
  const numbers = [...new Set(spans.map((span) => span[2] + 1))].join(", ");
  return `Up to ${faces} face${faces === 1 ? "" : "s"} at a time; face ${numbers} was measured, chosen by ${by}, ${doubt}.`;
}

// Everybody in sight who was not measured as the target.
function othersText(others) {
  const each = others.map(({ name, share, score }) => `${name} in ${Math.round(100 * (share ?? 0))} % of the frames${score === null ? "" : `, score ${score.toFixed(2)}`}`);
  const listened = others.map(({ name, did }) => did ? ` ${name} listened: ${didText(did)}.` : "");
  return `Also in sight: ${each.join("; ")}.${listened.join("")}`;
}

function didText({ nods, shakes, smiles, smile_synchrony: lips, smile_pseudosynchrony: lipsChance, head_synchrony: head, head_pseudosynchrony: headChance }) {
  const counts = [[nods, "nod"], [shakes, "head shake"], [smiles, "smile"]].map(([n, what]) => `${n} ${what}${n === 1 ? "" : "s"}`);
  const together = [["heads", head, headChance], ["lip corners", lips, lipsChance]].filter(([, r]) => r !== null)
    .map(([what, r, chance]) => `${what} ${r.toFixed(2)} (${chance.toFixed(2)} by chance)`);
  return `${counts.join(", ")}${together.length ? `; synchrony with the speaker: ${together.join(", ")}` : ""}`;
}

// What does not fit below the player scrolls; a button says so.
const left = document.getElementById("left"), more = document.getElementById("more");
function showMore() { more.hidden = left.scrollHeight - left.scrollTop - left.clientHeight < 24; }
more.addEventListener("click", () => left.scrollBy({ top: left.clientHeight * 0.6, behavior: "smooth" }));
left.addEventListener("scroll", showMore);
const heights = new ResizeObserver(showMore);
for (const place of [left, turnPlace]) heights.observe(place);

function showTranscript(dialogue, goTo) {
  transcript.replaceChildren(...dialogue.utterances.map((turn, number) => {
    const label = turn.predicted !== null ? turn.predicted : turn.label || "";
    const wrong = turn.predicted !== null && turn.label !== null && turn.predicted !== turn.label;
    return element("li", {}, element("button", { type: "button", onclick: () => goTo(number) },
      element("span", { class: "time" }, clock(turn.start_s)), words(turn.speaker), words(turn.text || turn.id),
      label ? element("span", { class: `tag${wrong ? " wrong" : ""}` }, wrong ? `${turn.label} \u2192 ${label}` : label) : ""));
  }));
}

function markCurrent(number) {
  const now = transcript.children[number];
  transcript.querySelector("[aria-current]")?.removeAttribute("aria-current");
  if (!now) return;
  now.firstChild.setAttribute("aria-current", "true");
  const { top, bottom } = now.getBoundingClientRect(), box = transcript.getBoundingClientRect();
  if (top < box.top || bottom > box.bottom) transcript.scrollTop += top - box.top - box.height / 3;
}

function showLists(jump) {
  const place = document.getElementById("lists");
  place.replaceChildren(element("h2", {}, "Where to look first"));
  if (!index.lists.length) place.append(element("p", { class: "faint" }, "Nothing stands out: no answer that is wrong and sure, no doubtful face, nothing unmeasured."));
  for (const { name, count, entries } of index.lists) {
    place.append(element("details", { open: "" }, element("summary", {}, `${name} (${count})`),
      element("ul", { class: "entries" }, ...entries.map((entry) => element("li", {},
        element("button", { type: "button", onclick: () => jump(entry) }, words(entry.id), element("span", { class: "faint" }, entry.why)))))));
  }
}
