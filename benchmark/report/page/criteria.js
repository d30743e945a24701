// The pick for other criteria: controls, the sentence, the card's chart, and the equivalent command.

const SVG = "http://www.w3.org/2000/svg";
const FRAGMENT = "ask";

function ask(root, page, ring) {
  const place = root.querySelector("[data-ask]");
  if (!place || !page.ask) return;
  const data = page.ask;
  const card = root.querySelector("[data-card]");
  const usual = { ...data.criteria };
  let criteria = fromFragment(root, usual) || { ...usual };
  const written = keep(card);
  const controls = controlsOf(place, data);

  function show() {
    const rule = ruleOf(data.rows, criteria, data.rule);
    const pick = chosenBy(rule) || null;
    const same = Object.keys(usual).every((field) => usual[field] === criteria[field]);
    controls.show(criteria, rule);
    place.querySelector("[data-command]").textContent = commandOf(criteria, data);
    place.querySelector("[data-reset]").hidden = same;
    if (same) restore(card, written); else describe(card, page, rule, pick, usual);
    if (page.card) drawCard(card, page, rule, pick, secondBy(rule, pick));
    ring(pick && pick.name);
    markRows(root, data.rows, rule, pick);
  }

  function change() {
    criteria = { ...usual, ...controls.read() };
    const own = Object.keys(usual).filter((field) => criteria[field] !== usual[field]);
    toFragment(root, own, criteria);
    show();
  }

  place.hidden = false;
  controls.listen(change);
  place.querySelector("[data-reset]").addEventListener("click", () => {
    criteria = { ...usual };
    toFragment(root, [], criteria);
    show();
  });
  place.querySelector("[data-copy]").addEventListener("click", (event) => copy(place, event.target));
  place.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", () => {
    const found = fromFragment(root, usual);
    if (found) { criteria = found; show(); }
  });
  if (fromFragment(root, usual)) {
    place.open = true;
    show();
  } else {
    controls.show(criteria, ruleOf(data.rows, criteria, data.rule));
    place.querySelector("[data-command]").textContent = commandOf(criteria, data);
    place.querySelector("[data-reset]").hidden = true;
  }
}

function secondBy(rule, pick) {
  if (!pick) return null;
  const others = rule.rows.filter((row) => row !== pick);
  return pickFrom(others, rule.criteria, rule.constants) || null;
}

function commandOf(criteria, data) {
  return [command, optionsOf(criteria, data.rule), data.kept].filter(Boolean).join(" ");
}

// The state of the controls in the URL, such as `#ask-0?prefer=speed&max-drop=1`.

function toFragment(root, fields, criteria) {
  const state = new URLSearchParams(fields.map((field) => [field, criteria[field] ?? "none"]));
  const fragment = fields.length ? `#${FRAGMENT}-${root.dataset.comparison}?${state}` : "#";
  history.replaceState(null, "", fragment);
}

function fromFragment(root, usual) {
  const [name, query] = location.hash.slice(1).split("?");
  if (name !== `${FRAGMENT}-${root.dataset.comparison}` || !query) return null;
  const criteria = { ...usual };
  for (const [field, text] of new URLSearchParams(query)) {
    if (!(field in usual) || field === "choose_on") continue;
    const words = ["prefer", "cost"].includes(field);
    const number = text === "none" ? null : Number(text);
    if (words && root.querySelector(`[data-set="${field}"] option[value="${CSS.escape(text)}"]`)) criteria[field] = text;
    if (!words && (number === null || (Number.isFinite(number) && number >= 0))) criteria[field] = number;
  }
  // Only limits can be absent.
  for (const field of ["points_per_10x", "max_drop"]) criteria[field] ??= usual[field];
  return criteria;
}

// Controls: a slider, and a box for an exact value.

