"use strict";
// Interaction: sort tables, choose what charts show, save charts.

const { light, comparisons } = JSON.parse(document.getElementById("data").textContent);

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function option(value, text) {
  const made = element("option", text);
  made.value = value;
  return made;
}

// Tables: the first click sorts numbers descending and text ascending.

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = element("button", head.textContent);
    button.type = "button";
    button.addEventListener("click", () => sortBy(table, heads, column));
    head.replaceChildren(button);
  });
}

function sortBy(table, heads, column) {
  const head = heads[column];
  const numbers = head.classList.contains("number");
  const now = head.getAttribute("aria-sort");
  const order = now ? (now === "ascending" ? "descending" : "ascending")
    : numbers ? "descending" : "ascending";
  const sign = order === "ascending" ? 1 : -1;
  // Failed and missing runs have no values and stay at the end.
  const value = (row) => (row.matches(".missing") ? undefined : row.cells[column].dataset.value);
  const body = table.tBodies[0];
  const rows = [...body.rows];
  rows.sort((one, other) => {
    const a = value(one), b = value(other);
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    return sign * (numbers ? a - b : a.localeCompare(b, "en", { numeric: true }));
  });
  body.append(...rows);
  heads.forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", order);
}

// Charts use the page's CSS variables, so light, dark and print need no redraw.

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.plot = figure.querySelector("[data-plot]");
    this.drawn = Promise.resolve();
    for (const button of figure.querySelectorAll("[data-save-as]")) {
      button.addEventListener("click", () => this.save(button.dataset.saveAs));
    }
  }

  draw(spec, then) {
    this.drawn = this.drawn.then(async () => {
      if (this.result) this.result.finalize();
      this.result = await vegaEmbed(this.plot, spec, {
        actions: false,
        renderer: "svg",
        // Interpret expressions, because the content security policy forbids `eval`.
        ast: true,
        tooltip: { theme: "bench", disableDefaultStyle: true },
      });
      const save = this.figure.querySelector("[data-save]");
      if (save) save.hidden = false;
      if (then) then(this.result.view);
      this.figure.dataset.ready = "";
    });
    return this.drawn;
  }

  change(act) {
    this.drawn = this.drawn.then(() => this.result && act(this.result.view).runAsync());
  }

  async save(kind) {
    let svg = await this.result.view.toSVG();
    for (const [name, colour] of Object.entries(light)) svg = svg.replaceAll(`var(--${name})`, colour);
    const address = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
    const link = element("a");
    link.download = `${this.figure.dataset.chart}.${kind}`;
    link.href = kind === "svg" ? address : await pngOf(address);
    link.click();
  }
}

async function pngOf(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = element("canvas");
  canvas.width = 2 * image.width;
  canvas.height = 2 * image.height;
  const context = canvas.getContext("2d");
  context.fillStyle = light.paper;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/png");
}

// Charts with their controls. Charts outside the viewport are drawn when the browser is idle.

const later = [];

function whenSeen(figure, draw) {
  let done = false;
  const once = () => { if (!done) { done = true; draw(); } };
  const watcher = new IntersectionObserver((seen) => {
    if (seen.some((entry) => entry.isIntersecting)) { watcher.disconnect(); once(); }
  }, { rootMargin: "200px" });
  watcher.observe(figure);
  later.push(once);
}

function drawTheRest() {
  const idle = window.requestIdleCallback || ((act) => setTimeout(act, 50));
  const next = later.shift();
  if (next) idle(() => { next(); drawTheRest(); });
}

function chosen(fieldset) {
  return fieldset.querySelector("input:checked").value;
}

function pareto(root, specs) {
  const figure = root.querySelector('[data-chart="pareto"]');
  if (!figure) return;
  const fieldset = root.querySelector('[data-choice^="pareto"]');
  const chart = new Chart(figure);
  const draw = () => chart.draw(specs[chosen(fieldset)]);
  whenSeen(figure, draw);
  fieldset.addEventListener("change", draw);
}

