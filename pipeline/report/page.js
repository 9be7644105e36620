"use strict";
for (const frame of document.querySelectorAll(".scroll.results")) {
  const table = frame.querySelector("table");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const words = (cell) => cell.innerText.trim().replace(/\s+/g, " ");
  const size = (text) => parseFloat(text.replace(/,/g, "").replace("−", "-"));
  const add = (parent, tag, fields) => parent.appendChild(Object.assign(document.createElement(tag), fields));

  const bar = document.createElement("div");
  bar.className = "bar";
  const label = add(bar, "label", { innerText: "Filter " });
  const filter = add(label, "input", { type: "search" });
  const copy = add(bar, "button", { type: "button", innerText: "Copy as Markdown" });
  const told = add(bar, "span", {});
  told.setAttribute("role", "status");
  frame.before(bar);

  filter.oninput = () => {
    const sought = filter.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.innerText.toLowerCase().includes(sought);
  };

  copy.onclick = async () => {
    const rows = [...body.rows].filter((row) => !row.hidden).map((row) => [...row.cells].map(words));
    const all = [heads.map(words), heads.map((head) => (head.className === "n" ? "---:" : "---")), ...rows];
    const line = (cells) => `| ${cells.map((text) => text.replace(/\|/g, "\\|")).join(" | ")} |`;
    try {
      await navigator.clipboard.writeText(all.map(line).join("\n") + "\n");
      told.innerText = `${rows.length} rows copied`;
    } catch {
      told.innerText = "The browser does not let a page copy";
    }
  };

  heads.forEach((head, column) => {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(...head.childNodes);
    head.append(button);
    button.onclick = () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const compare = (one, other) => {
        const [a, b] = [one, other].map((row) => words(row.cells[column]));
        const [x, y] = [size(a), size(b)];
        if (head.className !== "n") return a.localeCompare(b, "en") * (down ? -1 : 1);
        if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
        return (x - y) * (down ? -1 : 1);
      };
      body.append(...[...body.rows].sort(compare));
    };
  });
}
