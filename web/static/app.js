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

  // ---- Renewal: fetches the same page and changes what differs, node by node, so that focus, selection and scrolling stay.
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
      const pictures = [];
      for (const part of [live, ...document.querySelectorAll("[data-renew]")]) {
        const fresh = page.getElementById(part.id);
        if (fresh) morphChildren(part, fresh, pictures);
      }
      for (const [old, next] of pictures) await renewPicture(old, next);
      watchAll();
    } catch (_) { /* The server is away; the next round tries again. */ } finally { busy = false; }
  }
  // Whether the reader has selected text in a node or has the focus in it.
  function held(node) {
    const selection = getSelection();
    return (!selection.isCollapsed && selection.containsNode(node, true)) || node.contains(document.activeElement);
  }
  // Makes `old` equal to `next`. A chart keeps its elements: its picture is swapped once the new one is loaded.
  function morph(old, next, pictures) {
    if (old.nodeName !== next.nodeName) { old.replaceWith(next); return; }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== next.data && !held(old)) old.data = next.data;
      return;
    }
    if (old.matches("picture.chart")) { pictures.push([old, next]); return; }
    for (const { name } of [...old.attributes]) if (!next.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    morphChildren(old, next, pictures);
  }
  // Children with a data-key are found again by it; the others by their place. Nothing moves while the reader holds a part.
  function morphChildren(old, next, pictures) {
    const wanted = new Set([...next.children].map((child) => child.dataset.key));
    for (const child of [...old.children]) if (child.dataset.key && !wanted.has(child.dataset.key)) child.remove();
    const keyed = new Map([...old.children].filter((child) => child.dataset.key).map((child) => [child.dataset.key, child]));
    const kept = new Set(), isHeld = held(old);
    let at = old.firstChild;
    for (const child of [...next.childNodes]) {
      const key = child.dataset?.key;
      let match = key ? keyed.get(key) : at && !at.dataset?.key && at.nodeName === child.nodeName ? at : null;
      if (match) {
        if (match === at) at = at.nextSibling;
        else if (!isHeld) old.insertBefore(match, at);
        kept.add(match);
        morph(match, child, pictures);
      } else {
        kept.add(old.insertBefore(child, at));
      }
    }
    for (const child of [...old.childNodes]) if (!kept.has(child)) child.remove();
  }
  // A picture that is loaded before it is shown does not flicker.
  async function renewPicture(shown, picture) {
    if (shown.dataset.query === picture.dataset.query || shown.querySelector(".tip")) return;
    const image = document.importNode(picture.querySelector("img"));
    image.src = pick(picture);
    try { await image.decode(); } catch (_) { return; }
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
    // A drag may leave the chart; the pointer is followed until its button is up.
    picture.addEventListener("pointerleave", () => { if (!drag) clear(); });
    picture.addEventListener("pointercancel", () => { drag = null; clear(); });
    picture.addEventListener("dragstart", (event) => event.preventDefault());
    picture.addEventListener("pointerdown", (event) => {
      if (!data || event.button !== 0 || event.pointerType === "touch") return;
      drag = place(event);
      picture.setPointerCapture(event.pointerId);
    });
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
    // `chosen` is -1 until the reader moves into the list: Enter runs what is written.
    let names = null, list = null, chosen = -1, found = [], edits = 0;
    // Names are fetched once, however fast the reader types.
    const load = () => names ||= fetchNames().catch(() => { names = null; return []; });
    async function fetchNames() {
      const ask = async (path) => { const a = await fetch(prefix + path); return a.ok ? (await a.json()).data : []; };
      const [metrics, labels, functions] = await Promise.all([ask("/api/v1/label/__name__/values"), ask("/api/v1/labels"), ask("/api/v1/functions")]);
      return [...metrics.map((name) => ({ name, kind: "" })), ...functions.map((name) => ({ name, kind: "function" })), ...labels.map((name) => ({ name, kind: "label" }))];
    }
    const word = () => { const before = box.value.slice(0, box.selectionStart); return before.match(/[A-Za-z_:][A-Za-z0-9_:]*$/)?.[0] ?? ""; };
    const close = () => { edits++; list?.remove(); list = null; chosen = -1; };
    function draw() {
      list?.remove();
      list = null;
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
      close();
      const typed = word(), edit = edits;
      if (typed.length < 2) return;
      const all = await load(), wanted = typed.toLowerCase();
      // The text has moved on, or the list was closed, while the names were fetched.
      if (edit !== edits || typed !== word()) return;
      const rank = ({ name }) => { const at = name.toLowerCase().indexOf(wanted); return at < 0 ? Infinity : at; };
      found = all.map((entry) => [rank(entry), entry]).filter(([r, e]) => r < Infinity && e.name !== typed)
        .sort((a, b) => a[0] - b[0] || a[1].name.length - b[1].name.length).slice(0, 20).map(([, e]) => e);
      draw();
    });
    box.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter" && !event.shiftKey && chosen < 0) { close(); form.requestSubmit(); }
      else if (event.key === "Escape") close(); // also before the names have come
      else if (!list) return;
      else if (event.key === "ArrowDown") { chosen = (chosen + 1) % found.length; draw(); }
      else if (event.key === "ArrowUp") { chosen = (chosen <= 0 ? found.length : chosen) - 1; draw(); }
      else if (event.key === "Enter" || event.key === "Tab") take(Math.max(chosen, 0));
      else return;
      event.preventDefault();
    });
    box.addEventListener("blur", close);
  }
})();
