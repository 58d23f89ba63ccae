// Arrow keys in a drawing of many marks. The Tab key stops there only once, instead of at every mark.

export function moveByArrowKeys(root, rows) {
  const filled = rows.filter((row) => row.length > 0);
  if (filled.length === 0) return;
  filled[0][0].setAttribute("tabindex", "0");
  let current = filled[0][0];
  const move = (node) => {
    current.setAttribute("tabindex", "-1");
    current = node;
    node.setAttribute("tabindex", "0");
    node.scrollIntoView({ block: "nearest", inline: "nearest" });
    node.focus({ preventScroll: true });
  };
  root.addEventListener("keydown", (event) => {
    const number = filled.findIndex((row) => row.includes(event.target));
    if (number < 0) return;
    const row = filled[number];
    const at = row.indexOf(event.target);
    const targets = {
      ArrowRight: () => row[at + 1],
      ArrowLeft: () => row[at - 1],
      ArrowDown: () => filled[number + 1]?.[0],
      ArrowUp: () => filled[number - 1]?.[0],
      Home: () => filled[0][0],
      End: () => filled.at(-1)[0],
    };
    const found = targets[event.key]?.();
    if (event.key in targets) event.preventDefault();
    if (found) move(found);
  });
}
