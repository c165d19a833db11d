// Part of each page that `make ui` serves: the page renews itself when something has changed, and
// the nodes of Luigi's graph carry the parameters of their tasks.
(() => {
  "use strict";
  const EVERY_MS = 2000;

  // --- names in the graph ---

  const label = task => [task.name, ...Object.values(task.params || {})].join(" ");

  function nameNodes() {
    const graph = Graph.DependencyGraph.prototype;
    const draw = graph.updateData;
    graph.updateData = function (tasks, base) {
      // Luigi moves the rows at random; the same numbers each time keep them where they are.
      const random = Math.random;
      let turn = 0;
      Math.random = () => ++turn * 0.618 % 1;
      try {
        draw.call(this, tasks, base);
      } finally {
        Math.random = random;
      }
      // Not before: tasks of the same name are drawn at the same height.
      const labels = new Map(tasks.map(task => [task.taskId, label(task)]));
      for (const node of this.svg[0].querySelectorAll("a.graph-node-a")) {
        node.querySelector("text").textContent = labels.get(node.dataset.taskId);
      }
    };
    for (const method of ["getDependencyGraph", "getInverseDependencyGraph"]) {
      const ask = LuigiAPI.prototype[method];
      LuigiAPI.prototype[method] = function (id, callback, includeDone) {
        const isD3 = new URLSearchParams(location.hash.slice(1)).get("visType") === "d3";
        return ask.call(this, id, tasks => {
          // That drawing takes the name as HTML.
          if (isD3) tasks.forEach(task => { task.name = escapeHtml(label(task)); });
          callback(tasks);
        }, includeDone);
      };
    }
  }

  // --- renewal ---

  async function currentState() {
    if (location.pathname.startsWith("/reports/")) {
      const answer = await fetch(location.pathname, { method: "HEAD", cache: "no-store" });
      return ["Last-Modified", "Content-Length"].map(name => answer.headers.get(name)).join();
    }
    const answer = await fetch("/api/task_list", { cache: "no-store" });
    const tasks = Object.entries((await answer.json()).response);
    return tasks.map(([id, task]) => `${id} ${task.status}`).sort().join();
  }

  // Whether the page must stay as it is: somebody types, reads a dialog or does not look at it.
  const isInUse = () => document.hidden || document.querySelector(".modal.in")
    || document.activeElement?.matches("input, textarea, select");

  function renew() {
    const tab = new URLSearchParams(location.hash.slice(1)).get("tab") || "tasks";
    if (window.visualiserApp && tab === "graph") {
      $(window).trigger("hashchange");
    } else if (window.visualiserApp && tab === "tasks") {
      $("#serverSide label").trigger("change"); // By which Luigi loads its list again.
    } else {
      location.reload();
    }
  }

  async function watch(known) {
    try {
      const now = await currentState();
      if (known !== undefined && now !== known && !isInUse()) {
        renew();
        known = now;
      }
      known ??= now;
    } catch { /* The server has ended, or will answer later. */ }
    setTimeout(watch, EVERY_MS, known);
  }

  document.addEventListener("DOMContentLoaded", () => { if (window.visualiserApp) nameNodes(); });
  watch();
})();
