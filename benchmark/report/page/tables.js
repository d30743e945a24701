// Tables: sort, filter, and show the first rows of long ones.

// Number of rows that a long table shows at first.
const FIRST_ROWS = 100;

class Listing {
  constructor(table) {
    this.table = table;
    this.scroll = table.closest(".scroll");
    this.matches = () => true;
    this.all = false;
    // Sorted without the document, which is slow to query.
    this.rows = [...table.tBodies[0].rows].map((row) => ({
      row, missing: row.matches(".missing"), values: [...row.cells].map((cell) => cell.dataset.value), rest: false,
    }));
    if (this.rows.length > FIRST_ROWS) this.addMore();
    if (this.rows.length > 40) this.scroll.classList.add("tall");
    this.show();
  }

  addMore() {
    this.more = element("p", undefined, "more");
    const button = element("button", `Show all ${this.rows.length.toLocaleString("en")} rows`);
    button.type = "button";
    button.addEventListener("click", () => { this.all = true; this.show(); });
    this.more.append(button);
    this.scroll.after(this.more);
  }

  // Hides rows that do not match, and those beyond the first of a long table.
  show() {
    let count = 0;
    for (const line of this.rows) {
      const fits = this.matches(line.row);
      const rest = Boolean(fits && !this.all && this.more && count >= FIRST_ROWS);
      count += fits;
      if (line.row.hidden !== (!fits || rest)) line.row.hidden = !fits || rest;
      if (line.rest !== rest) line.row.toggleAttribute("data-rest", rest);
      line.rest = rest;
    }
    if (this.more) this.more.hidden = this.all || count <= FIRST_ROWS;
    return count;
  }

  sort(column, numbers, sign) {
    for (const line of this.rows) {
      const value = line.missing ? undefined : line.values[column];
      line.value = numbers && value !== undefined ? Number(value) : value;
    }
    this.rows.sort(({ value: a }, { value: b }) => {
      // Failed and missing runs have no values and stay at the end.
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return sign * (numbers ? a - b : collator.compare(a, b));
    });
    // Outside the document, moving rows costs nothing.
    const body = this.table.tBodies[0];
    body.remove();
    this.show();
    body.append(...this.rows.map(({ row }) => row));
    this.table.append(body);
  }
}

const collator = new Intl.Collator("en", { numeric: true });

// The first click sorts numbers descending, and text and costs ascending.
function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  const listing = table.matches("[data-sortable]") ? new Listing(table) : null;
  heads.forEach((head, column) => {
    const button = element("button", head.textContent);
    button.type = "button";
    button.addEventListener("click", () => {
      // The rows of the table of classes change with the architecture.
      sortBy(listing || new Listing(table), heads, column);
    });
    head.replaceChildren(button);
  });
  return listing;
}

function sortBy(listing, heads, column) {
  const head = heads[column];
  const now = head.getAttribute("aria-sort");
  const first = "ascends" in head.dataset ? "ascending" : "descending";
  const order = now ? (now === "ascending" ? "descending" : "ascending") : first;
  listing.sort(column, head.classList.contains("number"), order === "ascending" ? 1 : -1);
  heads.forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", order);
}

// Filters the main table by name, and by the front or the confidence set.
function filtered(root, listing) {
  const bar = root.querySelector("[data-filter]");
  if (!bar || !listing || listing.rows.length < 4) return;
  const search = bar.querySelector("input[type=search]");
  const names = new Map(listing.rows.map(({ row }) => [row, row.cells[0].textContent.toLowerCase()]));
  const shown = bar.querySelector("[data-shown]");
  listing.matches = (row) => {
    const kind = bar.querySelector("input:checked").value;
    const tagged = kind === "all" || (row.dataset.tags || "").split(" ").includes(kind);
    return tagged && names.get(row).includes(search.value.trim().toLowerCase());
  };
  const show = () => {
    const count = listing.show(), all = listing.rows.length;
    shown.textContent = count === all ? "" : `${count} of ${all.toLocaleString("en")}`;
  };
  bar.hidden = false;
  bar.addEventListener("input", show);
  bar.addEventListener("change", show);
}

// Tables that fit keep their head in view; the others show where they continue.
function edges(scroll) {
  const fade = () => {
    const right = scroll.scrollWidth - scroll.clientWidth - scroll.scrollLeft;
    const below = scroll.scrollHeight - scroll.clientHeight - scroll.scrollTop;
    const fits = scroll.classList.contains("fits");
    scroll.classList.toggle("more-right", !fits && right > 1);
    scroll.classList.toggle("more-below", !fits && below > 1);
  };
  let seen = "";
  const look = () => {
    const table = scroll.firstElementChild;
    const now = [scroll.offsetWidth, table.offsetWidth, table.offsetHeight].join();
    if (now === seen) return;
    seen = now;
    scroll.classList.remove("fits");
    scroll.classList.toggle("fits", scroll.scrollWidth - scroll.clientWidth <= 1);
    fade();
  };
  scroll.addEventListener("scroll", fade, { passive: true });
  // What `look` changes would call the observer again at once, so it waits for the next frame.
  const observer = new ResizeObserver(() => requestAnimationFrame(look));
  for (const item of [scroll, scroll.firstElementChild]) observer.observe(item);
}

function pairs(root, listing) {
  const label = root.querySelector("[data-pairs]");
  if (!label || !listing) return;
  const names = new Map();
  for (const { row } of listing.rows) {
    row.dataset.key.split(" ").forEach((key, column) => names.set(key, row.cells[column].textContent));
  }
  const select = label.querySelector("select");
  for (const key of [...names.keys()].sort((a, b) => a - b)) select.append(option(key, names.get(key)));
  listing.matches = (row) => select.value === "" || row.dataset.key.split(" ").includes(select.value);
  label.hidden = names.size < 3;
  // With hundreds of pairs, show only those of the most accurate architecture at first.
  if (listing.rows.length > 60) select.value = "0";
  listing.show();
  select.addEventListener("change", () => listing.show());
}
