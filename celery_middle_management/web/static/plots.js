// Draws the history with BokehJS: tasks, their waits, and workers, with each decision on the plot.

import { $, make, say, show } from "./dom.js";
import { KINDS, done, keyOf, kindOf } from "./events.js";
import { highest, local, nowOf, periods, rowsOf, timesOf, valueAt } from "./series.js";
import { count, short, wait, when } from "./words.js";

/** The plots, and their lines: the row, its colour, its dash, and its width. */
const PLOTS = [
  { name: "tasks", title: "Tasks", lines: [
    ["waiting", "--waiting", "solid", 2], ["running", "--running", "solid", 1.5], ["scheduled", "--scheduled", "dashed", 1.5]] },
  { name: "wait", title: "Mean wait, seconds", lines: [["mean_wait", "--waiting", "solid", 2]] },
  { name: "workers", title: "Workers", lines: [["workers", "--workers", "solid", 2]] },
];
const WORDS = { mean_wait: "mean wait" };
/** With more marks than this on a plot, they are smaller. */
const MANY = 120;
/** Plots that are narrower (px) have fewer labels. */
const NARROW = 500;
const LIBRARIES = ["bokeh.min.js", "bokeh-api.min.js"];
const dark = matchMedia("(prefers-color-scheme: dark)");

let made = null;
let last = null;
let onPoint = () => {};

/** Loads BokehJS, and draws whenever the colours change. */
export async function load(pointOut) {
  onPoint = pointOut;
  allowStyles();
  const here = import.meta.url;
  try {
    for (const library of LIBRARIES) await script(new URL(library, here).href);
    made = build();
    if (last) draw(...last);
    dark.addEventListener("change", () => {
      made = build();
      if (last) draw(...last);
    });
  } catch (error) {
    console.error(error);
    say($("no-plots"), "The plots could not be loaded; what they show is in the list of decisions.");
    show($("no-plots"), true);
  }
}

/** Gives each style element that BokehJS makes the nonce without which browsers ignore it. */
function allowStyles() {
  const { nonce } = document.getElementById("script");
  const create = document.createElement;
  document.createElement = function (name, ...options) {
    const element = create.call(this, name, ...options);
    if (String(name).toLowerCase() === "style") element.nonce = nonce;
    return element;
  };
}

