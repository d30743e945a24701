// The first page of a gallery: filters, and a summary by architecture of the rows that are shown.

const BEHIND = 3, MACS = 4;

function median(values) {
  if (!values.length) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

// What the shown rows say about each architecture, those that may be best in most studies first.
function byArchitecture(lines) {
  const found = new Map();
  for (const { tags, key, values } of lines) {
    const tag = [...tags].find((item) => item.startsWith("architecture"));
    if (!found.has(tag)) found.set(tag, { studies: new Set(), picked: 0, best: 0, behind: [], macs: [] });
    const item = found.get(tag);
    item.studies.add(key);
    item.picked += tags.has("pick");
    item.best += tags.has("set");
    item.behind.push(-Number(values[BEHIND]));
    if (values[MACS] !== undefined) item.macs.push(Number(values[MACS]));
  }
  return [...found].map(([tag, item]) => ({
    tag, studies: item.studies.size, picked: item.picked, best: item.best,
    behind: median(item.behind), macs: median(item.macs),
  })).sort((a, b) => b.picked / b.studies - a.picked / a.studies || b.best - a.best || a.behind - b.behind);
}

// Sets one of the filters, as a reader would.
function choose(filter, tag) {
  const menu = document.querySelector(`[data-menu="${filter}"]`);
  if (!menu) return;
  menu.value = tag;
  menu.dispatchEvent(new Event("change", { bubbles: true }));
}

function showWinners(table, names, lines) {
  const numbers = (values) => values.map(([text, value]) => {
    const cell = element("td", text, "number");
    if (value !== undefined) cell.dataset.value = value;
    return cell;
  });
  table.tBodies[0].replaceChildren(...byArchitecture(lines).map((item) => {
    const row = element("tr");
    const head = element("th"), name = breakable(element("a", names[item.tag]));
    head.scope = "row";
    head.append(name);
    name.href = "#studies";
    name.addEventListener("click", () => choose("architecture", item.tag));
    head.dataset.value = names[item.tag].toLowerCase();
    row.append(head, ...numbers([
      [item.studies, item.studies], [item.picked, item.picked], [item.best, item.best],
      [(100 * item.behind).toFixed(1), item.behind],
      item.macs === undefined ? ["–"] : [`${(item.macs / 1e9).toFixed(3)} G`, item.macs],
    ]));
    return row;
  }));
}

const { architectures } = JSON.parse(document.getElementById("data").textContent);
const listing = sortable(document.querySelector("#studies table"));
const winners = document.querySelector("[data-winners]");
const winnersTable = winners.querySelector("table");
if (listing) {
  winners.hidden = false;
  sortable(winnersTable);
  filtered(document, listing, (lines) => showWinners(winnersTable, architectures, lines));
}
document.querySelectorAll(".scroll").forEach(edges);