function controlsOf(place, data) {
  const sets = new Map([...place.querySelectorAll("[data-set]")].map((item) => [item.dataset.set, item]));
  const slides = new Map([...place.querySelectorAll("[data-slide]")].map((item) => [item.dataset.slide, item]));
  const scales = new Map([...slides].map(([field, slide]) => [field, scaleOf(field, slide, data)]));
  const costs = sets.get("cost");
  for (const item of [...costs.options]) {
    if (!data.rows.some((row) => row.costs[item.value])) item.remove();
  }
  const read = () => {
    const criteria = {};
    for (const [field, item] of sets) {
      if (item.matches("select")) { criteria[field] = item.value; continue; }
      const number = item.value === "" || !item.checkValidity() ? null : item.valueAsNumber;
      criteria[field] = number !== null && field === "min_accuracy" ? short(number / 100) : number;
      if (number === null && !scales.get(field).limit) criteria[field] = data.criteria[field];
    }
    return criteria;
  };
  const show = (criteria, rule) => {
    for (const [field, item] of sets) {
      const value = field === "min_accuracy" && criteria[field] !== null
        ? short(100 * criteria[field]) : criteria[field];
      const text = value === null ? "" : String(value);
      // Not while it is typed: `0.` would become `0`.
      if (item !== document.activeElement || item.matches("select")) item.value = text;
      if (slides.has(field)) slides.get(field).value = scales.get(field).place(value);
    }
    const shown = { cost: rule.criteria.prefer === "balance", points_per_10x: rule.criteria.prefer === "balance",
      max_drop: ["speed", "size"].includes(rule.criteria.prefer) };
    for (const [field, fits] of Object.entries(shown)) sets.get(field).closest(".field").hidden = !fits;
  };
  const listen = (change) => {
    for (const [field, slide] of slides) {
      slide.addEventListener("input", () => {
        const value = scales.get(field).value(Number(slide.value));
        sets.get(field).value = value === null ? "" : value;
        change();
      });
    }
    for (const item of sets.values()) {
      item.addEventListener(item.matches("select") ? "change" : "input", change);
    }
  };
  return { read, show, listen };
}

const short = (number) => Number(number.toPrecision(12));

// Values of a slider's positions. The end of a limit's slider is no limit.
function scaleOf(field, slide, data) {
  if (data.rule.limits[field]) {
    const key = data.rule.limits[field];
    const logs = data.rows.map((row) => row.costs[key]).filter(Boolean).map(([, log]) => log);
    const low = Math.min(...logs), high = Math.max(...logs);
    slide.closest(".field").hidden = !logs.length;
    const value = (place) => (
      place >= 100 ? null : Number((10 ** (low + ((high - low) * place) / 100)).toPrecision(3))
    );
    const place = (number) => (
      number === null ? 100 : (100 * (Math.log10(Math.max(number, 1e-9)) - low)) / (high - low || 1)
    );
    return { value, place, limit: true };
  }
  if (field === "min_accuracy") {
    const on = data.criteria.choose_on === "test" ? "test" : "valid";
    const shares = data.rows.map((row) => 100 * row[on]);
    slide.min = Math.floor(Math.min(...shares)) - 1;
    slide.max = Math.ceil(Math.max(...shares));
    slide.step = 0.1;
    return {
      value: (place) => (place <= Number(slide.min) ? null : place),
      place: (number) => (number === null ? slide.min : number),
      limit: true,
    };
  }
  return { value: (place) => place, place: (number) => number, limit: false };
}

// The sentences of the pick, as in benchmark/report/pick.py.

function keep(card) {
  return [...card.querySelectorAll(
    "[data-pick-name], [data-sentence], [data-tiles], [data-runner-up], [data-notes]",
  )].map((item) => [item, [...item.childNodes].map((node) => node.cloneNode(true))]);
}

function restore(card, written) {
  for (const [item, nodes] of written) item.replaceChildren(...nodes.map((node) => node.cloneNode(true)));
  card.querySelector("[data-pick-mark]")?.replaceChildren("pick");
  const reasons = card.querySelector(".reasons");
  if (reasons) reasons.hidden = false;
}

