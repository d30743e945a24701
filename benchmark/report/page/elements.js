"use strict";

// Elements that scripts of all pages make.

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