function curves(root, specs, names) {
  const figure = root.querySelector('[data-chart="curves"]');
  if (!figure) return;
  const fieldset = root.querySelector('[data-choice^="curves"]');
  const label = root.querySelector("[data-focus]");
  const select = label.querySelector("select");
  names.forEach((name) => select.append(option(name, name)));
  label.hidden = names.length < 2;
  const chart = new Chart(figure);
  const focus = (view) => view.signal("focus", select.value);
  const draw = () => chart.draw(specs[chosen(fieldset)], (view) => focus(view).run());
  whenSeen(figure, draw);
  fieldset.addEventListener("change", draw);
  select.addEventListener("change", () => chart.change(focus));
}

function answers(root, page) {
  const place = root.querySelector("[data-answers]");
  if (!place) return;
  const select = place.querySelector("[data-choose]");
  page.answers.forEach((item, number) => {
    const made = option(number, item.name);
    made.selected = item.first;
    select.append(made);
  });
  const figure = place.querySelector('[data-chart="confusion"]');
  const chart = new Chart(figure);
  const { spec, labels, data } = page.confusion;
  const current = () => page.answers[select.value];
  const cells = () => current().cells.map(([actual, answer, images, share]) => (
    { actual: labels[actual], answer: labels[answer], images, share }
  ));
  const show = () => showClasses(place, current());
  show();
  whenSeen(figure, () => chart.draw(spec, (view) => view.data(data, cells()).run()));
  select.addEventListener("change", () => {
    show();
    chart.change((view) => view.data(data, cells()));
  });
}

const percent = (share) => `${(100 * share).toFixed(2)} %`;

function showClasses(place, item) {
  place.querySelector("[data-calibration]").textContent = item.calibration;
  place.querySelector("[data-coverage]").textContent = percent(item.coverage);
  const table = place.querySelector("[data-classes]");
  table.tBodies[0].replaceChildren(...item.classes.map(([label, images, ...shares]) => {
    const row = element("tr");
    const head = element("th", label);
    head.scope = "row";
    head.dataset.value = label.toLowerCase();
    const figures = [images, ...shares].map((value, column) => {
      const cell = element("td", column ? value.toFixed(3) : value.toLocaleString("en"), "number");
      cell.dataset.value = value;
      return cell;
    });
    row.append(head, ...figures);
    return row;
  }));
  for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
  place.querySelector("[data-hardest]").replaceChildren(
    ...item.hardest.map(([label, answer, images, share]) => {
      const line = element("li");
      line.append(element("b", label), " as ", element("b", answer), " ");
      line.append(element("small", `${images} images, ${(100 * share).toFixed(1)} % of the class`));
      return line;
    }),
  );
}

function pairs(root) {
  const label = root.querySelector("[data-pairs]");
  const table = root.querySelector("table.pairs");
  if (!label || !table) return;
  const rows = [...table.tBodies[0].rows];
  const names = new Map();
  for (const row of rows) {
    const keys = row.dataset.key.split(" ");
    keys.forEach((key, column) => names.set(key, row.cells[column].textContent));
  }
  const select = label.querySelector("select");
  for (const key of [...names.keys()].sort((a, b) => a - b)) select.append(option(key, names.get(key)));
  const show = () => {
    for (const row of rows) {
      row.hidden = select.value !== "" && !row.dataset.key.split(" ").includes(select.value);
    }
  };
  label.hidden = names.size < 3;
  // With hundreds of pairs, show only those of the most accurate architecture at first.
  if (rows.length > 60) select.value = "0";
  show();
  select.addEventListener("change", show);
}

for (const root of document.querySelectorAll("[data-comparison]")) {
  const page = comparisons[root.dataset.comparison];
  root.querySelectorAll("table[data-sortable], table[data-classes]").forEach(sortable);
  pareto(root, page.pareto);
  const spread = root.querySelector('[data-chart="spread"]');
  if (spread) {
    const chart = new Chart(spread);
    whenSeen(spread, () => chart.draw(page.spread));
  }
  const tuning = root.querySelector('[data-chart="tuning"]');
  if (tuning) {
    const chart = new Chart(tuning);
    whenSeen(tuning, () => chart.draw(page.tuning));
  }
  curves(root, page.curves, page.names);
  answers(root, page);
  pairs(root);
}
document.documentElement.dataset.usable = "";
window.addEventListener("load", drawTheRest);
