// The switch between light, dark and the system's theme. Some browsers let no file store the choice.

import { button, el } from "./dom.js";

const KEY = "ckptkit-report-theme";
const CHOICES = [["auto", "Auto"], ["light", "Light"], ["dark", "Dark"]];

function kept() {
  try {
    const choice = localStorage.getItem(KEY);
    return CHOICES.some(([name]) => name === choice) ? choice : "auto";
  } catch {
    return "auto";
  }
}

function keep(choice) {
  try {
    localStorage.setItem(KEY, choice);
  } catch {
    // Storage is forbidden: the choice lasts as long as the page.
  }
}

export function themeSwitch(root) {
  const buttons = CHOICES.map(([name, text]) => button(text, false, () => choose(name, true), { "data-theme-choice": name }));
  function choose(choice, remember) {
    if (choice === "auto") delete root.dataset.theme;
    else root.dataset.theme = choice;
    for (const each of buttons) each.setAttribute("aria-pressed", String(each.dataset.themeChoice === choice));
    if (remember) keep(choice);
  }
  choose(kept(), false);
  return el("div", { class: "switch", role: "group", "aria-label": "Colours" }, buttons);
}
