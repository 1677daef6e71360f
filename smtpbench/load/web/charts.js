// Asks for the new seconds once a second and draws them. All text from the server goes in as text, never as markup.
"use strict";
const NS = "http://www.w3.org/2000/svg";
const PERIOD_MS = 1000;
const LONGEST = 3600;
const byId = (id) => document.getElementById(id);
const hidden = new Set(["session"]); // it lasts as long as the run: its line would flatten the others
let run = -1, points = [], percents = [50, 90, 99], chosen = 2;

function element(name, attributes = {}, text = "", space = null) {
  const made = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "style") made.style.cssText = value; // the policy of the page forbids the attribute
    else made.setAttribute(key, value);
  }
  if (text !== "") made.textContent = text;
  return made;
}

const count = (value) => Math.round(value).toLocaleString("en");
function latency(ms) {
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  return ms < 1000 ? `${Number(ms.toPrecision(3))} ms` : `${Number((ms / 1000).toPrecision(3))} s`;
}

// A scale from values to pixels, with its ticks: linear from 0, or logarithmic over whole decades.
function scale(values, top, bottom, logarithmic) {
  const highest = Math.max(...values, logarithmic ? 0.01 : 1);
  if (!logarithmic) {
    const step = 10 ** Math.floor(Math.log10(highest)) * ([1, 2, 5].find((n) => highest / (10 ** Math.floor(Math.log10(highest)) * n) <= 4) || 5);
    const end = Math.ceil(highest / step) * step;
    const ticks = Array.from({ length: Math.round(end / step) + 1 }, (_, index) => index * step);
    return { at: (value) => bottom - (value / end) * (bottom - top), ticks };
  }
  const low = Math.floor(Math.log10(Math.min(...values.filter((value) => value > 0), highest)));
  const high = Math.max(Math.ceil(Math.log10(highest)), low + 1);
  const ticks = Array.from({ length: high - low + 1 }, (_, index) => 10 ** (low + index));
  return { at: (value) => bottom - ((Math.log10(Math.max(value, 10 ** low)) - low) / (high - low)) * (bottom - top), ticks };
}

// `series`: [{name, color, values: [number or null, one a point]}]
function draw(svg, series, format, logarithmic = false) {
  const width = svg.clientWidth || 600, height = svg.clientHeight || 200;
  const left = 58, right = width - 8, top = 8, bottom = height - 20;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const shown = series.filter((one) => !hidden.has(one.name));
  const values = shown.flatMap((one) => one.values.filter((value) => value !== null));
  const parts = [];
  if (values.length && points.length) {
    const y = scale(values, top, bottom, logarithmic);
    const first = points[0].t_s, last = Math.max(points[points.length - 1].t_s, first + 1);
    const x = (t) => left + ((t - first) / (last - first)) * (right - left);
    for (const tick of y.ticks) {
      parts.push(element("line", { x1: left, x2: right, y1: y.at(tick), y2: y.at(tick) }, "", NS));
      parts.push(element("text", { x: left - 6, y: y.at(tick) + 4, "text-anchor": "end" }, format(tick), NS));
    }
    for (let part = 0; part <= 4; part += 1) {
      const t = first + ((last - first) * part) / 4;
      parts.push(element("text", { x: x(t), y: height - 4, "text-anchor": part === 0 ? "start" : part === 4 ? "end" : "middle" }, `${Number(t.toFixed(1))} s`, NS));
    }
    for (const one of shown) {
      let path = "", pen = "M";
      one.values.forEach((value, index) => {
        if (value === null) { pen = "M"; return; }
        path += `${pen}${x(points[index].t_s).toFixed(1)} ${y.at(value).toFixed(1)}`;
        const alone = pen === "M" && (one.values[index + 1] ?? null) === null;
        if (alone) path += "m-3 0h6"; // a line has two ends: what happened in one second alone gets a dash
        pen = "L";
      });
      const line = element("path", { d: path, style: `--c: ${one.color}` }, "", NS);
      line.append(element("title", {}, one.name, NS));
      parts.push(line);
    }
  }
  svg.replaceChildren(...parts);
}

function legend(box, series) {
  const known = [...box.children].map((button) => button.dataset.name).join();
  if (known === series.map((one) => one.name).join()) return;
  box.replaceChildren(...series.map((one) => {
    const button = element("button", { type: "button", "data-name": one.name, "aria-pressed": !hidden.has(one.name), style: `--c: ${one.color}` });
    button.append(element("i"), one.name);
    button.addEventListener("click", () => {
      if (!hidden.delete(one.name)) hidden.add(one.name);
      button.setAttribute("aria-pressed", !hidden.has(one.name));
      drawAll();
    });
    return button;
  }));
}

