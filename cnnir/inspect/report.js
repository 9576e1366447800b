"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const W = 186, H = 40, COLUMN = 208, ROW = 66, PAD = 40;
  const holder = document.createElement("div");
  holder.innerHTML = "<svg></svg>";
  const SVG = holder.firstChild.namespaceURI;
  const SIDES = ["before", "after"];

  const svg = (tag, attributes = {}, parent = null, text = null) => {
    const e = document.createElementNS(SVG, tag);
    for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
    if (text !== null) e.textContent = text;
    if (parent) parent.append(e);
    return e;
  };
  const html = (tag, attributes = {}, parent = null, text = null) => {
    const e = document.createElement(tag);
    for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
    if (text !== null) e.textContent = text;
    if (parent) parent.append(e);
    return e;
  };
  const short = (text, n) => (text.length <= n ? text : text.slice(0, n - 9) + "…" + text.slice(-8));
  const quantity = (v) => {
    for (const [f, p] of [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e3, " k"]])
      if (v >= f * 0.9995) return (v / f >= 99.95 ? (v / f).toFixed(0) : Number((v / f).toPrecision(3))) + p;
    return String(v);
  };

  // -- one drawing

  class Drawing {
    constructor(side) {
      this.side = side;
      this.pane = byId(side);
      this.svg = svg("svg", { role: "group", "aria-label": `The graph ${side} the pass` }, this.pane);
      this.view = { x: 0, y: 0, k: 1 };
      this.pointers = new Map();
      this.listen();
    }

    show(graph, classes) {
      this.graph = graph;
      this.names = new Map(graph.nodes.map((n, i) => [n.n, i]));
      this.above = graph.nodes.map(() => []);
      this.below = graph.nodes.map(() => []);
      this.layer = svg("g");
      const lines = svg("g", {}, this.layer), boxes = svg("g", {}, this.layer);
      this.lines = graph.edges.map(([a, b, ...c]) => {
        this.below[a].push(b);
        this.above[b].push(a);
        return svg("path", { class: "edge", d: route(c) }, lines);
      });
      this.boxes = graph.nodes.map((n, i) => this.box(n, i, classes.get(n.n) || "", boxes));
      this.svg.replaceChildren(this.layer);
      this.width = Math.max(...graph.nodes.map((n) => n.x)) * COLUMN + W;
      this.height = Math.max(...graph.nodes.map((n) => n.y)) * ROW + H;
      this.touched = graph.nodes.map((n, i) => i).filter((i) => classes.has(graph.nodes[i].n));
      this.chosen = -1;
      this.walk = 0;
      this.boxes[0]?.setAttribute("tabindex", "0");
    }

    box(n, i, touched, parent) {
      const end = n.o === "Input" || n.o === "Output" ? " end" : "";
      const g = svg("g", {
        class: `node ${touched}${end}`, tabindex: "-1", role: "button",
        "aria-label": `${n.o} ${n.n}${touched ? ", " + touched : ""}`,
        transform: `translate(${n.x * COLUMN} ${n.y * ROW})`,
      }, parent);
      svg("rect", { x: -W / 2, y: -H / 2, width: W, height: H, rx: 8 }, g);
      svg("text", { class: "op", "text-anchor": "middle", y: -3 }, g, short(n.o + detail(n), 25));
      svg("text", { class: "id", "text-anchor": "middle", y: 12 }, g, short(n.n, 28));
      svg("title", {}, g, `${n.o} ${n.n}\n${n.t}`);
      g.addEventListener("click", () => { if (!this.moved) choose(this, i); });
      g.addEventListener("keydown", (e) => this.key(e, i));
      return g;
    }

    key(e, i) {
      const beside = (d) => {
        const row = this.graph.nodes.map((n, j) => j).filter((j) => this.graph.nodes[j].y === this.graph.nodes[i].y);
        row.sort((a, b) => this.graph.nodes[a].x - this.graph.nodes[b].x);
        return row[row.indexOf(i) + d];
      };
      const to = {
        ArrowDown: () => this.below[i][0], ArrowUp: () => this.above[i][0],
        ArrowLeft: () => beside(-1), ArrowRight: () => beside(1), Enter: () => i, " ": () => i,
      }[e.key];
      if (!to) return;
      e.preventDefault();
      const j = to();
      if (j !== undefined) choose(this, j, { focus: true });
    }

    listen() {
      const at = (e) => {
        const r = this.svg.getBoundingClientRect();
        return { x: e.clientX - r.left, y: e.clientY - r.top };
      };
      this.svg.addEventListener("wheel", (e) => {
        e.preventDefault();
        if (e.shiftKey) { this.view.x -= e.deltaX; this.view.y -= e.deltaY; return this.place(); }
        this.zoom(Math.exp(-e.deltaY * (e.ctrlKey ? 0.01 : 0.0016)), at(e));
      }, { passive: false });
      this.svg.addEventListener("pointerdown", (e) => {
        this.pointers.set(e.pointerId, at(e));
        this.moved = false;
        this.start = at(e);
      });
      this.svg.addEventListener("pointermove", (e) => {
        const old = this.pointers.get(e.pointerId);
        if (!old) return;
        const now = at(e);
        if (!this.moved && Math.hypot(now.x - this.start.x, now.y - this.start.y) < 4) return;
        if (!this.moved) { this.moved = true; this.svg.setPointerCapture(e.pointerId); this.svg.classList.add("dragging"); }
        if (this.pointers.size === 1) {
          this.view.x += now.x - old.x;
          this.view.y += now.y - old.y;
        } else {
          const other = [...this.pointers].find(([id]) => id !== e.pointerId)[1];
          const grown = Math.hypot(now.x - other.x, now.y - other.y) / Math.max(1, Math.hypot(old.x - other.x, old.y - other.y));
          this.zoom(grown, { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
          this.view.x += (now.x - old.x) / 2;
          this.view.y += (now.y - old.y) / 2;
        }
        this.pointers.set(e.pointerId, now);
        this.place();
      });
      const up = (e) => { this.pointers.delete(e.pointerId); this.svg.classList.remove("dragging"); };
      this.svg.addEventListener("pointerup", up);
      this.svg.addEventListener("pointercancel", up);
    }

    get size() { return { w: this.pane.clientWidth || 340, h: this.pane.clientHeight || 400 }; }

    zoom(factor, at = { x: this.size.w / 2, y: this.size.h / 2 }) {
      const k = Math.min(4, Math.max(0.02, this.view.k * factor)), f = k / this.view.k;
      this.view = { k, x: at.x - (at.x - this.view.x) * f, y: at.y - (at.y - this.view.y) * f };
      this.place();
    }

    place() {
      this.svg.classList.toggle("far", this.view.k < 0.3);
      this.layer.setAttribute("transform", `translate(${this.view.x} ${this.view.y}) scale(${this.view.k})`);
    }

    fit() {
      const k = Math.min(1, (this.size.w - PAD) / this.width, (this.size.h - PAD) / this.height);
      this.view = { k, x: (this.size.w - (this.width - W) * k) / 2, y: (this.size.h - (this.height - H) * k) / 2 };
      this.place();
    }

    // At a size that can be read, with the first node of interest near the top.
    home() {
      const k = Math.max(0.5, Math.min(0.92, (this.size.w - PAD) / this.width));
      const n = this.graph.nodes[this.touched[0] ?? 0];
      this.view = { k, x: this.across(n, k), y: Math.min(44, this.size.h * 0.3 - n.y * ROW * k) };
      this.place();
    }

    centre(i) {
      const n = this.graph.nodes[i], k = Math.max(this.view.k, 0.6);
      this.view = { k, x: this.across(n, k), y: this.size.h / 2 - n.y * ROW * k };
      this.place();
    }

    // In the middle, but nothing is left blank beside a wide graph, and a narrow one stays where it is.
    across(n, k) {
      const { w } = this.size, room = w - PAD - this.width * k;
      if (room >= 0) return (w - (this.width - W) * k) / 2;
      const first = (PAD + W * k) / 2;
      return Math.min(first, Math.max(first + room, w / 2 - n.x * COLUMN * k));
    }

    seen(i) {
      const n = this.graph.nodes[i], x = this.view.x + n.x * COLUMN * this.view.k, y = this.view.y + n.y * ROW * this.view.k;
      return this.view.k > 0.45 && x > 30 && y > 30 && x < this.size.w - 30 && y < this.size.h - 30;
    }

    mark(i) {
      this.boxes[this.chosen]?.classList.remove("chosen");
      this.boxes.forEach((b) => b.setAttribute("tabindex", "-1"));
      this.boxes[i >= 0 ? i : 0].setAttribute("tabindex", "0");
      this.chosen = i;
      this.boxes[i]?.classList.add("chosen");
      this.graph.edges.forEach(([a, b], j) => this.lines[j].classList.toggle("near", i >= 0 && (a === i || b === i)));
    }

    // The node of that name, or the one that stands for it, or what it stood for.
    partner(n) {
      const own = this.names.get(n.n);
      if (own !== undefined) return own;
      const heir = this.graph.nodes.findIndex((m) => (m.g || []).includes(n.n));
      if (heir >= 0) return heir;
      return Math.max(-1, ...(n.g || []).map((name) => this.names.get(name) ?? -1));
    }
  }

  const detail = (n) => {
    const kernel = /kernel_size=\[(\d+), (\d+)\]/.exec(n.a || ""), stride = /stride=\[(\d+)/.exec(n.a || "");
    const activation = /\bactivation=\w+\(kind="?(\w+)/.exec(n.a || "");
    return (kernel ? ` ${kernel[1]}×${kernel[2]}` : "") + (stride && stride[1] !== "1" ? ` /${stride[1]}` : "") +
      (n.j ? " + add" : "") + (activation ? ` + ${activation[1]}` : "");
  };

  const route = (c) => {
    // A line is straight beside the nodes of a layer, and bends only between layers.
    const points = [], last = c.length - 2;
    for (let i = 0; i <= last; i += 2) {
      const x = c[i] * COLUMN, y = c[i + 1] * ROW;
      if (i > 0) points.push([x, y - H / 2]);
      if (i < last) points.push([x, y + H / 2]);
    }
    let d = `M${points[0]}`;
    for (let i = 1; i < points.length; i++) {
      const [x0, y0] = points[i - 1], [x, y] = points[i], m = (y0 + y) / 2;
      d += x0 === x ? `V${y}` : `C${x0} ${m} ${x} ${m} ${x} ${y}`;
    }
    return d;
  };

  // -- the chosen pass

  const drawings = Object.fromEntries(SIDES.map((s) => [s, new Drawing(s)]));
  let front = "after", shown = null, hits = [], hit = -1;

  const open = (pass) => {
    shown = pass;
    const { removed, added, changed } = pass.touched;
    const kinds = (list, kind) => list.map((name) => [name, kind]);
    drawings.before.show(data.graphs[pass.before], new Map([...kinds(removed, "removed"), ...kinds(changed, "changed")]));
    drawings.after.show(data.graphs[pass.after], new Map([...kinds(added, "added"), ...kinds(changed, "changed")]));
    for (const d of Object.values(drawings)) d.home();
    document.querySelectorAll(".pass").forEach((b) => b.setAttribute("aria-pressed", String(Number(b.dataset.pass) === pass.id)));
    fill(pass);
    search(false);
  };

  const fill = (pass) => {
    const diff = byId("diff"), remarks = byId("remarks");
    diff.replaceChildren();
    remarks.replaceChildren();
    const kind = { "+": "add", "-": "del", "@": "at" };
    const lines = (pass.diff || "The text form did not change.").split("\n").filter((l) => !/^(---|\+\+\+) /.test(l));
    for (const line of lines) html("div", { class: kind[line[0]] || "" }, diff, line);
    for (const [title, list] of [["Rewritten", pass.rewrote], ["Declined", pass.declined]]) {
      if (!list.length) continue;
      html("h3", {}, remarks, `${title} (${list.length})`);
      const ul = html("ul", {}, remarks);
      for (const [node, text] of list) {
        const li = html("li", {}, ul);
        html("button", { type: "button" }, li, node).addEventListener("click", () => reveal(node));
        li.append(text);
      }
    }
  };

  const reveal = (name) => {
    tab("graph");
    for (const d of [drawings[front], drawings[other(front)]]) {
      const i = d.names.get(name);
      if (i !== undefined) return choose(d, i, { centre: true });
    }
  };

  const other = (side) => (side === "before" ? "after" : "before");

  const side = (s) => {
    front = s;
    for (const name of SIDES) byId(name).classList.toggle("front", name === s);
    document.querySelectorAll("[data-side]").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.side === s)));
  };

  const choose = (drawing, i, { focus = false, centre = false } = {}) => {
    side(drawing.side);
    drawing.mark(i);
    if (centre || !drawing.seen(i)) drawing.centre(i);
    if (focus) drawing.boxes[i].focus({ preventScroll: true });
    const across = drawings[other(drawing.side)], j = across.partner(drawing.graph.nodes[i]);
    across.mark(j);
    if (j >= 0 && !across.seen(j)) across.centre(j);
    describe(drawing, i);
  };

  const describe = (drawing, i) => {
    const n = drawing.graph.nodes[i], panel = byId("panel");
    panel.replaceChildren();
    const h = html("h3", {}, panel, n.n + " ");
    html("small", {}, h, `${n.o}, ${drawing.side} the pass${drawing.boxes[i].classList.contains("removed") ? ", removed" : ""}`);
    const dl = html("dl", {}, panel);
    const row = (name, value, wide = false) => {
      if (value === undefined || value === "") return;
      const div = html("div", wide ? { class: "wide" } : {}, dl);
      html("dt", {}, div, name);
      html("dd", {}, div, String(value));
    };
    row("Type", n.t);
    if (n.o !== "Input" && n.o !== "Output") {
      row("Parameters", quantity(n.p || 0));
      row("MACs", quantity(n.m || 0));
      row("FLOPs", quantity(n.f || 0));
    }
    row("Receptive field", n.r && n.r.join("×"));
    row("Error against the source", n.e === undefined ? undefined : typeof n.e === "number" ? (n.e ? n.e.toExponential(1) : "0") : n.e);
    row("Line", n.l, true);
    row("Attributes", n.a, true);
    row("Constants", n.w && n.w.join(", "), true);
    row("Stands for", n.g && n.g.join(", "), true);
  };

  // -- search

  const text = (n) => `${n.n}\n${n.o}\n${n.l || ""}\n${(n.g || []).join("\n")}`.toLowerCase();

  const search = (jump = true) => {
    const query = byId("query").value.trim().toLowerCase();
    hits = [];
    for (const s of ["after", "before"]) {
      const d = drawings[s];
      d.graph.nodes.forEach((n, i) => {
        const found = query !== "" && text(n).includes(query);
        d.boxes[i].classList.toggle("hit", found);
        if (found && (s === "after" || !drawings.after.names.has(n.n))) hits.push([d, i]);
      });
    }
    hit = -1;
    byId("found").textContent = query === "" ? "" : hits.length ? `${hits.length} found` : "nothing found";
    if (jump && hits.length) step(1);
  };

  const step = (by) => {
    if (!hits.length) return;
    hit = (hit + by + hits.length) % hits.length;
    byId("found").textContent = `${hit + 1} of ${hits.length}`;
    tab("graph");
    choose(...hits[hit], { centre: true });
  };

  const nextTouched = () => {
    const d = drawings[front].touched.length ? drawings[front] : drawings[other(front)];
    if (!d.touched.length) return;
    tab("graph");
    choose(d, d.touched[d.walk++ % d.touched.length], { centre: true });
  };

  // -- the page

  const tab = (name) => {
    document.querySelectorAll("[data-tab]").forEach((b) => {
      const on = b.dataset.tab === name;
      b.setAttribute("aria-selected", String(on));
      b.tabIndex = on ? 0 : -1;
      byId(b.getAttribute("aria-controls")).hidden = !on;
    });
    byId("panel").hidden = name !== "graph";
  };

  const panes = (action) => SIDES.map((s) => drawings[s]).forEach(action);

  document.querySelectorAll(".pass").forEach((b) => b.addEventListener("click", () => {
    open(data.passes.find((p) => p.id === Number(b.dataset.pass)));
  }));
  document.querySelectorAll("[data-tab]").forEach((b) => {
    b.addEventListener("click", () => tab(b.dataset.tab));
    b.addEventListener("keydown", (e) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
      if (!by) return;
      const all = [...document.querySelectorAll("[data-tab]")], to = all[(all.indexOf(b) + by + all.length) % all.length];
      tab(to.dataset.tab);
      to.focus();
    });
  });
  document.querySelectorAll("[data-side]").forEach((b) => b.addEventListener("click", () => side(b.dataset.side)));
  byId("query").addEventListener("input", () => search());
  byId("query").addEventListener("keydown", (e) => {
    if (e.key === "Escape") { byId("query").value = ""; search(); }
    if (e.key === "Enter") { e.preventDefault(); step(e.shiftKey ? -1 : 1); }
  });
  byId("search").addEventListener("submit", (e) => { e.preventDefault(); step(1); });
  byId("touched").addEventListener("click", nextTouched);
  byId("plus").addEventListener("click", () => panes((d) => d.zoom(1.3)));
  byId("minus").addEventListener("click", () => panes((d) => d.zoom(1 / 1.3)));
  byId("fit").addEventListener("click", () => panes((d) => d.fit()));
  document.addEventListener("keydown", (e) => {
    if (e.target.matches("input") || e.ctrlKey || e.metaKey || e.altKey || !shown) return;
    const action = {
      "/": () => byId("query").focus(), "+": () => panes((d) => d.zoom(1.3)), "-": () => panes((d) => d.zoom(1 / 1.3)),
      0: () => panes((d) => d.fit()), n: nextTouched,
    }[e.key];
    if (action) { e.preventDefault(); action(); }
  });

  side(front);
  tab("graph");
  // A pass that changed something says more than one that only declined.
  const first = data.passes.find((p) => p.before !== p.after) || data.passes[0];
  open(first || { id: 0, name: "", before: 0, after: 0, touched: { removed: [], added: [], changed: [] }, rewrote: [], declined: [], diff: "" });
})();
