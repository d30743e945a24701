// The page of architectures' costs: search, limits, the chart of what is left, and records.

const { columns, rows, ...data } = JSON.parse(document.getElementById("data").textContent);
const spots = new Map(Object.entries(data.spots));
const records = new Map(rows.map((row) => [row[0], Object.fromEntries(columns.map((name, place) => [name, row[place]]))]));
const pageTable = document.querySelector("table.costs");
const listed = sortable(pageTable);

// A test of texts: with wildcards for the whole text, else for a part of it.
function pattern(term) {
  if (!/[*?]/.test(term)) return (text) => text.includes(term);
  const source = term.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*+/g, ".*").replace(/\?/g, ".");
  const expression = new RegExp(`^${source}$`);
  return (text) => expression.test(text);
}

// A test of lines; one of several words is enough, as in `bench models resnet* vit_*`.
function search(text) {
  const words = text.toLowerCase().split(/[\s,]+/).filter(Boolean);
  const tests = words.map((word) => {
    const ofFamily = word.startsWith("family:");
    const test = pattern(ofFamily ? word.slice(7) : word);
    return ofFamily ? ({ family }) => test(family) : ({ names }) => names.some(test);
  });
  return (line) => !tests.length || tests.some((test) => test(line));
}

function describeLine(line) {
  const record = records.get(line.values[0]);
  const name = record.architecture.toLowerCase();
  const tags = record.tags.toLowerCase().split(" ").filter(Boolean);
  line.record = record;
  line.family = record.family.toLowerCase();
  line.names = [name, ...tags, ...tags.map((tag) => `${name}.${tag}`)];
  line.costs = {
    macs: number(record.macs), params: number(record.params),
    image_size: record.image_size ? Math.max(...record.image_size.split("x").map(Number)) : undefined,
  };
}

const number = (text) => (text === "" ? undefined : Number(text));
const english = (count) => count.toLocaleString("en");

function limits(bar) {
  const reset = document.querySelector("[data-reset]");
  const shown = document.querySelector("[data-shown]");
  const controls = [...bar.querySelectorAll("input, select")];
  const maxima = controls.filter((item) => item.dataset.max);
  const choices = controls.filter((item) => item.dataset.only);
  listed.rows.forEach(describeLine);
  const show = () => {
    const found = search(bar.querySelector("[type=search]").value);
    const most = maxima.filter((item) => item.value !== "")
      .map(({ dataset, value }) => [dataset.max, Number(value) * Number(dataset.unit)]);
    const only = choices.filter((item) => item.value !== "").map((item) => [item.dataset.only, item.value]);
    // What has no figure is within no limit.
    listed.matches = (line) => most.every(([key, limit]) => line.costs[key] <= limit)
      && only.every(([key, value]) => line.record[key] === value) && found(line);
    const all = listed.rows.length, count = listed.show();
    shown.textContent = count === all ? `${english(all)} architectures` : `${english(count)} of ${english(all)} architectures`;
    reset.hidden = controls.every((item) => item.value === "");
    draw(listed.rows.filter(listed.matches));
  };
  bar.addEventListener("input", show);
  bar.addEventListener("change", show);
  reset.addEventListener("click", () => {
    for (const item of controls) item.value = "";
    show();
    controls[0].focus();
  });
  bar.hidden = false;
  // Browsers keep what was typed when a page is loaded again.
  show();
}

let drawn = [...spots.keys()];

// A line without length, of which only the round ends are seen.
const dotAt = (name) => `M${spots.get(name).join(" ")}h0`;

function draw(lines) {
  drawn = lines.map(({ record }) => record.architecture).filter((name) => spots.has(name));
  const path = drawn.map(dotAt).join("");
  document.querySelector("[data-fits]")?.setAttribute("d", path);
  point();
}

// Shows the dot of an architecture in the chart, and its costs below it.
function point(name) {
  const dot = document.querySelector("[data-nearest]"), text = document.querySelector("[data-near]");
  if (!dot) return;
  dot.setAttribute("d", name ? dotAt(name) : "");
  if (!name) return;
  const { params, macs } = records.get(name);
  text.textContent = `${name}: ${(params / 1e6).toFixed(2)} M parameters, ${(macs / 1e9).toFixed(3)} G MACs`;
}

// Architecture of the nearest dot that is drawn, unless it is too far away to be meant.
function nearest(svg, event) {
  const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  let least = 400, found;
  for (const name of drawn) {
    const [across, down] = spots.get(name), away = (across - x) ** 2 + (down - y) ** 2;
    if (away < least) [least, found] = [away, name];
  }
  return found;
}

function chart(svg) {
  svg.addEventListener("pointermove", (event) => point(nearest(svg, event)));
  svg.addEventListener("click", (event) => {
    const name = nearest(svg, event);
    if (name) location.hash = name;
  });
}

// Opens the record that the address names, or closes it.
function openRecord() {
  const dialog = document.querySelector("[data-record]");
  const record = records.get(location.hash.slice(1));
  if (!record) {
    dialog.close();
    return;
  }
  breakable(Object.assign(dialog.querySelector("h2"), { textContent: record.architecture }));
  dialog.querySelector("dl").replaceChildren(...columns.slice(1).flatMap((name) => {
    const value = record[name];
    const plain = /^\d+$/.test(value) ? english(BigInt(value)) : value.replaceAll("; ", ";\n");
    return [element("dt", name), element("dd", plain || "–")];
  }));
  dialog.querySelector("code").textContent = `bench cost ${record.architecture} --detail`;
  if (!dialog.open) dialog.showModal();
}

function recordDialog(dialog) {
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  // A click beside the record closes it.
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => {
    if (records.has(location.hash.slice(1))) history.replaceState(null, "", location.href.split("#")[0]);
  });
  window.addEventListener("hashchange", openRecord);
  openRecord();
}

// The name of a row is enough for the keyboard.
for (const link of pageTable.querySelectorAll("td a")) link.tabIndex = -1;
if (listed) limits(document.querySelector("[data-limits]"));
const plane = document.querySelector("[data-plane]");
if (plane) chart(plane);
recordDialog(document.querySelector("[data-record]"));
document.querySelectorAll(".scroll").forEach(edges);