function describe(card, page, rule, pick, usual) {
  const data = page.ask;
  const set = (name, text) => {
    const item = card.querySelector(`[data-${name}]`);
    if (item) item.textContent = text;
  };
  const reference = referenceOf(rule);
  const second = secondBy(rule, pick);
  set("pick-name", pick ? pick.name : "No pick");
  breakable(card.querySelector("[data-pick-name]"));
  set("pick-mark", "by your settings");
  set("sentence", pick ? sentenceOf(data, rule, pick, reference) : "No architecture meets these limits.");
  const [on, read] = data.criteria.choose_on === "test" ? ["", ""] : [" on validation", "on test "];
  const words = second ? `${second.name}, ${read}${beside(data, rule, second, pick)}` : "";
  set("runner-up", second ? `Runner-up by the same rule${on}: ${words}.` : "");
  const reasons = card.querySelector(".reasons");
  if (reasons) reasons.hidden = true;
  const own = pickFrom(data.rows, usual, data.rule);
  const note = element("p", undefined, "choice-note");
  note.textContent = own === pick || !own
    ? "The same pick as in the report. The command below also writes how certain it is."
    : `The report picks ${own.name}. The command below also writes how certain this pick is.`;
  card.querySelector("[data-notes]").replaceChildren(note);
  const tiles = card.querySelector("[data-tiles]");
  const shown = pick ? page.tiles[data.rows.indexOf(pick)] : [];
  if (tiles) {
    tiles.replaceChildren(...shown.map(([name, value, small]) => {
      const tile = element("div"), figure = element("dd", value);
      if (small) figure.append(element("small", small));
      tile.append(element("dt", name), figure);
      return tile;
    }));
  }
}

function sentenceOf(data, rule, pick, reference) {
  if (pick !== reference) return `Pick ${pick.name}: ${beside(data, rule, pick, reference)}.`;
  const count = rule.eligible.length;
  return count > 1
    ? `Pick ${pick.name}: the most accurate of ${count} that meet the limits.`
    : `Pick ${pick.name}: the only one that meets the limits.`;
}

// Test accuracy and costs of a row beside another one.
function beside(data, rule, row, other) {
  return [evidence(data, row, other), ...prices(data, rule, row, other)].join(", ");
}

function evidence(data, row, other) {
  const points = 100 * (row.test - other.test);
  const text = `${pointsText(Math.abs(points))} points ${points > 0 ? "above" : "below"} ${other.name}`;
  const [one, two] = [data.rows.indexOf(row), data.rows.indexOf(other)];
  const pair = data.pairs.find(([i, j]) => (i === one && j === two) || (i === two && j === one));
  if (!pair) return text;
  const [first, , low, high, verdict] = pair;
  const ends = (first === one) === (points > 0) ? [low, high] : [-high, -low];
  const interval = ends.map((end) => pointsText(100 * end)).join(" to ");
  return `${text} (95 % CI ${interval}${verdict === "apart" ? "" : `, ${verdict}`})`;
}

function prices(data, rule, row, other) {
  const keys = new Set(["macs", "latency", data.rule.cost_of[rule.criteria.prefer] || rule.criteria.cost]);
  const texts = [];
  for (const key of keys) {
    const ours = rule.cost(key, row), theirs = rule.cost(key, other);
    if (!ours || !theirs || !ours[0] || !theirs[0]) continue;
    const [name, less, more] = data.words[key];
    if (ours[0] * data.same < theirs[0]) texts.push(`${times(theirs[0] / ours[0])} ${less} ${name}`);
    else if (theirs[0] * data.same < ours[0]) texts.push(`${times(ours[0] / theirs[0])} ${more} ${name}`);
  }
  return texts;
}

const times = (ratio) => `${ratio.toFixed(ratio >= 10 ? 0 : 1)}x`;

function pointsText(points) {
  const text = points.toFixed(points && Math.abs(points) < 0.05 ? 2 : 1);
  return text.replace("-", "−");
}

// The card's chart, as in card.py.

