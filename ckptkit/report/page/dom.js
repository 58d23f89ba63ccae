// Making elements. All text reaches the page here, as text nodes, so that no text can become markup.

const SVG = "http://www.w3.org/2000/svg";

// Characters that are invisible, or that change the order of visible ones. They are shown as escapes.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufff9-\ufffb]/gu;

export function visible(text) {
  return String(text).replace(UNSEEN, (c) => `\\u${c.codePointAt(0).toString(16).padStart(4, "0")}`);
}

// Returns a text cut to a length that a person reads. The document has the whole text.
export function short(text) {
  return text.length > 600 ? `${text.slice(0, 600)}…` : text;
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (name === "style") for (const [property, each] of Object.entries(value)) node.style.setProperty(property, each);
    else node.setAttribute(name, value === true ? "" : typeof value === "string" ? visible(value) : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(visible(child)));
  }
  return node;
}

export function el(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

export function button(text, pressed, handler, attributes) {
  return el("button", { type: "button", "aria-pressed": pressed === null ? null : String(pressed), on: { click: handler }, ...attributes }, text);
}

// Returns a section of the page with its heading.
export function section(id, title, ...children) {
  return el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title` }, title), ...children);
}

// Draws into a node now, and again whenever its width changes. Drawings have no fixed width.
export function onWidth(node, draw) {
  let last = 0;
  const observer = new ResizeObserver((entries) => {
    const width = Math.floor(entries.at(-1).contentRect.width);
    if (width > 0 && width !== last) {
      last = width;
      node.replaceChildren(draw(width));
    }
  });
  observer.observe(node);
  return node;
}