function choices() {
  byId("percent").replaceChildren(...percents.map((percent, index) => {
    const button = element("button", { type: "button", "aria-pressed": index === chosen }, index === 0 ? "median" : `p${percent}`);
    button.addEventListener("click", () => { chosen = index; choices(); drawAll(); });
    return button;
  }));
}

const color = (index) => `var(--c${index % 13})`;
function drawAll() {
  const order = ["connect", "tls", "banner", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "body", "transaction", "intended", "session"];
  const names = order.filter((name) => points.some((point) => name in point.ms));
  const phases = names.map((name) => ({ name, color: color(order.indexOf(name)), values: points.map((point) => (name in point.ms ? point.ms[name][chosen] : null)) }));
  legend(byId("phases"), phases);
  draw(byId("latency"), phases, latency, true);
  const kinds = ["accepted", "offered", "rejected_4xx", "rejected_5xx", "dropped", "timeouts"];
  const rates = kinds.map((name, index) => ({ name: name.replace("rejected_4xx", "4yz").replace("rejected_5xx", "5yz"), color: color(index), values: points.map((point) => point.per_s[name]) }));
  const happened = rates.filter((one) => one.values.some((value) => value > 0));
  legend(byId("rates"), happened);
  draw(byId("rate"), happened, count);
  const opens = ["sessions", "waiting"].map((name, index) => ({ name: name === "waiting" ? "arrivals that wait" : "open", color: color(index), values: points.map((point) => point[name]) }));
  legend(byId("opens"), opens);
  draw(byId("sessions"), opens, count);
}

function figures(now) {
  const total = now.so_far.totals || {};
  const shown = {
    "accepted per second": count(now.accepted_last_s), accepted: count(now.accepted), failed: count(now.failed),
    "p50": latency(now.p50_ms), "p99": latency(now.p99_ms), "open sessions": count(now.sessions),
    "sessions in all": count(total.sessions || 0), "busiest loop, of a core": `${Math.round(now.loop_busy * 100)} %`,
    "loop late by (p99)": latency(now.loop_lag_p99_ms),
  };
  if (now.waiting !== null) shown["arrivals that wait"] = count(now.waiting);
  const hot = { failed: now.failed > 0, "arrivals that wait": now.waiting > 0, "busiest loop, of a core": now.loop_busy > 0.8 };
  byId("figures").replaceChildren(...Object.entries(shown).map(([name, text]) => {
    const box = element("div", hot[name] ? { class: "hot" } : {});
    box.append(element("dt", {}, name), element("dd", {}, text));
    return box;
  }));
  const most = Math.max(...Object.values(now.replies), 1), table = element("table");
  for (const [code, number] of Object.entries(now.replies)) {
    const row = element("tr"), bar = element("td");
    bar.append(element("span", { class: code >= "400" ? "bad" : "", style: `width: ${(100 * number) / most}%` }));
    row.append(element("td", {}, code), element("td", {}, count(number)), bar);
    table.append(row);
  }
  byId("replies").replaceChildren(table);
  if (now.target) { byId("target").textContent = now.target; document.title = `smtpbench: ${now.target}`; }
  const workers = Object.entries(now.workers).map(([state, number]) => `${number} ${state}`).join(", ");
  const end = now.ends_s ? ` of ${Number(now.ends_s.toFixed(1))}` : "";
  byId("state").textContent = now.warming_up_s ? `warming up, ${Math.round(now.warming_up_s)} s left` : `${now.t_s.toFixed(0)}${end} s, processes: ${workers}`;
}

async function step() {
  try {
    const after = points.length ? points[points.length - 1].t_s : 0;
    const answer = await fetch(`figures?run=${run}&after=${after}`);
    if (!answer.ok) throw new Error(answer.statusText);
    const said = await answer.json();
    if (said.run !== run) { run = said.run; points = []; percents = said.percents; choices(); }
    points = points.concat(said.points).slice(-LONGEST);
    figures(said.now);
    drawAll();
  } catch (error) {
    byId("state").textContent = "the run is over, or its page does not answer";
  }
  setTimeout(step, PERIOD_MS);
}

window.addEventListener("resize", drawAll);
choices();
step();
