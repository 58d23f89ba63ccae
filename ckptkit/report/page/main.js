// render(document, element) draws a report into an element, whose content is replaced. The document is
// what `ckptkit report --json` prints.

import { checkpoints } from "./checkpoints.js";
import { configuration, disk, environment, verification } from "./details.js";
import { el } from "./dom.js";
import { header, tiles, wallTime } from "./summary.js";
import { timeline } from "./timeline.js";
import { tooltipIn } from "./tooltip.js";

const VERSION = 1;

export function render(doc, element) {
  element.classList.add("ckptkit-report");
  if (doc.version !== VERSION) {
    element.replaceChildren(el("p", null, `This page draws documents of version ${VERSION}. Received: version ${doc.version}.`));
    return;
  }
  element.replaceChildren(header(doc, document.documentElement), tiles(doc), wallTime(doc), timeline(doc), checkpoints(doc),
    el("div", { class: "columns" }, el("div", null, configuration(doc), verification(doc)), el("div", null, environment(doc), disk(doc))),
    el("footer", null, "Goodput is the share of the wall time that went into steps that count; the wall time includes the time between attempts. Made by ",
      doc.made_by, ". This file is complete and loads nothing."));
  tooltipIn(element);
}
