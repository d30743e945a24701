"use strict";
// The rule of the pick, as in benchmark/report/pick_rule.py. A test compares both.

// Tolerance of limits and drops.
const EPSILON = 1e-12;

// Reads the rows by the rule for `criteria`; `constants` are those of criteria.py's `rule_data`.
function ruleOf(rows, criteria, constants) {
  const conditions = new Set(rows.map((row) => row.conditions).filter((found) => found !== null));
  const alike = conditions.size <= 1;
  const cost = (key, row) => (
    constants.measured.includes(key) && !alike ? undefined : row.costs[key]
  );
  const accuracy = (row) => (criteria.choose_on === "test" ? row.test : row.valid);
  const fits = rows.map((row) => brokenLimits(row, criteria, constants, cost).length === 0);
  const known = (key) => rows.some((row, place) => fits[place] && cost(key, row) !== undefined);
  let key = constants.cost_of[criteria.prefer] || criteria.cost;
  if (!known(key)) key = "macs";
  const byCost = criteria.prefer !== "accuracy" && known(key);
  const enough = (row) => (
    criteria.min_accuracy === null || accuracy(row) >= criteria.min_accuracy - EPSILON
  );
  const eligible = rows.filter((row, place) => fits[place] && enough(row));
  return { rows, criteria, constants, key, byCost, accuracy, eligible, cost };
}

// Fields of the criteria whose limit on a cost a row exceeds; an unknown cost exceeds any limit.
function brokenLimits(row, criteria, constants, cost) {
  return Object.entries(constants.limits).filter(([field, key]) => {
    const found = cost(key, row), limit = criteria[field];
    return limit !== null && (found === undefined || found[0] - limit > 100 * EPSILON);
  }).map(([field]) => field);
}

// The row that the rule picks, or null. Of equal rows, the cheapest, then the most accurate.
function chosenBy(rule) {
  const { criteria, key, accuracy } = rule;
  const value = (row) => (rule.cost(key, row) ? rule.cost(key, row)[0] : Infinity);
  const order = [...rule.eligible].sort((one, other) => (
    compare(value(one), value(other)) || accuracy(other) - accuracy(one) || one.rank - other.rank
  ));
  const priced = rule.byCost ? order.filter((row) => rule.cost(key, row) !== undefined) : [];
  if (!priced.length) return highest(order, accuracy);
  if (criteria.prefer === "balance") {
    return highest(priced, (row) => (
      100 * accuracy(row) - criteria.points_per_10x * rule.cost(key, row)[1]
    ));
  }
  const best = Math.max(...priced.map(accuracy));
  return priced.find((row) => accuracy(row) >= best - criteria.max_drop / 100 - EPSILON);
}

// Infinity minus Infinity is no number, so costs are compared.
function compare(one, other) {
  return one < other ? -1 : one > other ? 1 : 0;
}

function highest(rows, score) {
  let best = null;
  for (const row of rows) if (best === null || score(row) > score(best)) best = row;
  return best;
}

function pickFrom(rows, criteria, constants) {
  return chosenBy(ruleOf(rows, criteria, constants));
}

// The most accurate row within the limits; of all rows if none is within them.
function referenceOf(rule) {
  return highest(rule.eligible.length ? rule.eligible : rule.rows, rule.accuracy);
}

// Options of `bench report` that lead to the criteria, where they differ from the defaults.
function optionsOf(criteria, constants) {
  const options = [];
  for (const [field, usual] of Object.entries(constants.defaults)) {
    if (criteria[field] === usual || criteria[field] === null) continue;
    const name = field.replaceAll("_", "-");
    options.push(`--${name} ${criteria[field]}`);
  }
  return options.join(" ");
}
