"use strict";
const figures = JSON.parse(document.getElementById("figures").textContent);
const root = document.documentElement;
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

function themed(layout) {
  const axis = { gridcolor: colour("--grid"), zerolinecolor: colour("--grid"), automargin: true,
    linecolor: colour("--line"), tickfont: { color: colour("--soft") } };
  const whole = { ...layout, autosize: true, paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)", font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: colour("--soft") },
    hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"),
      font: { color: colour("--ink"), size: 12.5 }, align: "left" } };
  if (layout.annotations) whole.annotations = layout.annotations.map((text) =>
    ({ ...text, bgcolor: colour("--card"), font: { ...text.font, color: colour("--soft") } }));
  for (const name of ["xaxis", "yaxis", "xaxis2", "yaxis2"]) if (layout[name]) whole[name] = { ...axis, ...layout[name] };
  return whole;
}

function draw(place) {
  if (place.closest("[hidden]")) return;
  const figure = figures[place.dataset.figure];
  Plotly.react(place, figure.data, themed(figure.layout), { responsive: true, displayModeBar: false });
}

const drawAll = () => document.querySelectorAll(".plot").forEach(draw);

function setTheme(name) {
  root.dataset.theme = name;
  document.querySelector(".theme").textContent = name === "dark" ? "Light" : "Dark";
  drawAll();
}

document.querySelector(".theme").addEventListener("click", () =>
  setTheme(root.dataset.theme === "dark" ? "light" : "dark"));
dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));

document.querySelectorAll(".choice button").forEach((button) =>
  button.addEventListener("click", () => {
    const chosen = button.dataset.metric, section = button.closest("section");
    section.querySelectorAll(".choice button").forEach((other) =>
      other.setAttribute("aria-pressed", String(other.dataset.metric === chosen)));
    section.querySelectorAll("[data-of-metric]").forEach((part) => {
      part.hidden = part.dataset.ofMetric !== chosen;
    });
    drawAll();
  }));

document.querySelectorAll("th[aria-sort] button").forEach((button) =>
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0];
    const up = head.getAttribute("aria-sort") !== "ascending";
    head.closest("tr").querySelectorAll("th[aria-sort]").forEach((other) =>
      other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (row) => row.cells[head.cellIndex].dataset.value;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : Number(x) - Number(y);
      return up ? order : -order;
    });
    body.append(...rows);
  }));

setTheme(dark.matches ? "dark" : "light");
