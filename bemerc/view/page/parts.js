// What several pages draw with: elements, words as text, bars, lines of points.

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value; else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}
const words = (text) => element("bdi", { dir: "auto" }, text);
const clock = (time) => `${Math.floor(time / 60)}:${(time % 60).toFixed(2).padStart(5, "0")}`;
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const COLORS = 7;

function barRow(name, value, largest, text, note = "", inner = false, signed = false) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), bar = document.createElementNS(svg.namespaceURI, "rect");
  svg.setAttribute("viewBox", "0 0 100 10"); svg.setAttribute("preserveAspectRatio", "none"); svg.setAttribute("aria-hidden", "true");
  const share = Math.min(1, Math.abs(value) / largest) * (signed ? 50 : 100);
  bar.setAttribute("x", String(signed ? (value < 0 ? 50 - share : 50) : 0)); bar.setAttribute("y", "1");
  bar.setAttribute("width", String(Math.max(0.4, share))); bar.setAttribute("height", "8");
  bar.setAttribute("fill", color(value < 0 ? "bad" : "good"));
  svg.append(bar);
  return element("tr", {}, element("th", { scope: "row", class: inner ? "inner" : "" }, name, note),
    element("td", { class: "bar" }, svg), element("td", {}, text));
}

// Lines of points (null ends a line), with a dark rim that shows them on any picture.
function strokeAll(context, lines, width, height, tint, thickness) {
  context.beginPath();
  for (const line of lines) {
    let down = false;
    for (const at of line) {
      if (at === null) { down = false; continue; }
      if (down) context.lineTo(at[0] * width, at[1] * height); else context.moveTo(at[0] * width, at[1] * height);
      down = true;
    }
  }
  context.lineJoin = context.lineCap = "round";
  context.strokeStyle = "#0009"; context.lineWidth = thickness + 1.6; context.stroke();
  context.strokeStyle = tint; context.lineWidth = thickness; context.stroke();
}
