// Draws the document that the page contains. A page that only uses the script has no such element, and
// calls `ckptkitReport.render` itself.

import { render } from "./main.js";

const embedded = document.getElementById("document");
if (embedded) render(JSON.parse(embedded.textContent), document.getElementById("report"));
globalThis.ckptkitReport = { render };
