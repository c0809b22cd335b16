(() => {
  "use strict";
  const tables = [...document.querySelectorAll("table.data")];
  const value = cell => {
    const given = cell.dataset.v;
    return given === undefined ? cell.textContent.trim().toLowerCase() : Number(given);
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  for (const table of tables) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      // No <button>: browsers leave those out of headings that repeat on paper.
      const button = document.createElement("span");
      button.setAttribute("role", "button");
      button.tabIndex = 0;
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("keydown", event => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          button.click();
        }
      });
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach(other => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => (down ? -1 : 1) * compare(value(a.cells[column]), value(b.cells[column])));
        table.tBodies[0].append(...rows);
      });
    });
  }
  const items = [...document.querySelectorAll("[data-k]")];
  const kinds = [...new Set(items.flatMap(item => item.dataset.k.split(" ")))].sort();
  const tools = document.createElement("div");
  tools.className = "tools";
  tools.setAttribute("role", "search");
  const search = document.createElement("input");
  search.type = "search";
  search.placeholder = "Filter: name, address, rule, outcome";
  search.setAttribute("aria-label", "Show only findings with this text");
  const select = document.createElement("select");
  select.setAttribute("aria-label", "Show only this verdict or class");
  select.append(new Option("all verdicts and classes", ""));
  kinds.forEach(kind => select.append(new Option(kind.replaceAll("_", " "), kind)));
  const told = document.createElement("output");
  tools.append(search, select, told);
  document.getElementById("tools").replaceWith(tools);
  const texts = new Map(items.map(item => [item, item.textContent.toLowerCase()]));
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const item of items) {
      const fits = (!select.value || item.dataset.k.split(" ").includes(select.value)) && words.every(word => texts.get(item).includes(word));
      item.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    told.value = words.length || select.value ? `${shown} of ${items.length} findings shown` : "";
  };
  const remember = () => {
    const query = new URLSearchParams();
    if (search.value) query.set("q", search.value);
    if (select.value) query.set("k", select.value);
    const text = query.toString();
    history.replaceState(null, "", text ? "#?" + text : location.pathname + location.search);
  };
  const recall = () => {
    if (!location.hash.startsWith("#?")) return;
    const query = new URLSearchParams(location.hash.slice(2));
    search.value = query.get("q") || "";
    select.value = query.get("k") || "";
    const sort = /^(\d+)\.(\d+)$/.exec(query.get("sort") || "");
    const button = sort && tables[sort[1]]?.tHead.rows[0].cells[sort[2]]?.querySelector("[role=button]");
    if (button) button.click();
    apply();
  };
  search.addEventListener("input", () => { apply(); remember(); });
  select.addEventListener("input", () => { apply(); remember(); });
  addEventListener("hashchange", recall);
  recall();
})();
