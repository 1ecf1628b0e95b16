"use strict";
// Draws the zoomable plots. The data is in the page; nothing is fetched. Without a script the tables and close-ups remain.
(() => {
  const LEFT = 64, RIGHT = 10, LANE = 18, GAP = 22;
  const data = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip");

  function floats(text) {
    if (!text) return null;
    const raw = atob(text), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return new Float32Array(bytes.buffer);
  }

  const two = (n) => String(n).padStart(2, "0");
  const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
  function moment(s, form) {
    const d = new Date(s * 1000), clock = `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}`;
    const day = `${d.getUTCDate()} ${MONTHS[d.getUTCMonth()]}`;
    return form === "day" ? day : form === "clock" ? clock : `${day} ${clock}`;
  }
  function short(v) {
    if (!isFinite(v)) return "–";
    const a = Math.abs(v);
    for (const [size, suffix] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (a >= size) return +(v / size).toPrecision(3) + suffix;
    return String(+v.toPrecision(3));
  }
  const STEPS = [60, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 432000, 864000, 2592000, 7776000];

  class Plot {
    constructor(box, strip) {
      this.box = box; this.strip = strip;
      this.canvas = box.querySelector("canvas");
      this.reset = box.querySelector("button");
      this.panelHeight = strip.panels.length > 1 ? 62 : 130;
      this.lanes = 1 + (data.second ? 2 : 1);
      this.height = this.lanes * LANE + 6 + strip.panels.length * (this.panelHeight + GAP) + 20;
      this.canvas.style.height = this.height + "px";
      this.all = [strip.from, strip.to];
      [this.from, this.to] = this.all;
      this.listen();
    }
    unpack() {
      if (this.ready) return;
      for (const p of this.strip.panels) {
        p.lo = floats(p.lo); p.hi = p.hi ? floats(p.hi) : p.lo;
        p.e = floats(p.e); p.bl = floats(p.bl); p.bh = floats(p.bh);
      }
      this.ready = true;
    }
    x(t) { return LEFT + (t - this.from) / (this.to - this.from) * (this.width - LEFT - RIGHT); }
    t(x) { return this.from + (x - LEFT) / (this.width - LEFT - RIGHT) * (this.to - this.from); }
    zoom(from, to) {
      const [a, b] = this.all, least = Math.min(b - a, 20 * this.strip.panels[0].step);
      if (to - from < least) { const mid = (from + to) / 2; from = mid - least / 2; to = mid + least / 2; }
      const span = Math.min(to - from, b - a);
      this.from = Math.max(a, Math.min(from, b - span)); this.to = this.from + span;
      this.reset.hidden = this.from <= a && this.to >= b;
      this.draw();
    }
    colours() {
      const css = getComputedStyle(document.documentElement);
      const get = (name) => css.getPropertyValue("--" + name).trim();
      return Object.fromEntries("paper ink soft line a b c band good critical shade info".split(" ").map((n) => [n, get(n)]));
    }
    draw() {
      this.unpack();
      const ratio = window.devicePixelRatio || 1;
      this.width = this.canvas.clientWidth;
      if (!this.width) return;
      this.canvas.width = this.width * ratio; this.canvas.height = this.height * ratio;
      const c = this.c = this.canvas.getContext("2d");
      c.scale(ratio, ratio);
      c.font = "11.5px system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif";
      this.k = this.colours();
      const bottom = this.height - 20;
      this.shades(bottom); this.drawLanes();
      this.drawn = 0;
      this.strip.panels.forEach((p, i) => this.panel(p, this.lanes * LANE + 6 + i * (this.panelHeight + GAP) + GAP));
      this.drifts(bottom);
      this.times(bottom);
      this.box.dataset.drawn = this.drawn; // for tests: how many points the picture has
    }
    clip(top, height) {
      const c = this.c; c.save(); c.beginPath(); c.rect(LEFT, top, this.width - LEFT - RIGHT, height); c.clip();
    }
    shades(bottom) {
      const c = this.c, top = this.lanes * LANE + 6;
      this.clip(0, bottom);
      if (this.strip.judged > this.strip.from) {
        c.fillStyle = this.k.line; c.globalAlpha = 0.45;
        c.fillRect(LEFT, top, this.x(this.strip.judged) - LEFT, bottom - top);
      }
      for (const e of this.strip.events) {
        const left = this.x(e.from), width = Math.max(this.x(e.to) - left, 2);
        c.globalAlpha = e.found ? 0.2 : 0.16; c.fillStyle = e.found ? this.k.shade : this.k.critical;
        c.fillRect(left, top, width, bottom - top);
        if (!e.found) { c.globalAlpha = 0.8; c.strokeStyle = this.k.critical; c.setLineDash([4, 3]); c.strokeRect(left, top, width, bottom - top); c.setLineDash([]); }
      }
      c.restore();
    }
    drifts(bottom) {
      const c = this.c; this.clip(0, bottom);
      c.strokeStyle = this.k.ink; c.lineWidth = 1.4; c.setLineDash([3, 3]); c.beginPath();
      for (const d of this.strip.drifts) { c.moveTo(this.x(d.at), this.lanes * LANE + 6); c.lineTo(this.x(d.at), bottom); }
      c.stroke(); c.restore(); // and with it the dashes
    }
    drawLanes() {
      const c = this.c, names = data.second ? ["truth", "A", "B"] : ["truth", "alerts"];
      c.fillStyle = this.k.soft; c.textAlign = "left";
      names.forEach((name, i) => c.fillText(name, 2, i * LANE + 13));
      this.clip(0, this.lanes * LANE + 4);
      const bars = this.strip.events.map((e) => [e, this.x(e.from), Math.max(this.x(e.to) - this.x(e.from), 3)]);
      bars.forEach(([e, left, width], i) => {
        c.lineWidth = 1.6; c.strokeStyle = c.fillStyle = e.found ? this.k.good : this.k.critical;
        if (e.found) c.fillRect(left, 3, width, 13); else { c.strokeRect(left, 3.5, width, 12); this.cross(left + width / 2, 9.5, 3.4); }
        const name = (e.found ? "" : "missed: ") + e.kind.replaceAll("_", " "), room = c.measureText(name).width + 8;
        const next = i + 1 < bars.length ? bars[i + 1][1] : this.width - RIGHT;
        const inside = e.found && room <= width, beside = room <= next - left - width;
        if (inside || beside) { c.fillStyle = inside ? this.k.paper : this.k.ink; c.fillText(name, left + (inside ? 5 : width + 4), 13.5); }
      });
      this.strip.a.forEach((d) => this.detection(d, LANE + 9));
      if (data.second) this.strip.b.forEach((d) => this.detection(d, 2 * LANE + 9));
      c.restore();
    }
    cross(x, y, r) {
      const c = this.c; c.beginPath(); c.moveTo(x - r, y - r); c.lineTo(x + r, y + r); c.moveTo(x - r, y + r); c.lineTo(x + r, y - r); c.stroke();
    }
    detection(d, y) {
      const c = this.c, k = this.k, x = this.x(d.from), end = this.x(d.to);
      if (x > this.width + 9 || end < LEFT - 9) return;
      const colour = { hit: k.good, false: k.critical, after: k.soft, unjudged: k.info }[d.outcome];
      c.strokeStyle = c.fillStyle = colour; c.lineWidth = 1.6;
      c.globalAlpha = 0.45; c.fillRect(x, y - 2, Math.max(end - x, 0), 4); c.globalAlpha = 1;
      c.beginPath();
      if (d.outcome === "hit") { c.moveTo(x, y - 6); c.lineTo(x + 5.5, y + 5); c.lineTo(x - 5.5, y + 5); c.closePath(); c.fill(); }
      else if (d.outcome === "false") {
        c.moveTo(x, y - 7); c.lineTo(x + 7, y); c.lineTo(x, y + 7); c.lineTo(x - 7, y); c.closePath(); c.fill();
        c.strokeStyle = k.paper; this.cross(x, y, 2.4);
      }
      else if (d.outcome === "after") { c.arc(x, y, 4.5, 0, 7); c.stroke(); }
      else c.fillRect(x - 4, y - 4, 8, 8);
    }
    range(p, i0, i1) {
      let lo = Infinity, hi = -Infinity, bl = Infinity, bh = -Infinity;
      for (let i = i0; i <= i1; i++) {
        if (p.lo[i] < lo) lo = p.lo[i];
        if (p.hi[i] > hi) hi = p.hi[i];
        if (p.e) { if (p.bl[i] < bl) bl = p.bl[i]; if (p.bh[i] > bh) bh = p.bh[i]; }
      }
      if (lo > hi) { lo = 0; hi = 1; }
      const room = (hi - lo) || Math.abs(hi) || 1;
      lo = Math.min(lo, Math.max(bl, lo - room / 2)); hi = Math.max(hi, Math.min(bh, hi + room / 2));
      return [lo - room * 0.03, hi + room * 0.03];
    }
    panel(p, top) {
      const c = this.c, k = this.k, height = this.panelHeight, last = p.lo.length - 1;
      const i0 = Math.max(0, Math.floor((this.from - p.t) / p.step) - 1), i1 = Math.min(last, Math.ceil((this.to - p.t) / p.step) + 1);
      const [lo, hi] = this.range(p, i0, i1), y = (v) => top + height - (v - lo) / (hi - lo) * height;
      c.fillStyle = k.ink; c.textAlign = "left"; c.font = "600 " + c.font.replace(/^600 /, "");
      c.fillText(p.label, LEFT, top - 6); c.font = c.font.replace(/^600 /, "");
      c.textAlign = "right"; c.strokeStyle = k.line; c.lineWidth = 1;
      for (const v of ticks(lo, hi)) {
        c.fillStyle = k.soft; c.fillText(short(v), LEFT - 6, y(v) + 4);
        c.beginPath(); c.moveTo(LEFT, y(v)); c.lineTo(this.width - RIGHT, y(v)); c.stroke();
      }
      const x = (i) => this.x(p.t + (i + (p.lo === p.hi ? 0 : 0.5)) * p.step);
      this.clip(top - 2, height + 4);
      if (p.e) {
        c.fillStyle = k.band;
        for (let i = i0; i <= i1; i++) {
          let j = i; while (j <= i1 && p.bh[j] === p.bh[j] && p.bl[j] === p.bl[j]) j++;
          if (j > i + 1) {
            c.beginPath();
            for (let n = i; n < j; n++) c.lineTo(x(n), y(p.bh[n]));
            for (let n = j - 1; n >= i; n--) c.lineTo(x(n), y(p.bl[n]));
            c.fill();
          }
          i = j;
        }
        this.line(p.e, p.e, x, y, i0, i1, k.b, 0.9, 0.7);
      }
      this.line(p.lo, p.hi, x, y, i0, i1, k.a, 1.3, 1);
      c.strokeStyle = k.c; c.lineWidth = 1.4; c.beginPath();
      for (const m of p.marks) if (m >= this.from && m <= this.to) { c.moveTo(this.x(m), top + height + 2); c.lineTo(this.x(m), top + height - 5); }
      c.stroke(); c.restore();
    }
    line(lo, hi, x, y, i0, i1, colour, width, alpha) {
      const c = this.c; c.strokeStyle = colour; c.lineWidth = width; c.globalAlpha = alpha; c.lineJoin = "round";
      c.beginPath(); let pen = false, up = true;
      for (let i = i0; i <= i1; i++) {
        if (lo[i] !== lo[i]) { pen = false; continue; }
        if (width > 1) this.drawn++;
        const a = y(lo[i]), b = y(hi[i]);
        if (!pen) c.moveTo(x(i), a); else c.lineTo(x(i), up ? a : b);
        if (a !== b) { c.lineTo(x(i), up ? b : a); up = !up; }
        else if (!pen && (i === i1 || lo[i + 1] !== lo[i + 1])) c.lineTo(x(i) + 1, a);
        pen = true;
      }
      c.stroke(); c.globalAlpha = 1;
    }
    times(bottom) {
      const c = this.c, span = this.to - this.from, step = STEPS.find((s) => span / s <= this.width / 90) || STEPS[STEPS.length - 1];
      c.strokeStyle = this.k.soft; c.fillStyle = this.k.soft; c.textAlign = "center"; c.lineWidth = 1;
      c.beginPath(); c.moveTo(LEFT, bottom + 0.5); c.lineTo(this.width - RIGHT, bottom + 0.5); c.stroke();
      for (let t = Math.ceil(this.from / step) * step; t <= this.to; t += step) {
        const x = this.x(t), label = step >= 86400 ? moment(t, "day") : t % 86400 === 0 ? moment(t, "day") : moment(t, "clock");
        c.fillRect(x, bottom, 1, 4);
        if (x > LEFT + 14 && x < this.width - 24) c.fillText(label, x, bottom + 16);
      }
    }
    listen() {
      const canvas = this.canvas;
      let start = null;
      canvas.addEventListener("pointerdown", (e) => { start = e.offsetX; canvas.setPointerCapture(e.pointerId); });
      let waiting = null; // of many moves between two frames the last one counts
      canvas.addEventListener("pointermove", (e) => {
        if (!waiting) requestAnimationFrame(() => { if (waiting) this.hover(waiting, start); waiting = null; });
        waiting = { offsetX: e.offsetX, pageX: e.pageX, pageY: e.pageY, clientX: e.clientX };
      });
      canvas.addEventListener("pointercancel", () => { start = null; });
      canvas.addEventListener("pointerup", (e) => {
        if (start !== null && Math.abs(e.offsetX - start) > 5) {
          const ends = [this.t(start), this.t(e.offsetX)].sort((a, b) => a - b);
          this.zoom(ends[0], ends[1]);
        }
        start = null;
      });
      canvas.addEventListener("pointerleave", () => { waiting = null; tip.hidden = true; if (start === null) this.draw(); });
      canvas.addEventListener("dblclick", () => this.zoom(...this.all));
      canvas.addEventListener("keydown", (e) => {
        const span = this.to - this.from, mid = (this.to + this.from) / 2;
        const move = { ArrowLeft: [this.from - span / 4, this.to - span / 4], ArrowRight: [this.from + span / 4, this.to + span / 4],
          "+": [mid - span / 4, mid + span / 4], "-": [mid - span, mid + span], Escape: this.all }[e.key];
        if (move) { e.preventDefault(); this.zoom(...move); }
      });
      this.reset.addEventListener("click", () => this.zoom(...this.all));
    }
    hover(e, start) {
      const x = Math.max(LEFT, Math.min(e.offsetX, this.width - RIGHT)), t = this.t(x), c = this.c;
      if (!c) return;
      this.draw();
      if (start !== null && Math.abs(x - start) > 2) {
        this.c.fillStyle = this.k.info; this.c.globalAlpha = 0.18;
        this.c.fillRect(Math.min(start, x), 0, Math.abs(x - start), this.height - 20); this.c.globalAlpha = 1;
      }
      this.c.fillStyle = this.k.soft; this.c.fillRect(x, 0, 1, this.height - 20);
      const lines = [[moment(t), "b"]];
      for (const p of this.strip.panels) {
        const i = Math.floor((t - p.t) / p.step + (p.lo === p.hi ? 0.5 : 0));
        if (!(p.lo[i] === p.lo[i])) continue;
        const value = p.lo[i] === p.hi[i] ? short(p.lo[i]) : `${short(p.lo[i])} to ${short(p.hi[i])}`;
        const band = p.e && p.e[i] === p.e[i] ? ` (expected ${short(p.e[i])}, ${short(p.bl[i])} to ${short(p.bh[i])})` : "";
        lines.push([`${p.label}: ${value}${band}`]);
      }
      const near = (this.to - this.from) * 6 / this.width;
      for (const v of this.strip.events) if (t >= v.from - near && t <= v.to + near) lines.push([`event: ${v.kind}, ${said(v.found)}${data.second ? ` by A, ${said(v.b)} by B` : ""}`]);
      for (const [name, list] of [["A", this.strip.a], ["B", this.strip.b]])
        for (const d of list || []) if (t >= d.from - near && t <= d.to + near) lines.push([`${data.second ? name + ": " : ""}${d.outcome} ${d.kind}: ${d.says}`]);
      for (const d of this.strip.drifts) if (Math.abs(t - d.at) <= near) lines.push([`drift, for review: ${d.says}`]);
      tip.replaceChildren(...lines.slice(0, 14).map(([text, tag]) => Object.assign(document.createElement(tag || "div"), { textContent: text })));
      tip.hidden = false;
      const room = document.documentElement.clientWidth;
      tip.style.left = (e.clientX > room / 2 ? e.pageX - tip.offsetWidth - 14 : e.pageX + 14) + "px"; // away from the middle
      tip.style.top = e.pageY + 14 + "px";
    }
  }

  const said = (found) => (found ? "found" : "missed");

  function ticks(lo, hi) {
    const raw = (hi - lo) / 3.5, size = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].map((s) => s * size).find((s) => s >= raw * 0.999), found = [];
    for (let n = Math.ceil(lo / step); n * step <= hi + 1e-9 * step && found.length < 6; n++) found.push(n * step);
    return found;
  }

  const plots = [...document.querySelectorAll(".plot")].map((box) => new Plot(box, data.strips[+box.dataset.strip]));
  const seen = new Set(), watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const plot = plots.find((p) => p.box === entry.target);
      if (entry.isIntersecting) { seen.add(plot); plot.draw(); } else seen.delete(plot);
    }
  }, { rootMargin: "300px" });
  plots.forEach((p) => watch.observe(p.box));
  plots.slice(0, 8).forEach((p) => p.draw()); // what is likely in view, at once; the others when they come near it
  const again = () => seen.forEach((p) => p.draw());
  window.addEventListener("resize", again);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  window.addEventListener("beforeprint", () => plots.forEach((p) => p.draw()));
  document.addEventListener("click", (e) => {
    const link = e.target.closest("a[data-zoom]");
    const plot = link && plots.find((p) => "#" + p.box.id === link.getAttribute("href"));
    if (!plot) return;
    const [from, to] = link.dataset.zoom.split(",").map(Number), pad = Math.max(to - from, 60 * plot.strip.panels[0].step) * 1.5;
    plot.draw(); plot.zoom(from - pad, to + pad);
  });
})();
