// In the page itself: draw what it holds. Where the script is used by somebody else, there is no such element, and nothing is drawn.

import { render } from "./main.js";

const held = document.getElementById("document");
if (held) render(JSON.parse(held.textContent), document.getElementById("report"));
globalThis.ckptkitReport = { render };
