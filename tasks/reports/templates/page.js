"use strict";
(() => {
  const root = document.documentElement;

  // Light or dark: as the system has it, until somebody chooses.
  const theme = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const keep = (value) => {
    try {
      if (value === undefined) return localStorage.getItem("theme");
      localStorage.setItem("theme", value);
    } catch {
      // A page opened from a file may not be allowed to keep anything.
    }
    return null;
  };
  const isDark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const showTheme = () => {
    theme.textContent = isDark() ? "Light" : "Dark";
  };
  if (theme) {
    const chosen = keep();
    if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;
    theme.hidden = false;
    theme.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      keep(root.dataset.theme);
      showTheme();
    });
    system.addEventListener("change", showTheme);
    showTheme();
  }

  const valueOf = (row, place) => {
    const cell = row.cells[place];
    return cell.dataset.value ?? cell.textContent.trim();
  };
  const order = new Intl.Collator("en", { numeric: true });
  const numberOf = (text) => Number(text.replaceAll(",", "").replace(/ ?%$/, ""));

  // Where a word begins; a number is one word: 160 does not find 1,160.
  const plain = (text) => text.toLowerCase().replace(/(\d),(?=\d)/g, "$1");
  const beginning = (word) =>
    new RegExp(`(?<![\\p{L}\\p{N}]|\\d\\.)${word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}`, "u");

  for (const table of document.querySelectorAll("table.whole")) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const rows = [...body.rows].map((row) => [valueOf(row, place), row]);
        const isNumber = rows.every(([text]) => !Number.isNaN(numberOf(text)));
        const compare = isNumber ? (a, b) => numberOf(a) - numberOf(b) : order.compare;
        // Of numbers the largest come first, of texts the first in the alphabet.
        const first = isNumber ? "descending" : "ascending";
        const second = isNumber ? "ascending" : "descending";
        const chosen = head.getAttribute("aria-sort") === first ? second : first;
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", chosen);
        rows.sort((a, b) => {
          // Empty cells come last in both orders.
          if (a[0] === "" || b[0] === "") return (a[0] === "") - (b[0] === "");
          return (chosen === "descending" ? -1 : 1) * compare(a[0], b[0]);
        });
        body.append(...rows.map(([, row]) => row));
      });
    });

    const search = document.querySelector(`input[data-table="${table.id}"]`);
    const count = document.querySelector(`output[data-table="${table.id}"]`);
    if (!search) continue;
    search.closest("label").hidden = false;
    const textOf = (row) => plain([...row.cells].map((cell) => cell.textContent).join("\n"));
    const texts = new Map([...body.rows].map((row) => [row, textOf(row)]));
    const find = () => {
      const words = plain(search.value).split(/\s+/).filter(Boolean).map(beginning);
      let found = 0;
      for (const [row, text] of texts) {
        row.hidden = !words.every((word) => word.test(text));
        if (!row.hidden) found += 1;
      }
      count.textContent = `${found.toLocaleString("en")} of ${texts.size.toLocaleString("en")} rows`;
    };
    search.addEventListener("input", find);
    find();
  }

  // One of several figures is shown: the one that is chosen.
  for (const choice of document.querySelectorAll("select[data-figures]")) {
    const figures = [...document.querySelectorAll(`#${choice.dataset.figures} > figure`)];
    const choose = () => figures.forEach((figure, at) => {
      figure.hidden = at !== choice.selectedIndex;
    });
    choice.closest("label").hidden = false;
    choice.addEventListener("change", choose);
    choose();
  }

  // Only what has to be scrolled needs to be reached by the keyboard.
  const reach = () => {
    for (const box of document.querySelectorAll(".scroll")) {
      const scrolled = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
      box.tabIndex = scrolled ? 0 : -1;
    }
  };
  addEventListener("resize", reach);
  addEventListener("toggle", reach, true);
  reach();

  // A link to something within closed details opens them.
  const open = () => {
    let target = null;
    try {
      target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    } catch {
      return;
    }
    for (let details = target?.closest("details"); details; details = details.parentElement.closest("details")) {
      details.open = true;
    }
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  if (location.hash) open();
})();
