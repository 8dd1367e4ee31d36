"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const PALETTES = {
    light: ["#2457c5", "#d2691e", "#1f7a4d", "#8e44ad", "#b3352b", "#0f8b8d", "#7a5c00", "#c2458f", "#4b5563", "#5c8d00"],
    dark: ["#8fb2ff", "#ffb066", "#6fcf9c", "#d0a2f7", "#ff8d82", "#6fdde0", "#e3c565", "#ff9bd2", "#b6bfce", "#b8e05a"],
  };
  const CONFIG = { responsive: true, displaylogo: false, displayModeBar: "hover", modeBarButtonsToRemove: ["lasso2d", "select2d"] };

  const LEGEND_PIXELS = 19;

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function themed(layout) {
    const axis = (own) => ({ gridcolor: colour("--grid"), linecolor: colour("--line"), zerolinecolor: colour("--line"), ...own });
    return {
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      colorway: dark.matches ? PALETTES.dark : PALETTES.light,
      font: { color: colour("--ink"), family: "system-ui, sans-serif", size: isNarrow() ? 10 : 12 },
      margin: { l: 50, r: 12, t: 34, b: 50 },
      xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis),
    };
  }

  function chosen(heatmap, state) {
    const order = state.similar ? heatmap.order : heatmap.rows.map((_, i) => i);
    const columns = heatmap.order ? order : heatmap.columns.map((_, i) => i);
    const z = order.map((i) => {
      const sum = heatmap.z[i].reduce((total, value) => total + value, 0);
      return columns.map((j) => (state.shares ? (sum ? heatmap.z[i][j] / sum : null) : heatmap.z[i][j]));
    });
    return [{
      type: "heatmap", z, y: order.map((i) => heatmap.rows[i]), x: columns.map((j) => heatmap.columns[j]),
      colorscale: [[0, colour("--low")], [1, colour("--high")]], hoverongaps: false,
      text: z.map((row) => row.map((value) => (value === null ? "" : state.shares ? value.toFixed(2) : String(value)))),
      texttemplate: heatmap.rows.length <= 12 ? "%{text}" : "",
      hovertemplate: "%{y} as %{x}: %{text}<extra></extra>",
      colorbar: { thickness: 10 }, ...(z.flat().every((value) => value === null || value >= 0) ? { zmin: 0 } : {}),
    }];
  }

  function isNarrow() {
    return innerWidth < 600;
  }

  function narrow(trace, layout) {
    trace.showscale = false;
    layout.yaxis.title = { text: "" };
    if (layout.xaxis.tickangle) layout.xaxis.tickangle = -90;
  }

  function draw(figure) {
    const spec = JSON.parse(figure.querySelector("script").textContent);
    const plot = figure.querySelector(".plot");
    figure.classList.toggle("heatmap", Boolean(spec.heatmap));
    const state = figure.state ?? (figure.state = { shares: Boolean(spec.heatmap?.shares), similar: Boolean(spec.heatmap?.order) });
    const data = spec.heatmap ? chosen(spec.heatmap, state) : spec.data;
    const layout = themed(structuredClone(spec.layout));
    if (isNarrow() && spec.heatmap) narrow(data[0], layout);
    if (isNarrow() && layout.showlegend) layout.height += LEGEND_PIXELS * data.length; // a line each
    Plotly.react(plot, data, layout, CONFIG);
    if (spec.heatmap && !figure.querySelector(".choices")) offer(figure, spec.heatmap);
  }

  function offer(figure, heatmap) {
    const choices = document.createElement("div");
    choices.className = "choices";
    const add = (label, key) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.setAttribute("aria-pressed", String(figure.state[key]));
      button.addEventListener("click", () => {
        figure.state[key] = !figure.state[key];
        button.setAttribute("aria-pressed", String(figure.state[key]));
        draw(figure);
      });
      choices.append(button);
    };
    if (heatmap.shares) add("shares of each row", "shares");
    if (heatmap.order) add("similar side by side", "similar");
    if (choices.childElementCount) figure.querySelector(".plot").before(choices);
  }

  function isShown(figure) {
    for (let fold = figure.closest("details"); fold; fold = fold.parentElement.closest("details")) if (!fold.open) return false;
    return true;
  }

  function drawShown(within) {
    for (const figure of within.querySelectorAll("figure.chart")) if (isShown(figure)) draw(figure);
  }

  function sort(button) {
    const head = button.closest("th");
    const table = head.closest("table");
    const column = [...head.parentElement.children].indexOf(head);
    const down = head.getAttribute("aria-sort") === "descending" || (head.getAttribute("aria-sort") === "none" && !isNumeric(table, column));
    for (const other of head.parentElement.children) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "ascending" : "descending");
    const value = (row) => row.children[column].dataset.sort;
    const compare = isNumeric(table, column)
      ? (a, b) => Number(a) - Number(b)
      : (a, b) => a.localeCompare(b, undefined, { numeric: true });
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      if (value(a) === "" || value(b) === "") return (value(a) === "") - (value(b) === "");
      return (down ? 1 : -1) * compare(value(a), value(b));
    });
    table.tBodies[0].append(...rows);
  }

  function isNumeric(table, column) {
    return [...table.tBodies[0].rows].every((row) => row.children[column].dataset.sort === "" || row.children[column].classList.contains("number"));
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => head.classList.toggle("number", isNumeric(table, column)));
  }
  for (const button of document.querySelectorAll("table.sortable th button")) button.addEventListener("click", () => sort(button));
  for (const fold of document.querySelectorAll("details")) fold.addEventListener("toggle", () => fold.open && drawShown(fold));
  dark.addEventListener("change", () => drawShown(document));
  drawShown(document);
  document.documentElement.dataset.ready = "yes";
})();