function script(address) {
  return new Promise((loaded, failed) => {
    const element = document.createElement("script");
    element.src = address;
    element.addEventListener("load", loaded);
    element.addEventListener("error", () => failed(new Error(`${address} could not be loaded`)));
    document.head.append(element);
  });
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function build() {
  $("plots").replaceChildren();
  return PLOTS.map(buildOne);
}

function buildOne(plan) {
  const text = make("figcaption", "caption");
  const place = make("div", "plot");
  place.setAttribute("role", "img");
  const root = make("figure", "", text, place);
  root.dataset.plot = plan.name;
  $("plots").append(root);
  const [x, y] = [0, 1].map(() => new Bokeh.Range1d({ start: 0, end: 1 }));
  const figure = Bokeh.Plotting.figure({
    height: plan.name === "tasks" ? 190 : 140, sizing_mode: "stretch_width", toolbar_location: null,
    tools: [], x_axis_type: "datetime", x_range: x, y_range: y, min_border_right: 8, min_border_left: 44,
    background_fill_alpha: 0, border_fill_alpha: 0, outline_line_color: null,
  });
  style(figure);
  const spans = shade(figure);
  const source = new Bokeh.ColumnDataSource({
    data: Object.fromEntries(["x", "when", ...plan.lines.flatMap(([row]) => [row, `${row}_said`])].map((name) => [name, []])),
  });
  const renderers = plan.lines.map(([row, name, dash, width]) => lineOf(figure, plan, source, row, name, dash, width));
  // Beside the marks' own, a second one would be in the way.
  if (plan.name !== "workers") figure.add_tools(new Bokeh.HoverTool({
    renderers: renderers.slice(0, 1), mode: "vline", attachment: "horizontal",
    tooltips: [["time", "@when"], ...plan.lines.map(([row]) => [WORDS[row] ?? row, `@${row}_said`])],
  }));
  const marks = plan.name === "workers" ? marksOf(figure) : null;
  legend(text, plan, marks);
  Bokeh.Plotting.show(figure, place).then(leaveToTheMouse);
  return { plan, figure, x, y, source, spans, marks, text, place };
}

/** No key does anything on a plot, so Tab passes it. */
function leaveToTheMouse(view) {
  view.canvas_view.events_el.tabIndex = -1;
}

function style(figure) {
  const muted = colour("--muted"), line = colour("--line");
  for (const axis of [...figure.xaxis, ...figure.yaxis]) {
    Object.assign(axis, {
      axis_line_color: line, major_tick_line_color: null, minor_tick_line_color: null,
      major_label_text_color: muted, major_label_text_font: "system-ui, sans-serif", major_label_text_font_size: "12px",
    });
  }
  for (const axis of figure.yaxis) {
    axis.ticker = new Bokeh.BasicTicker({ desired_num_ticks: 4, min_interval: 1, num_minor_ticks: 0 });
    axis.formatter = new Bokeh.NumeralTickFormatter({ format: "0,0" });
  }
  const formats = { minutes: "%H:%M", hourmin: "%H:%M", hours: "%H:%M", days: "%a %d", minsec: "%H:%M:%S", seconds: "%H:%M:%S" };
  const ticks = $("plots").clientWidth < NARROW ? 4 : 6;
  for (const axis of figure.xaxis) {
    axis.ticker = new Bokeh.DatetimeTicker({ desired_num_ticks: ticks });
    axis.formatter = new Bokeh.DatetimeTickFormatter(formats);
  }
  for (const grid of figure.xgrid) grid.grid_line_color = null;
  for (const grid of figure.ygrid) grid.grid_line_color = line;
}

function lineOf(figure, plan, source, row, name, dash, width) {
  const look = { line_color: colour(name), line_width: width, line_dash: dash, source };
  if (plan.name === "wait") {
    // Where no task started there is no wait: a line would invent one.
    figure.line({ field: "x" }, { field: row }, { ...look, line_width: 1 });
    return figure.scatter({ field: "x" }, { field: row }, { ...look, size: 4, fill_color: colour(name) });
  }
  if (row === "workers") return figure.step({ field: "x" }, { field: row }, "center", look);
  return figure.line({ field: "x" }, { field: row }, look);
}

/** Periods of trouble and of pauses lie behind the lines, hatched each in its way. */
function shade(figure) {
  const look = { trouble: ["--wrong", "right_diagonal_line"], pause: ["--person", "dot"] };
  return Object.fromEntries(Object.entries(look).map(([what, [name, hatch]]) => {
    const source = new Bokeh.ColumnDataSource({ data: { left: [], right: [] } });
    figure.quad({
      left: { field: "left" }, right: { field: "right" }, bottom: -1e9, top: 1e9, source, line_color: null,
      fill_color: colour(name), fill_alpha: 0.1, hatch_pattern: hatch, hatch_color: colour(name), hatch_alpha: 0.35,
    });
    return [what, source];
  }));
}

function marksOf(figure) {
  const renderers = [];
  const sources = Object.fromEntries(Object.entries(KINDS).map(([kind, { marker, colour: name }]) => {
    const source = new Bokeh.ColumnDataSource({ data: empty() });
    renderers.push(figure.scatter({ field: "x" }, { field: "y" }, {
      marker, source, size: { field: "size" }, fill_color: colour(name), line_color: colour(marker === "x" ? name : "--card"),
      line_width: marker === "x" ? 2.5 : 1, nonselection_fill_alpha: 0.9, nonselection_line_alpha: 1,
    }));
    source.selected.properties.indices.change.connect(() => {
      const [index] = source.selected.indices;
      if (index !== undefined) onPoint(source.data.key[index]);
    });
    return [kind, source];
  }));
  figure.add_tools(
    new Bokeh.HoverTool({ renderers, limit: 4, tooltips: [["", "@what"], ["pool", "@pool"], ["time", "@when"], ["why", "@why"]] }),
    new Bokeh.TapTool({ renderers }),
  );
  return sources;
}

const empty = () => ({ x: [], y: [], size: [], what: [], pool: [], when: [], why: [], key: [] });

/** Says what each line is, beside its dash; what it is now is said there too. */
function legend(text, plan, marks) {
  text.append(make("span", "", make("span", "title", plan.title), " ", make("span", "whose")));
  for (const [row] of plan.lines) {
    const its = make("span", `key ${row}`, WORDS[row] ?? row, " ", make("b", ""));
    its.dataset.row = row;
    text.append(its);
  }
  if (!marks) return;
  for (const [kind, { sign, word }] of Object.entries(KINDS)) {
    const its = make("span", "key", make("span", `sign ${kind}`, sign), ` ${word}`);
    text.append(its);
  }
}

/** Draws one span of the history, of a pool or of all. */
export function draw(doc, name, pool, entries) {
  last = [doc, name, pool, entries];
  if (!made) return;
  const span = doc.history[name], rows = rowsOf(span, pool), x = timesOf(span), now = doc.status.at;
  if (!rows) return;
  const shaded = periods(doc.events.filter((entry) => !pool || !entry.pool || entry.pool === pool), doc.status);
  const start = Date.parse(span.start), end = start + span.step * 1000 * x.length;
  for (const plot of made) {
    Object.assign(plot.x, { start: local(start), end: local(end) });
    drawLines(plot, rows, x, doc.status, span, pool);
    for (const [what, source] of Object.entries(plot.spans)) {
      const its = shaded.filter((period) => period.what === what);
      source.data = { left: its.map((p) => local(p.from)), right: its.map((p) => local(p.to)) };
    }
    if (plot.marks) drawMarks(plot, entries, rows.workers, span, now);
  }
}

function drawLines(plot, rows, x, status, span, pool) {
  const current = nowOf(status, pool), now = status.at;
  const data = { x, when: x.map((_, i) => when(Date.parse(span.start) + i * span.step * 1000, now)) };
  const said = [];
  let top = 1;
  for (const [row] of plot.plan.lines) {
    const tell = row === "mean_wait" ? wait : count;
    data[row] = rows[row].map((n) => n ?? NaN);
    data[`${row}_said`] = rows[row].map((n) => tell(n));
    // The row's last interval may be ten minutes long, and then it has the most of them.
    const last = current[row] ?? rows[row].findLast((n) => n !== null) ?? null, most = highest(rows[row]);
    top = Math.max(top, most);
    say(plot.text.querySelector(`[data-row="${row}"] b`), tell(last));
    said.push(`${WORDS[row] ?? row}: ${tell(last)} now, at most ${tell(most)}`);
  }
  plot.source.data = data;
  plot.y.end = top * 1.12;
  const all = plot.plan.name === "wait" ? "the longest of any pool" : "of all pools";
  const whose = pool ? `of ${short(pool, 60)}` : all;
  say(plot.text.querySelector(".whose"), whose);
  plot.place.setAttribute("aria-label", `${plot.plan.title} ${whose}. ${said.join("; ")}.`);
}

function drawMarks(plot, entries, row, span, now) {
  const data = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, empty()]));
  for (const entry of entries) {
    const its = data[kindOf(entry)], at = Date.parse(entry.at);
    its.x.push(local(at));
    its.y.push(valueAt(row, span, at));
    its.size.push(entries.length > MANY ? 6 : 9);
    its.what.push(short(done(entry, now), 120));
    its.pool.push(short(entry.pool ?? "all pools", 60));
    its.when.push(when(entry.at, now));
    its.why.push(short(entry.reason ?? "–", 160));
    its.key.push(keyOf(entry));
  }
  for (const [kind, source] of Object.entries(plot.marks)) {
    if (JSON.stringify(source.data.key) !== JSON.stringify(data[kind].key) || source.data.y.join() !== data[kind].y.join()) {
      source.data = data[kind];
    }
  }
}
