// Details of the element under the pointer or with the focus. Escape hides them. The pointer may move
// onto them, so that their text can be selected.

import { el, short } from "./dom.js";

const MOST_LINES = 10;
const details = new WeakMap();

// `make` returns {title, lines}. It is called when the details are shown, since most never are.
export function explain(node, label, make) {
  details.set(node, make);
  node.setAttribute("data-explained", "");
  if (label) node.setAttribute("aria-label", label);
  return node;
}

export function tooltipIn(root) {
  const box = el("div", { id: "tooltip", role: "tooltip", hidden: true });
  root.append(box);
  let shown = null;
  let dismissed = null;
  let leaving = 0;

  function hide() {
    clearTimeout(leaving);
    box.hidden = true;
    shown?.removeAttribute("aria-describedby");
    shown = null;
  }

  function show(node) {
    clearTimeout(leaving);
    if (node === shown) return;
    hide();
    const { title, lines } = details.get(node)();
    const kept = lines.length > MOST_LINES + 1 ? lines.slice(0, MOST_LINES) : lines;
    box.replaceChildren(el("strong", null, short(title)), ...kept.map((line) => el("div", null, short(line))));
    if (kept.length < lines.length) box.append(el("div", { class: "quiet" }, `and ${lines.length - kept.length} more`));
    box.hidden = false;
    shown = node;
    node.setAttribute("aria-describedby", box.id);
    place(node);
  }

  function place(node) {
    const at = node.getBoundingClientRect();
    const own = box.getBoundingClientRect();
    const middle = Math.max(8, Math.min(at.left + at.width / 2, innerWidth - 8));
    const left = Math.max(8, Math.min(middle - own.width / 2, innerWidth - own.width - 8));
    const above = at.top - own.height - 8;
    const top = above >= 8 ? above : Math.min(at.bottom + 8, innerHeight - own.height - 8);
    box.style.setProperty("left", `${left}px`);
    box.style.setProperty("top", `${Math.max(8, top)}px`);
  }

  const explained = (event) => (event.target instanceof Element ? event.target.closest("[data-explained]") : null);
  // Called for moves as well: the page may have been scrolled or redrawn under a resting pointer.
  function pointed(event) {
    const node = explained(event);
    if (node && node !== dismissed) show(node);
    else if (box.contains(event.target)) clearTimeout(leaving);
  }
  root.addEventListener("pointerover", pointed);
  root.addEventListener("pointermove", pointed);
  root.addEventListener("pointerout", (event) => {
    if (!dismissed?.contains(event.relatedTarget)) dismissed = null;
    if (shown && shown !== document.activeElement && (explained(event) || box.contains(event.target))) leaving = setTimeout(hide, 120);
  });
  root.addEventListener("focusin", (event) => {
    const node = explained(event);
    if (node) show(node);
    else hide();
  });
  root.addEventListener("focusout", hide);
  addEventListener("keydown", (event) => { // on the window, because the element under the pointer need not have the focus
    if (event.key !== "Escape") return;
    dismissed = shown;
    hide();
  });
  addEventListener("scroll", () => {
    if (shown) place(shown); // if it scrolls away from the pointer, a pointerout event follows
  }, { passive: true, capture: true });
  return { hide };
}
