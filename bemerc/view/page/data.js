// The data in the page: the index, a dialogue's header and arrays, embedded videos.

const index = JSON.parse(document.getElementById("index").textContent);
const ABSENT = -32768, STEPS = 16384;

function bytesOf(id) {
  const text = atob(document.getElementById(id).textContent), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function openDialogue(number) {
  const stream = new Blob([bytesOf(`dialogue${number}`)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const size = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  const arrays = {};
  for (const [name, how] of Object.entries(header.arrays)) arrays[name] = decode(buffer, 4 + size, how);
  return { ...header, arrays };
}

function decode(buffer, start, how) {
  const at = start + how.offset;
  if (how.type === "f8") return new Float64Array(buffer, at, how.bytes / 8);
  if (how.type === "i2") return series(new Int16Array(buffer, at, how.bytes / 2), how.scale);
  return positions(new Uint8Array(buffer, at, how.bytes), how.width);
}

// A series with null where nothing was measured, as the charts want it.
function series(steps, scale) {
  const values = new Array(steps.length);
  for (let i = 0; i < steps.length; i++) values[i] = steps[i] === ABSENT ? null : steps[i] * scale;
  return values;
}

// Rows of positions from differences, whose low bytes come first: {width, steps}.
function positions(bytes, width) {
  const count = bytes.length / 2, steps = new Int16Array(count);
  for (let i = 0; i < count; i++) {
    steps[i] = (bytes[i] | (bytes[count + i] << 8)) + (i < width ? 0 : steps[i - width]);
  }
  return { width, steps };
}

const videoAddresses = new Map();
function videoAddress(number) {
  const { src } = index.videos[number];
  if (src !== null) return src;
  if (!videoAddresses.has(number)) {
    const type = index.videos[number].name.toLowerCase().endsWith(".webm") ? "video/webm" : "video/mp4";
    videoAddresses.set(number, URL.createObjectURL(new Blob([bytesOf(`video${number}`)], { type })));
  }
  return videoAddresses.get(number);
}

// The last position in growing times at or before a time; -1 before the first.
function lastAtOrBefore(times, time, first = 0, end = times.length) {
  let low = first, high = end;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= time) low = middle + 1; else high = middle;
  }
  return low - 1;
}

// Whether another utterance goes on at the same time.
function overlaps(dialogue, number) {
  const { start_s, end_s } = dialogue.utterances[number];
  return dialogue.utterances.some((one, n) => n !== number && one.start_s < end_s - 1e-6 && one.end_s > start_s + 1e-6);
}

// The row of an utterance nearest to a time: {row, off}, off in seconds; null where it has none.
function nearestRow(dialogue, kind, turn, time) {
  const span = turn && turn.rows[kind], times = dialogue.arrays[`${kind}.time`];
  if (!span || !span[1]) return null;
  const row = nearestIn(times, ...span, time);
  return { row, off: Math.abs(times[row] - time) };
}

// Of ``count`` rows from ``first`` the one nearest to a time.
function nearestIn(times, first, count, time) {
  const row = Math.max(first, lastAtOrBefore(times, time, first, first + count));
  return row + 1 < first + count && times[row + 1] - time < Math.abs(time - times[row]) ? row + 1 : row;
}

// The utterance at a time: of those that overlap the one that was chosen, else that began last; in a pause the one before.
function turnAt(dialogue, time) {
  let before = 0;
  const chosen = dialogue.utterances[dialogue.chosen];
  if (chosen && chosen.start_s <= time + 1e-6 && time < chosen.end_s) return dialogue.chosen;
  for (let i = dialogue.utterances.length - 1; i >= 0; i--) {
    const { start_s, end_s } = dialogue.utterances[i];
    if (start_s <= time + 1e-6 && time < end_s) return i;
    if (start_s <= time) before = Math.max(before, i);
  }
  return before;
}
