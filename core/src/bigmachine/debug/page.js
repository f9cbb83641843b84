"use strict";

// The page: asks for the session's status each second while it can be seen, and shows it.

const PERIOD = 1000;
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

const text = (value) => (value === null || value === undefined ? "" : String(value));

function size(bytes) {
  let unit = 0;
  for (; bytes >= 1024 && unit < UNITS.length - 1; unit++) bytes /= 1024;
  return `${bytes >= 10 || unit === 0 ? Math.round(bytes) : bytes.toFixed(1)} ${UNITS[unit]}`;
}

function duration(seconds) {
  const s = Math.floor(seconds);
  if (s < 60) return `${s} s`;
  if (s < 600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const below = (small) => element("span", { className: "below" }, small);

function meter(fraction, label) {
  const made = element("meter", { min: 0, max: 1, low: 0.8, high: 0.95, optimum: 0, value: fraction });
  made.setAttribute("aria-label", label);
  return made;
}

function time(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${Number((seconds * 1000).toPrecision(3))} ms`;
  return seconds < 60 ? `${Number(seconds.toPrecision(3))} s` : duration(seconds);
}

const number = (value) => (value === null || value === undefined ? "" : value < 10 ? String(Number(value.toFixed(1))) : Math.round(value).toLocaleString("en"));

function links(m) {
  const machine = encodeURIComponent(m.name);
  const link = (page, title) => element("a", { href: `debug/bigmachine/${page}machine=${machine}` }, title);
  const made = [link("logs?follow=1&", "log")];
  if (m.state === "running") made.push(" ", link("pprof/profile?seconds=5&format=html&", "profile"), " ", link("pprof/threads?", "threads"));
  return element("span", { className: "below" }, ...made);
}

function phase(m) {
  if (!m.boot_phase) return [];
  if (!m.boot_total) return [`${m.boot_phase} …`];
  const amount = m.boot_phase === "upload" ? `${size(m.boot_done)} of ${size(m.boot_total)}` : `${m.boot_done} of ${m.boot_total}`;
  return [element("span", {}, element("progress", { max: m.boot_total, value: m.boot_done }), `${m.boot_phase} ${amount}`)];
}

function remark(m) {
  const parts = phase(m);
  if (m.error) parts.push(element("span", { className: "bad" }, m.error));
  if (m.is_silent) parts.push(element("span", { className: "bad" }, m.silent_for === null ? "no reply" : `no reply for ${duration(m.silent_for)}`));
  if (!m.is_healthy) parts.push(element("span", { className: "bad" }, "memory nearly full"));
  if (m.notice) parts.push(m.notice);
  if (m.is_slow) parts.push(m.is_slow);
  return parts.flatMap((part, at) => (at ? ["; ", part] : [part]));
}

// Each column: its heading, what it sorts by, and what it shows.
const COLUMNS = [
  { title: "Machine", key: (m) => Number(m.name.replace(/\D/g, "")), show: (m) => [m.name, links(m)], class: "name" },
  { title: "State", key: (m) => m.state, show: (m) => [element("span", { className: "dot" }, m.state), below(m.state === "stopped" ? `after ${duration(m.age)}` : duration(m.age))], class: "state" },
  { title: "Where", key: (m) => m.zone + m.addr, show: (m) => [m.zone || m.addr, ...[m.zone && m.addr, m.id && `id ${m.id}`].filter(Boolean).map(below)], class: "place" },
  { title: "Type", key: (m) => m.kind, show: (m) => [m.kind, ...(m.cost_per_hour === null || m.state === "stopped" ? [] : [below(`$${m.cost_per_hour.toFixed(3)}/h`)])] },
  { title: "Cores", key: (m) => m.maxprocs, show: (m) => [text(m.maxprocs)], class: "number" },
  { title: "CPU", key: (m) => m.cpus, show: (m) => [m.cpus === null ? "" : `${Math.round(m.cpus * 100)} %`, ...(m.load === null ? [] : [below(`load ${m.load.toFixed(2)}`)]), ...(m.gpu_used === null ? [] : [below(`${m.gpus > 1 ? `${m.gpus} GPUs` : "GPU"} ${Math.round(m.gpu_used * 100)} %`)])], class: "number" },
  { title: "Memory", key: (m) => m.memory_used, show: (m) => (m.memory_used === null ? [] : [meter(m.memory_used, "memory"), `${Math.round(m.memory_used * 100)} %`, ...(m.gpu_memory_used === null ? [] : [below(`GPU ${Math.round(m.gpu_memory_used * 100)} % of ${size(m.gpu_memory_bytes)}`)])]) },
  { title: "Disk free", key: (m) => m.disk_free_bytes, show: (m) => (m.disk_used === null ? [] : [meter(m.disk_used, "disk"), size(m.disk_free_bytes)]) },
  { title: "In flight", key: (m) => m.calls_in_flight, show: (m) => [number(m.calls_in_flight)], class: "number" },
  { title: "Calls/s", key: (m) => m.calls_per_second, show: (m) => [number(m.calls_per_second)], class: "number" },
  { title: "Median", key: (m) => m.call_seconds, show: (m) => [time(m.call_seconds)], class: "number" },
  { title: "Network/s", key: (m) => m.received_per_second + m.sent_per_second, show: (m) => [m.sent_per_second === null ? "" : `${size(m.received_per_second + m.sent_per_second)}`], class: "number" },
  { title: "Keepalive", key: (m) => m.reply_time, show: (m) => (m.reply_time === null ? [] : [time(m.reply_time), below(`${duration(m.silent_for)} ago`)]), class: "number" },
  { title: "", key: (m) => m.error + m.notice, show: remark, class: "remark" },
];

const MEASURES = COLUMNS.filter((column) => ["Cores", "CPU", "Memory", "Disk free", "In flight", "Calls/s", "Median", "Network/s", "Keepalive"].includes(column.title));

let sortBy = 0;
let isDescending = false;
let status = null;
const rows = new Map(); // the elements of each machine, by its name

function compare(a, b) {
  const [x, y] = [COLUMNS[sortBy].key(a), COLUMNS[sortBy].key(b)];
  const isUnknown = (value) => value === null || value === undefined || value === "" || Number.isNaN(value);
  if (isUnknown(x) || isUnknown(y)) return Number(isUnknown(x)) - Number(isUnknown(y)); // unknown comes last
  const order = typeof x === "number" ? x - y : String(x).localeCompare(String(y));
  return isDescending ? -order : order;
}

// The machine stands out whose calls take twice, or whose keepalives take three times, as long as the median machine's.
function markSlowest(machines) {
  for (const m of machines) m.is_slow = "";
  for (const [key, factor, least, remark] of [["reply_time", 3, 0.05, "slow to reply"], ["call_seconds", 2, 0.01, "slow calls"]]) {
    const known = machines.filter((m) => m[key] !== null).sort((a, b) => a[key] - b[key]);
    if (known.length < 3) continue;
    const slowest = known[known.length - 1];
    if (slowest[key] > factor * known[Math.floor(known.length / 2)][key] && slowest[key] > least) slowest.is_slow = remark;
  }
}

function rowOf(machine) {
  if (!rows.has(machine.name)) {
    const row = element("tr", {}, ...COLUMNS.map((column) => {
      const cell = element("td", { className: column.class || "" });
      if (column.title && !["name", "state", "place"].includes(column.class)) cell.dataset.label = column.title;
      return cell;
    }));
    rows.set(machine.name, { row, shown: COLUMNS.map(() => null) });
  }
  return rows.get(machine.name);
}

function fill({ row, shown }, machine) {
  row.className = [machine.state, machine.error ? "failed" : "", machine.is_silent ? "silent" : "", machine.is_slow ? "slow" : ""].join(" ").trim();
  // One that does not run has no measures, and more to say.
  const isWide = machine.state !== "running";
  row.lastChild.colSpan = isWide ? MEASURES.length + 1 : 1;
  COLUMNS.forEach((column, at) => {
    row.children[at].hidden = isWide && MEASURES.includes(column);
    const parts = column.show(machine);
    const content = parts.map((part) => part.outerHTML || part).join("");
    if (content === shown[at]) return; // what is the same keeps its selection
    shown[at] = content;
    row.children[at].replaceChildren(...parts);
  });
  return row;
}

function render() {
  const { machines } = status;
  markSlowest(machines);
  const wanted = document.getElementById("filter").value.toLowerCase();
  const matches = (m) => [m.name, m.state, m.id, m.addr, m.zone, m.kind, m.error, m.notice].join(" ").toLowerCase().includes(wanted);
  const listed = machines.filter(matches).sort(compare);
  const body = document.getElementById("machines");
  listed.forEach((machine, at) => {
    const row = fill(rowOf(machine), machine);
    if (body.children[at] !== row) body.insertBefore(row, body.children[at] || null);
  });
  while (body.children.length > listed.length) body.lastChild.remove();
  const names = new Set(machines.map((m) => m.name));
  for (const name of rows.keys()) if (!names.has(name)) rows.delete(name);
  document.getElementById("shown").textContent = wanted ? `${listed.length} of ${machines.length}` : "";
  document.getElementById("empty").hidden = machines.length > 0;
  renderMethods();
  renderFacts(machines);
}

function renderMethods() {
  const cells = (m) => [m.name, number(m.begun), number(m.raised), number(m.in_flight), number(m.per_second), time(m.median), time(m.p99)];
  document.getElementById("calls").hidden = !status.methods.length;
  document.getElementById("methods").replaceChildren(...status.methods.map((m) => element("tr", {}, ...cells(m).map((cell, at) => {
    const made = element("td", { className: at ? "number" : "name" }, cell);
    if (at) made.dataset.label = ["", "Calls", "Raised", "In flight", "Per second", "Median", "99 % within"][at];
    return made;
  }))));
}

function renderFacts(machines) {
  const counts = ["running", "booting", "launched", "stopped"].map((state) => [state, machines.filter((m) => m.state === state).length]);
  const cores = machines.reduce((sum, m) => sum + (m.maxprocs || 0), 0);
  const facts = counts.filter(([, count]) => count).map(([state, count]) => [count, state]);
  if (cores) facts.push([cores, cores === 1 ? "core" : "cores"]);
  if (status.cost_per_hour !== null) facts.push([`$${status.cost_per_hour.toFixed(3)}`, "an hour"]);
  if (status.cost) facts.push(["so far:", status.cost]);
  facts.push([duration(status.age), `on ${status.system}`]);
  if (status.forgotten) facts.push([status.forgotten, "more have stopped"]);
  const name = status.name.split(".")[0];
  document.title = `${machines.filter((m) => m.state === "running").length} running · ${name}`;
  document.getElementById("session").textContent = name;
  document.getElementById("facts").replaceChildren(...facts.map(([value, what]) => element("span", {}, element("b", {}, String(value)), ` ${what}`)));
}

function renderColumns() {
  document.getElementById("columns").replaceChildren(...COLUMNS.map((column, at) => {
    const cell = element("th", { scope: "col", className: column.class === "number" ? "number" : "" });
    if (column.title) cell.append(element("button", { type: "button", onclick: () => sort(at) }, column.title));
    if (at === sortBy) cell.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
    return cell;
  }));
}

function sort(at) {
  isDescending = at === sortBy ? !isDescending : typeof COLUMNS[at].key(status?.machines[0] || { name: "" }) === "number";
  sortBy = at;
  renderColumns();
  if (status) render();
}

function showProblem(problem) {
  const shown = document.getElementById("connection");
  shown.hidden = !problem;
  shown.textContent = problem;
}

async function refresh() {
  if (!document.hidden) {
    try {
      const response = await fetch("status.json");
      if (response.status === 403) throw new Error("This is another session's page by now: open the URL that your program printed.");
      status = await response.json();
      showProblem("");
      render();
    } catch (error) {
      showProblem(error instanceof TypeError ? "The program does not answer: the session may be over. What you see is the last that is known." : error.message);
    }
  }
  setTimeout(refresh, PERIOD);
}

renderColumns();
document.getElementById("filter").addEventListener("input", () => status && render());
document.addEventListener("visibilitychange", () => document.hidden || status === null || render());
refresh();
