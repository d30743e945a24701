// Start: connect the parts of each comparison.

// Folded parts are open while the page is printed.
function unfoldInPrint() {
  const folded = [];
  const open = () => {
    for (const part of document.querySelectorAll("details:not([open])")) {
      part.open = true;
      folded.push(part);
    }
  };
  const close = () => { while (folded.length) folded.pop().open = false; };
  window.addEventListener("beforeprint", open);
  window.addEventListener("afterprint", close);
  matchMedia("print").addEventListener("change", (now) => (now.matches ? open() : close()));
}

for (const root of document.querySelectorAll("[data-comparison]")) {
  const page = comparisons[root.dataset.comparison];
  const listings = new Map(
    [...root.querySelectorAll("table[data-sortable], table[data-classes]")]
      .map((table) => [table, sortable(table)]),
  );
  filtered(root, listings.get(root.querySelector("table.main")));
  pairs(root, listings.get(root.querySelector("table.pairs")));
  const ring = pareto(root, page.pareto);
  plain(root, "spread", page.spread);
  for (const [name, spec] of Object.entries(page.optional || {})) plain(root, name, spec);
  curves(root, page.curves, page.names);
  resultsByClass(root, page);
  ask(root, page, ring);
}
document.querySelectorAll(".scroll").forEach(edges);
// On a narrow screen, the contents would push the pick down.
if (matchMedia("(max-width: 1179px)").matches) document.querySelector("[data-contents]").open = false;
unfoldInPrint();
window.addEventListener("load", drawTheRest);
