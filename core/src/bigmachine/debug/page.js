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

function meter(fraction, label) {
  const made = element("meter", { min: 0, max: 1, low: 0.8, high: 0.95, optimum: 0, value: fraction });
  made.setAttribute("aria-label", label);
  return made;
}

const usedMemory = (m) => (m.memory && m.memory.total_bytes ? 1 - m.memory.available_bytes / m.memory.total_bytes : null);
const usedDisk = (m) => (m.disk && m.disk.total_bytes ? 1 - m.disk.free_bytes / m.disk.total_bytes : null);

function phase(m) {
  if (!m.boot_phase) return [];
  if (!m.boot_total) return [`${m.boot_phase} …`];
  const amount = m.boot_phase === "upload" ? `${size(m.boot_done)} of ${size(m.boot_total)}` : `${m.boot_done} of ${m.boot_total}`;
  return [element("span", {}, element("progress", { max: m.boot_total, value: m.boot_done }), `${m.boot_phase} ${amount}`)];
}

function remark(m) {
  const parts = phase(m);
  if (m.error) parts.push(element("span", { className: "bad" }, m.error));
  if (!m.is_healthy) parts.push(element("span", { className: "bad" }, "memory nearly full"));
  if (m.notice) parts.push(m.notice);
  if (m.is_slow) parts.push("slow to reply");
  return parts.flatMap((part, at) => (at ? ["; ", part] : [part]));
}

// Each column: its heading, what it sorts by, and what it shows.
const COLUMNS = [
  { title: "Machine", key: (m) => Number(m.name.replace(/\D/g, "")), show: (m) => [m.name], class: "name" },
  { title: "State", key: (m) => m.state, show: (m) => [m.state], class: "state" },
  { title: "Where", key: (m) => m.zone + m.addr, show: (m) => [m.zone || m.addr, ...(m.zone ? [element("span", { className: "where" }, m.addr)] : [])], class: "place" },
  { title: "Type", key: (m) => m.kind, show: (m) => [m.kind] },
  { title: "$/h", key: (m) => m.cost_per_hour, show: (m) => [m.cost_per_hour === null || m.state === "stopped" ? "" : m.cost_per_hour.toFixed(3)], class: "number" },
  { title: "Up", key: (m) => m.age, show: (m) => [duration(m.age)], class: "number" },
  { title: "Cores", key: (m) => m.maxprocs, show: (m) => [text(m.maxprocs)], class: "number" },
  { title: "Load", key: (m) => m.load && m.load.one, show: (m) => [m.load ? m.load.one.toFixed(2) : ""], class: "number" },
  { title: "Memory", key: usedMemory, show: (m) => { const used = usedMemory(m); return used === null ? [] : [meter(used, "memory"), `${Math.round(used * 100)} %`]; } },
  { title: "Disk", key: usedDisk, show: (m) => { const used = usedDisk(m); return used === null ? [] : [meter(used, "disk"), `${size(m.disk.free_bytes)} free`]; } },
  { title: "Reply", key: (m) => m.reply_time, show: (m) => [m.reply_time === null ? "" : `${(m.reply_time * 1000).toFixed(1)} ms`], class: "number" },
  { title: "Silent", key: (m) => m.silent_for, show: (m) => [m.silent_for === null ? "" : duration(m.silent_for)], class: "number" },
  { title: "", key: (m) => m.error + m.notice, show: remark, class: "remark" },
];

const MEASURES = COLUMNS.filter((column) => ["Cores", "Load", "Memory", "Disk", "Reply", "Silent"].includes(column.title));

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

// A machine whose replies take three times as long as the median stands out.
function markSlowest(machines) {
  const times = machines.map((m) => m.reply_time).filter((time) => time !== null).sort((a, b) => a - b);
  const median = times[Math.floor(times.length / 2)];
  const slowest = times[times.length - 1];
  for (const m of machines) m.is_slow = times.length > 2 && m.reply_time === slowest && slowest > 3 * median && slowest > 0.05;
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
  row.className = [machine.state, machine.error ? "failed" : "", machine.is_slow ? "slow" : ""].join(" ").trim();
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
  const matches = (m) => [m.name, m.state, m.addr, m.zone, m.kind, m.error, m.notice].join(" ").toLowerCase().includes(wanted);
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
  renderFacts(machines);
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
