// Charts with their controls. They use the page's CSS variables, so light, dark and print need no
// redraw. Charts outside the viewport are drawn when the browser is idle.

const { light, command, comparisons } = JSON.parse(document.getElementById("data").textContent);

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

// Text in which long names can break after `_` and `.`, as in figures.py.
function breakable(made) {
  const parts = made.textContent.split(/(?<=_|[a-z]\.)(?=\w)/);
  made.replaceChildren(...parts.flatMap((part, place) => (place ? [document.createElement("wbr"), part] : [part])));
  return made;
}

function option(value, text) {
  const made = element("option", text);
  made.value = value;
  return made;
}

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.plot = figure.querySelector("[data-plot]");
    this.reading = figure.querySelector("[data-reading]");
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
      this.result.view.addEventListener("click", (event, item) => this.click(item));
      const save = this.figure.querySelector("[data-save]");
      if (save) save.hidden = false;
      if (then) then(this.result.view);
      this.figure.dataset.ready = "";
    });
    return this.drawn;
  }

  // A finger has no pointer to hover with: the figures of a tapped mark are shown below the chart.
  click(item) {
    const figures = item && item.tooltip;
    this.reading.hidden = !figures;
    if (figures) {
      const words = Object.entries(figures).map(([title, text]) => {
        const part = element("span", `${title} `);
        part.append(element("b", text));
        return part;
      });
      this.reading.replaceChildren(...words);
    }
    if (this.clicked && item && item.datum) this.clicked(item.datum);
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

const later = [];

function whenSeen(figure, draw) {
  let done = false;
  const once = () => {
    if (done) return undefined;
    done = true;
    return draw();
  };
  const watcher = new IntersectionObserver((seen) => {
    if (seen.some((entry) => entry.isIntersecting)) { watcher.disconnect(); once(); }
  }, { rootMargin: "200px" });
  watcher.observe(figure);
  later.push(once);
}

// Draws the other charts, then lays out the sections out of view, so that the page's height is right.
// One at a time, so that a click never waits for more than one.
function drawTheRest() {
  const idle = window.requestIdleCallback || ((act) => setTimeout(act, 50));
  const sections = [...document.querySelectorAll("main section")];
  const steps = [...later, ...sections.map((section) => () => { section.dataset.laid = ""; })];
  const next = () => {
    const step = steps.shift();
    if (step) idle(async () => { await step(); next(); });
    else document.documentElement.dataset.complete = "";
  };
  next();
}

function chosen(fieldset) {
  return fieldset.querySelector("input:checked").value;
}

// Draws the front; the function that it returns rings another pick.
function pareto(root, specs) {
  const figure = root.querySelector('[data-chart="pareto"]');
  if (!figure) return () => {};
  const fieldset = root.querySelector('[data-choice^="pareto"]');
  const chart = new Chart(figure);
  let picked;
  const draw = () => {
    const spec = specs[chosen(fieldset)];
    if (picked !== undefined) {
      const data = Object.values(spec.datasets).flat();
      for (const datum of data) datum.pick = datum.name === picked;
    }
    return chart.draw(spec);
  };
  whenSeen(figure, draw);
  fieldset.addEventListener("change", draw);
  return (name) => {
    picked = name;
    if (figure.dataset.ready !== undefined) draw();
  };
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

function plain(root, name, spec) {
  const figure = root.querySelector(`[data-chart="${name}"]`);
  if (!figure || !spec) return;
  const chart = new Chart(figure);
  whenSeen(figure, () => chart.draw(spec));
}