function drawCard(card, page, rule, pick, second) {
  const svg = card.querySelector("[data-scatter]");
  if (!svg) return;
  const { axes, accuracy, box } = page.card;
  const [left, top, width, height] = box;
  const key = axes[rule.key] ? rule.key : Object.keys(axes)[0];
  const [low, high] = axes[key].range;
  const x = (decade) => left + (width * (decade - low)) / (high - low);
  const y = (percents) => top + (height * (accuracy[1] - percents)) / (accuracy[1] - accuracy[0]);
  const spots = new Map();
  for (const mark of svg.querySelectorAll("[data-place]")) {
    const row = rule.rows[mark.dataset.place];
    const cost = row.costs[key];
    mark.setAttribute("visibility", cost ? "visible" : "hidden");
    mark.classList.toggle("excluded", !rule.eligible.includes(row));
    if (!cost) continue;
    const across = tenths(x(cost[1]));
    const [line, circle] = mark.children;
    set(line, { x1: across, x2: across });
    set(circle, { cx: across });
    spots.set(row, {
      x: across, y: Number(circle.getAttribute("cy")), front: mark.classList.contains("front"),
      high: Number(line.getAttribute("y2")), low: Number(line.getAttribute("y1")),
    });
  }
  svg.querySelector("[data-x-title]").textContent = `${axes[key].title}, log scale`;
  svg.querySelector("[data-x-ticks]").replaceChildren(...axes[key].ticks.map(([decade, words]) => {
    const tick = document.createElementNS(SVG, "text");
    set(tick, { x: x(decade), y: top + height + 16, "text-anchor": "middle" });
    tick.textContent = words;
    return tick;
  }));
  const limit = Object.entries(rule.constants.limits).find(([, column]) => column === key);
  const bound = limit && rule.criteria[limit[0]];
  const end = bound ? x(Math.log10(bound)) : -1;
  set(svg.querySelector("[data-limit]"), { x1: end, x2: end });
  ruleLine(card, svg, rule, pick, key, x, y, [low, high]);
  rings(svg, { pick: spots.get(pick), "runner-up": spots.get(second) });
  names(svg, page.card, spots, pick, second);
}

function set(item, attributes) {
  for (const [name, value] of Object.entries(attributes)) item.setAttribute(name, value);
}

function rings(svg, marks) {
  for (const [kind, mark] of Object.entries(marks)) {
    const ring = svg.querySelector(`[data-ring="${kind}"]`);
    ring.setAttribute("visibility", mark ? "visible" : "hidden");
    if (mark) set(ring, { cx: mark.x, cy: mark.y });
  }
}

function names(svg, { font: usual, named, box }, spots, pick, second) {
  const [left, top, , height] = box;
  const bounds = [left, top, svg.viewBox.baseVal.width, top + height];
  const ringed = [pick, second].filter((row) => spots.has(row));
  const few = spots.size <= named.all;
  const font = few ? usual : { ...usual, falls: usual.falls.slice(0, named.near) };
  const others = [...spots.keys()].filter((row) => !ringed.includes(row) && (few || spots.get(row).front));
  const occupied = [...spots].map(([row, { x, y }]) => {
    const radius = ringed.includes(row) ? named.ring : named.dot;
    return [x - radius, y - radius, x + radius, y + radius];
  });
  const places = [...spots.keys()];
  const own = ringed.map((row) => occupied[places.indexOf(row)]);
  const lines = [...spots.values()].map(({ x, high, low }) => [x - 1, high, x + 1, low]);
  lines.push(...pieces(svg.querySelector("[data-rule]"), named.pieces));
  const made = new Map();
  [...ringed, ...others].forEach((row, rank) => {
    const spot = spots.get(row);
    const text = cut(row.name, font.max_length);
    let label = free(text, spot, [...occupied, ...lines], bounds, font);
    const must = rank < ringed.length;
    if (!label && (few || must)) label = free(text, spot, occupied, bounds, font);
    if (!label && must) label = free(text, spot, [...own, ...occupied.slice(spots.size)], bounds, font);
    if (!label && rank === 0) label = forced(text, spot, bounds, font);
    if (!label) return;
    occupied.push(boxOf(spot, label, font));
    const kind = row === pick ? "pick" : row === second ? "runner-up" : "other";
    const name = document.createElementNS(SVG, "text");
    set(name, { class: `name ${kind}`, "data-name": kind, x: tenths(spot.x + label.dx),
      y: tenths(spot.y + label.dy + 4), "text-anchor": label.dx > 0 ? "start" : "end" });
    name.textContent = label.text;
    made.set(row, name);
  });
  const texts = [...spots.keys()].filter((row) => made.has(row)).map((row) => made.get(row));
  svg.querySelector("[data-names]").replaceChildren(...texts);
}

