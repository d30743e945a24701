// Results by class, the confusion matrix, and the images behind each confusion.

// Architectures with the same prediction that are named; more are counted.
const NAMED = 3;

const percent = (share) => `${(100 * share).toFixed(1)} %`;

function resultsByClass(root, page) {
  const figure = root.querySelector('[data-chart="confusion"]');
  if (!figure) return;
  const selects = [...root.querySelectorAll("[data-choose]")];
  for (const select of selects) {
    page.results.forEach((item, number) => {
      const made = option(number, item.name);
      made.selected = item.first;
      select.append(made);
    });
  }
  const chart = new Chart(figure);
  const { spec, labels, data } = page.confusion;
  const current = () => page.results[selects[0].value];
  const cells = () => current().cells.map(([actual, predicted, images, share]) => (
    { actual: labels[actual], predicted: labels[predicted], images, share }
  ));
  const gallery = openable(root, page, () => Number(selects[0].value));
  const show = () => {
    showClasses(root, current());
    showConfusions(root, current(), gallery);
    if (gallery) gallery.choices(current(), labels);
  };
  show();
  if (gallery) {
    figure.classList.add("clickable");
    chart.clicked = ({ actual, predicted }) => actual !== undefined && gallery.open(actual, predicted);
  }
  whenSeen(figure, () => chart.draw(spec, (view) => view.data(data, cells()).run()));
  for (const select of selects) {
    select.addEventListener("change", () => {
      for (const other of selects) other.value = select.value;
      show();
      if (gallery) gallery.close();
      chart.change((view) => view.data(data, cells()));
    });
  }
}

function showClasses(root, item) {
  root.querySelector("[data-calibration]").textContent = item.calibration;
  root.querySelector("[data-coverage]").textContent = percent(item.coverage);
  const table = root.querySelector("[data-classes]");
  table.tBodies[0].replaceChildren(...item.classes.map(([label, images, ...shares]) => {
    const row = element("tr");
    const head = element("th", label);
    head.scope = "row";
    head.dataset.value = label.toLowerCase();
    const figures = [images, ...shares].map((value, column) => {
      const cell = element("td", column ? value.toFixed(2) : value.toLocaleString("en"), "number");
      cell.dataset.value = value;
      return cell;
    });
    row.append(head, ...figures);
    return row;
  }));
  for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
}

// Counts are whole; those of several seeds are means.
function counted(images, seeds) {
  const whole = Math.round(images);
  const text = whole === 1 ? "1 image" : `${whole.toLocaleString("en")} images`;
  return seeds > 1 ? `${text} (mean of ${seeds} seeds)` : text;
}

function showConfusions(root, item, gallery) {
  root.querySelector("[data-seeds]").textContent = item.seeds > 1 ? `, mean of ${item.seeds} seeds` : "";
  root.querySelector("[data-hardest]").replaceChildren(
    ...item.hardest.map(([label, predicted, images, share]) => {
      const line = element("li");
      const words = element(gallery ? "button" : "span");
      words.append(element("b", label), " as ", element("b", predicted));
      if (gallery) {
        words.type = "button";
        words.addEventListener("click", () => gallery.open(label, predicted));
      }
      const count = element("small", `${counted(images, 1)}, ${percent(share)} of the class`);
      line.append(words, " ", count);
      return line;
    }),
  );
}

// The images behind one confusion of the current architecture, or null without images.
function openable(root, page, current) {
  const panel = root.querySelector("[data-opened]");
  if (!panel || !page.behind.length) return null;
  const title = panel.querySelector("[data-opened-title]");
  const select = root.querySelector("[data-cell]");
  const embedded = new Map([...root.querySelectorAll("img[data-id]")].map((img) => [img.dataset.id, img.src]));

  function open(actual, predicted) {
    const place = current(), item = page.results[place];
    const label = page.classes.indexOf(actual), number = page.classes.indexOf(predicted);
    const found = page.behind
      .filter((image) => image.label === label && image.predictions[place] === number)
      .sort((one, other) => other.sure[place] - one.sure[place]);
    const cell = item.cells.find(([i, j]) => (
      page.confusion.labels[i] === actual && page.confusion.labels[j] === predicted
    ));
    title.textContent = actual === predicted
      ? `${actual}, classified correctly by ${item.name}`
      : `${actual}, classified as ${predicted} by ${item.name}`;
    const all = cell ? `${found.length} of ${counted(cell[2], item.seeds)}` : `${found.length} images`;
    panel.querySelector("[data-opened-note]").textContent = found.length
      ? `${all}, most confident first; predictions of the first seed.`
      : "The page contains no image of this cell, to limit its size.";
    panel.querySelector("[data-opened-images]").replaceChildren(
      ...found.map((image) => shown(image, page, place, embedded)),
    );
    select.value = cell ? `${cell[0]} ${cell[1]}` : "";
    panel.hidden = false;
    title.focus({ preventScroll: true });
    panel.scrollIntoView({ block: "nearest" });
  }

  select.addEventListener("change", () => {
    if (select.value) open(...select.value.split(" ").map((place) => page.confusion.labels[place]));
  });
  return {
    open,
    close: () => { panel.hidden = true; },
    choices(item, labels) {
      const wrong = item.cells.filter(([actual, predicted]) => actual !== predicted);
      wrong.sort((one, other) => other[2] - one[2]);
      select.replaceChildren(option("", "a confusion"), ...wrong.map(([actual, predicted, images]) => (
        option(`${actual} ${predicted}`,
          `${labels[actual]} as ${labels[predicted]}: ${Math.max(1, Math.round(images))}`)
      )));
    },
  };
}

function shown(image, page, place, embedded) {
  const line = element("li");
  const address = image.uri || embedded.get(image.id);
  if (address) {
    const img = element("img");
    img.src = address;
    img.alt = `Test image ${image.id}`;
    img.width = img.height = 96;
    line.append(img);
  } else {
    line.append(element("span", "no image", "blank"));
  }
  const name = element("p");
  name.append(element("b", page.classes[image.label]), " ", element("span", image.id, "id"));
  line.append(name);
  line.append(element("p", `${image.sure[place]} % sure`, "sure"));
  if (image.doubt) line.append(element("p", `suspected label error: ${image.doubt}?`, "doubt"));
  const names = new Map();
  image.predictions.forEach((predicted, number) => {
    names.set(predicted, [...(names.get(predicted) || []), page.results[number].name]);
  });
  const list = element("ul");
  for (const [predicted, who] of [...names].sort((one, other) => other[1].length - one[1].length)) {
    const all = names.size === 1 && who.length > 1;
    const words = all ? "all" : who.length > NAMED ? `${who.length} architectures` : who.join(", ");
    const item = element("li", `${page.classes[predicted]} `, predicted === image.label ? "right" : "");
    item.append(breakable(element("span", words)));
    list.append(item);
  }
  line.append(list);
  return line;
}
