// Everything works without this. With it: forms that send themselves, pages that renew in place, a cross-hair with
// values over charts, zooming by dragging, and completion in the expression box.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const prefix = document.body.dataset.prefix;

  // Selects act at once.
  for (const form of document.querySelectorAll("form[data-auto]")) {
    form.addEventListener("change", (event) => { if (event.target.tagName === "SELECT") form.requestSubmit(); });
  }

  // ---- Renewal: the same page again, its panels in the place of the old ones.
  const live = document.getElementById("live");
  const every = live ? Number(live.dataset.refresh) : 0;
  let busy = false;
  async function renew() {
    if (document.hidden || busy) return;
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const range = (from) => from.querySelector("form[data-auto] select[name=range]");
      if (range(document) && range(page) && document.activeElement !== range(document)) range(document).value = range(page).value;
      const fresh = page.getElementById("live");
      const old = [...live.children], next = fresh ? [...fresh.children] : [];
      if (old.length !== next.length) { live.replaceChildren(...next); watchAll(); return; }
      for (const [i, panel] of next.entries()) await swap(old[i], panel);
    } catch (_) { /* The server is away; the next round tries again. */ } finally { busy = false; }
  }
  // A panel whose picture is loaded before it is shown does not flicker.
  async function swap(old, next) {
    if (old.matches(":hover") && old.querySelector(".tip")) return;
    const picture = next.querySelector("picture.chart");
    if (!picture) { if (old.innerHTML !== next.innerHTML) old.replaceWith(next); return; }
    const shown = old.querySelector("picture.chart");
    if (!shown) { old.replaceWith(next); watchAll(); return; }
    if (shown.dataset.query === picture.dataset.query) return;
    const address = pick(picture);
    const image = new Image();
    image.src = address;
    try { await image.decode(); } catch (_) { return; }
    image.alt = picture.querySelector("img").alt;
    shown.dataset.query = picture.dataset.query;
    for (const source of shown.querySelectorAll("source")) source.remove();
    shown.querySelector("img").replaceWith(image);
  }
  // The address that the browser would choose.
  function pick(picture) {
    for (const source of picture.querySelectorAll("source")) {
      if (matchMedia(source.media).matches) return source.getAttribute("srcset");
    }
    return picture.querySelector("img").getAttribute("src");
  }
  if (every > 0) setInterval(renew, every * 1000);

  // ---- Cross-hair, values, zoom.
  const pad = (n) => String(n).padStart(2, "0");
  function clock(ms) {
    const at = new Date(ms);
    return `${at.getUTCFullYear()}-${pad(at.getUTCMonth() + 1)}-${pad(at.getUTCDate())} ` +
      `${pad(at.getUTCHours())}:${pad(at.getUTCMinutes())}:${pad(at.getUTCSeconds())} UTC`;
  }
  function watch(picture) {
    if (picture.dataset.watched) return;
    picture.dataset.watched = "1";
    let data = null, asked = "", drag = null;
    const layer = { cross: null, tip: null, zoom: null };
    const make = (name) => layer[name] ||= picture.appendChild(Object.assign(document.createElement("div"), { className: name }));
    const clear = () => { for (const name of Object.keys(layer)) { layer[name]?.remove(); layer[name] = null; } };
    async function load() {
      const image = picture.querySelector("img");
      const shown = image.currentSrc || image.src;
      if (asked === shown) return data;
      asked = shown; data = null;
      const answer = await fetch(shown.replace("/chart.svg?", "/chart.json?"));
      if (answer.ok) data = (await answer.json()).data;
      return data;
    }
    const place = (event) => {
      const box = picture.getBoundingClientRect();
      const scale = box.width / data.size[0];
      const [left, top, right, bottom] = data.plot.map((edge) => edge * scale);
      const x = Math.min(Math.max(event.clientX - box.left, left), right);
      const ms = data.time[0] + (x - left) / (right - left) * (data.time[1] - data.time[0]);
      return { box, left, top, right, bottom, x, ms };
    };
    picture.addEventListener("pointermove", async (event) => {
      if (event.pointerType === "touch" && !drag) return;
      await load();
      if (!data) return;
      const at = place(event);
      const cross = make("cross");
      Object.assign(cross.style, { left: `${at.x}px`, top: `${at.top}px`, height: `${at.bottom - at.top}px` });
      if (drag !== null) {
        const zoom = make("zoom");
        Object.assign(zoom.style, { left: `${Math.min(drag.x, at.x)}px`, width: `${Math.abs(drag.x - at.x)}px`, top: `${at.top}px`, height: `${at.bottom - at.top}px` });
      }
      const near = [];
      let moment = at.ms;
      for (const series of data.series) {
        let best = null;
        for (const point of series.points) if (!best || Math.abs(point[0] - at.ms) < Math.abs(best[0] - at.ms)) best = point;
        if (best && Math.abs(best[0] - at.ms) <= data.step) { near.push({ series, point: best }); moment = best[0]; }
      }
      near.sort((a, b) => b.point[1] - a.point[1]);
      const tip = make("tip");
      tip.replaceChildren(Object.assign(document.createElement("b"), { textContent: clock(moment) }));
      for (const { series, point } of near.slice(0, 12)) {
        const row = document.createElement("div"), mark = document.createElement("i");
        mark.style.background = series.color;
        row.append(mark, Object.assign(document.createElement("span"), { textContent: series.name }), Object.assign(document.createElement("em"), { textContent: point[2] }));
        tip.append(row);
      }
      if (near.length > 12) tip.append(`and ${near.length - 12} more`);
      const width = tip.offsetWidth;
      tip.style.left = `${at.x + 14 + width > at.box.width ? Math.max(0, at.x - width - 14) : at.x + 14}px`;
      tip.style.top = `${at.top + 6}px`;
    });
    picture.addEventListener("pointerleave", () => { drag = null; clear(); });
    picture.addEventListener("dragstart", (event) => event.preventDefault());
    picture.addEventListener("pointerdown", (event) => { if (data && event.button === 0 && event.pointerType !== "touch") drag = place(event); });
    picture.addEventListener("pointerup", (event) => {
      if (!drag || !data) return;
      const to = place(event), from = drag;
      drag = null;
      if (Math.abs(to.x - from.x) < 8) { clear(); return; }
      zoomTo(Math.min(from.ms, to.ms) / 1000, Math.max(from.ms, to.ms) / 1000);
    });
  }
  function zoomTo(start, end) {
    const address = new URL(location.href);
    if (document.getElementById("expr")) {
      address.searchParams.set("end", end.toFixed(3));
      address.searchParams.set("range", `${Math.max(1, Math.round(end - start))}s`);
    } else {
      address.searchParams.set("start", start.toFixed(3));
      address.searchParams.set("end", end.toFixed(3));
    }
    location.href = address;
  }
  const watchAll = () => document.querySelectorAll("picture.chart").forEach(watch);
  watchAll();

  // ---- Completion of metric names, label names and functions.
  const box = document.getElementById("expr");
  if (box) {
    const form = box.form;
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !list) { event.preventDefault(); form.requestSubmit(); }
    });
    let names = null, list = null, chosen = 0, found = [];
    async function load() {
      if (names) return names;
      const ask = async (path) => { const a = await fetch(prefix + path); return a.ok ? (await a.json()).data : []; };
      const [metrics, labels, functions] = await Promise.all([ask("/api/v1/label/__name__/values"), ask("/api/v1/labels"), ask("/api/v1/functions")]);
      names = [...metrics.map((name) => ({ name, kind: "" })), ...functions.map((name) => ({ name, kind: "function" })), ...labels.map((name) => ({ name, kind: "label" }))];
      return names;
    }
    const word = () => { const before = box.value.slice(0, box.selectionStart); return before.match(/[A-Za-z_:][A-Za-z0-9_:]*$/)?.[0] ?? ""; };
    const close = () => { list?.remove(); list = null; };
    function draw() {
      close();
      if (!found.length) return;
      list = document.createElement("ul");
      list.className = "suggest";
      list.style.top = `${box.offsetTop + box.offsetHeight + 2}px`;
      for (const [i, { name, kind }] of found.entries()) {
        const item = document.createElement("li");
        item.textContent = name;
        if (kind) item.append(Object.assign(document.createElement("small"), { textContent: kind }));
        item.setAttribute("aria-selected", i === chosen);
        item.addEventListener("pointerdown", (event) => { event.preventDefault(); take(i); });
        list.append(item);
      }
      form.append(list);
      list.children[chosen]?.scrollIntoView({ block: "nearest" });
    }
    function take(i) {
      const typed = word(), at = box.selectionStart, { name, kind } = found[i];
      const text = kind === "function" ? `${name}(` : name;
      box.setRangeText(text, at - typed.length, at, "end");
      close();
      box.focus();
    }
    box.addEventListener("input", async () => {
      const typed = word();
      if (typed.length < 2) { close(); return; }
      const all = await load(), wanted = typed.toLowerCase();
      const rank = ({ name }) => { const at = name.toLowerCase().indexOf(wanted); return at < 0 ? Infinity : at; };
      found = all.map((entry) => [rank(entry), entry]).filter(([r, e]) => r < Infinity && e.name !== typed)
        .sort((a, b) => a[0] - b[0] || a[1].name.length - b[1].name.length).slice(0, 20).map(([, e]) => e);
      chosen = 0;
      draw();
    });
    box.addEventListener("keydown", (event) => {
      if (!list) return;
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        chosen = (chosen + (event.key === "ArrowDown" ? 1 : found.length - 1)) % found.length;
        draw();
      } else if (event.key === "Enter" || event.key === "Tab") take(chosen);
      else if (event.key === "Escape") close();
      else return;
      event.preventDefault();
    });
    box.addEventListener("blur", close);
  }
})();