const tenths = (number) => Math.round(10 * number) / 10;

function cut(text, length) {
  if (text.length <= length) return text;
  const tail = Math.floor(Math.max(length - 1, 1) / 2);
  return `${text.slice(0, Math.max(length - 1 - tail, 1))}…${text.slice(text.length - tail)}`;
}

function free(text, spot, taken, bounds, font) {
  for (const dy of font.falls) {
    for (const dx of [font.gap, -font.gap]) {
      const label = { text, dx, dy };
      const own = boxOf(spot, label, font);
      const inside = own[0] >= bounds[0] && own[2] <= bounds[2] && own[1] >= bounds[1] && own[3] <= bounds[3];
      if (inside && !taken.some((other) => overlap(own, other))) return label;
    }
  }
  return null;
}

function forced(text, spot, bounds, font) {
  const left = spot.x - bounds[0] - font.gap, right = bounds[2] - spot.x - font.gap;
  const fits = Math.floor(Math.max(left, right) / font.character);
  return { text: cut(text, fits), dx: right >= left ? font.gap : -font.gap, dy: 0 };
}

function boxOf(spot, { text, dx, dy }, font) {
  const narrow = [...text].filter((one) => font.narrow.includes(one)).length;
  const wide = font.character * (text.length - 0.45 * narrow);
  const left = spot.x + dx - (dx < 0 ? wide : 0), middle = spot.y + dy;
  return [left, middle - font.line / 2, left + wide, middle + font.line / 2];
}

const overlap = (one, other) => (
  one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3]
);

// Boxes along the rule's line, which names avoid.
function pieces(line, count) {
  if (!line.hasAttribute("x1") || line.getAttribute("visibility") === "hidden") return [];
  const [x0, y0, x1, y1] = ["x1", "y1", "x2", "y2"].map((name) => tenths(Number(line.getAttribute(name))));
  return Array.from({ length: count }, (_, number) => {
    const [one, other] = [number, number + 1].map((step) => y0 + ((y1 - y0) * step) / count);
    const [left, right] = [number, number + 1].map((step) => x0 + ((x1 - x0) * step) / count);
    return [left, Math.min(one, other) - 1, right, Math.max(one, other) + 1];
  });
}

function ruleLine(card, svg, rule, pick, key, x, y, ends) {
  const line = svg.querySelector("[data-rule]");
  const words = card.querySelector("[data-rule-words]");
  const { criteria } = rule;
  const drawn = pick && rule.byCost && key === rule.key;
  line.setAttribute("visibility", drawn ? "visible" : "hidden");
  words.textContent = "";
  if (!drawn) return;
  const balance = criteria.prefer === "balance";
  const level = balance
    ? ends.map((end) => 100 * pick.test + criteria.points_per_10x * (end - pick.costs[key][1]))
    : [100 * referenceOf(rule).test - criteria.max_drop].flatMap((found) => [found, found]);
  set(line, { x1: x(ends[0]), y1: y(level[0]), x2: x(ends[1]), y2: y(level[1]) });
  words.textContent = balance
    ? ` Below the dashed line, an architecture is worth less than the pick: ${criteria.points_per_10x} points of accuracy for each 10x of cost.`
    : ` Dashed line: ${criteria.max_drop} points below the most accurate.`;
}

// Marks the pick, and what the limits exclude, in the main table.
function markRows(root, rows, rule, pick) {
  for (const line of root.querySelectorAll("table.main tbody tr[data-key]")) {
    const row = rows[line.dataset.key], out = !rule.eligible.includes(row);
    const head = line.cells[0];
    line.classList.toggle("excluded", out);
    line.classList.toggle("pick", row === pick);
    head.querySelector(".mark.excluded")?.remove();
    head.querySelector(".mark.pick")?.remove();
    if (row === pick) head.append(" ", element("span", "pick", "mark pick"));
    if (out) head.append(" ", element("span", "excluded", "mark excluded"));
  }
}

// The clipboard may be closed to a page that was opened from a file.
async function copy(place, button) {
  const code = place.querySelector("[data-command]");
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    getSelection().selectAllChildren(code);
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}
