"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const canvas = $("canvas");
  const svg = canvas.querySelector(":scope > svg");
  const nodes = new Map(data.nodes.map((node) => [node.row, node]));
  const shapes = new Map();
  for (const g of svg.querySelectorAll(".node")) shapes.set(Number(g.dataset.row), g);
  const wires = [...svg.querySelectorAll(".edge")];

  // Elements are made, never written as markup: names come from the user.
  function element(tag, text, attributes = {}) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }
  function drawn(tag, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }
  const called = (node) => node.name || (node.kind === "op" ? node.op : node.kind);
  const shapeOf = (it) => `(${it.shape.join(", ")}${it.shape.length === 1 ? "," : ""})`;

  // ---------------------------------------------------------------- moving and zooming
  const all = svg.viewBox.baseVal;
  const whole = { x: all.x, y: all.y, w: all.width, h: all.height };
  svg.removeAttribute("width");
  svg.removeAttribute("height");
  // Centre of what is seen, and pixels a point.
  const view = { x: 0, y: 0, scale: 1 };
  function look() {
    const r = canvas.getBoundingClientRect();
    const w = r.width / view.scale;
    const h = r.height / view.scale;
    svg.setAttribute("viewBox", `${view.x - w / 2} ${view.y - h / 2} ${w} ${h}`);
    svg.dataset.scale = view.scale;
  }
  function fit() {
    view.x = whole.x + whole.w / 2;
    view.y = whole.y + whole.h / 2;
    view.scale = Math.min(1.6, canvas.clientWidth / whole.w, canvas.clientHeight / whole.h);
    look();
  }
  function zoom(factor, dx = 0, dy = 0) {
    const scale = Math.min(8, Math.max(0.02, view.scale * factor));
    // What is under the pointer, dx and dy pixels from the centre, stays there.
    view.x += dx / view.scale - dx / scale;
    view.y += dy / view.scale - dy / scale;
    view.scale = scale;
    look();
  }
  function box(row) {
    const rect = shapes.get(row).querySelector("rect");
    const [x, y, w, h] = ["x", "y", "width", "height"].map((k) => Number(rect.getAttribute(k)));
    return { x, y, w, h };
  }
  function centre(row) {
    const b = box(row);
    view.x = b.x + b.w / 2;
    view.y = b.y + b.h / 2;
    view.scale = Math.max(view.scale, 0.7);
    look();
  }
  function bringIntoView(row) {
    const b = box(row);
    const w = canvas.clientWidth / view.scale / 2;
    const h = canvas.clientHeight / view.scale / 2;
    const inside = Math.abs(b.x + b.w / 2 - view.x) < w - b.w / 2
      && Math.abs(b.y + b.h / 2 - view.y) < h - b.h / 2;
    if (!inside || view.scale < 0.35) centre(row);
  }

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const r = canvas.getBoundingClientRect();
    const dx = event.clientX - r.left - r.width / 2;
    const dy = event.clientY - r.top - r.height / 2;
    zoom(Math.exp(-event.deltaY * 0.0015), dx, dy);
  }, { passive: false });
  let grip = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.target.closest("button")) return;
    grip = { px: event.clientX, py: event.clientY, x: view.x, y: view.y, moved: false };
  });
  window.addEventListener("pointermove", (event) => {
    if (!grip) return;
    const dx = event.clientX - grip.px;
    const dy = event.clientY - grip.py;
    if (!grip.moved && Math.hypot(dx, dy) < 4) return;
    grip.moved = true;
    canvas.classList.add("moving");
    view.x = grip.x - dx / view.scale;
    view.y = grip.y - dy / view.scale;
    look();
  });
  window.addEventListener("pointerup", (event) => {
    const g = grip && !grip.moved && event.target.closest?.(".node");
    grip = null;
    canvas.classList.remove("moving");
    if (g) select(Number(g.dataset.row));
  });
  window.addEventListener("resize", look);

  // ---------------------------------------------------------------- details
  let selected = null;
  function value(part, title, it, id, none = "none") {
    part.append(element("p", title, { class: "sub" }));
    if (!it) {
      part.append(element("p", none, { class: "note" }));
      return;
    }
    part.append(element("pre", it.text, id ? { id } : {}));
    const range = it.low === null ? "" : `, from ${number(it.low)} to ${number(it.high)}`;
    part.append(element("p", `${shapeOf(it)} ${it.dtype}, norm ${number(it.norm)}${range}`, { class: "note" }));
  }
  const number = (x) => (typeof x === "number" ? String(Number(x.toPrecision(6))) : x);
  function rows(list) {
    const made = element("dl");
    for (const [key, text, kind] of list) {
      made.append(element("dt", key), element("dd", text, kind ? { class: kind } : {}));
    }
    return made;
  }
  function select(row) {
    if (selected !== null) shapes.get(selected).classList.remove("selected");
    selected = row;
    const node = nodes.get(row);
    const part = $("node");
    shapes.get(row).classList.add("selected");
    part.replaceChildren(element("h2", node.root ? "Root" : "Node"), element("h3", called(node)));
    part.append(rows([
      ["op", node.op],
      ["node", node.grad_fn],
      ["row", String(row)],
      ["shape", shapeOf(node)],
      ["dtype", node.dtype],
      ["sequence", String(node.sequence)],
      ["version", node.version === null ? "its value is gone" : String(node.version)],
      ...(node.marks.length ? [["marks", node.marks.join(", ")]] : []),
      ...node.saved.map((kept) => ["saves", kept.text, kept.stale ? "stale" : ""]),
    ]));
    if (node.value) value(part, "value", node.value, "value");
    if (node.grad) value(part, ".grad", node.grad, "grad");
  }
  for (const [row, g] of shapes) {
    const node = nodes.get(row);
    g.setAttribute("tabindex", "0");
    g.setAttribute("role", "button");
    g.setAttribute("aria-label", `${called(node)}, row ${row}, shape ${shapeOf(node)}, ${node.dtype}`);
    g.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      select(row);
      centre(row);
    });
  }

  // ---------------------------------------------------------------- the backward pass
  const steps = data.steps;
  const badges = drawn("g", { class: "badges" });
  svg.append(badges);
  let at = 0;
  let timer = null;

  function badge(row, text, fresh) {
    const b = box(row);
    const w = text.length * 6.05 + 12;
    const g = drawn("g", { class: fresh ? "badge new" : "badge", "data-badge": row });
    g.append(drawn("rect", { x: b.x + b.w / 2 - w / 2, y: b.y + b.h - 5, width: w, height: 16, rx: 8 }));
    const label = drawn("text", { x: b.x + b.w / 2, y: b.y + b.h + 6.5, "text-anchor": "middle" });
    label.textContent = text;
    g.append(label);
    badges.append(g);
  }

  // What every node holds after the first n steps: row -> [value, received, expected].
  function held(n) {
    const found = new Map();
    steps.slice(0, n).forEach((step) => {
      if (!found.has(step.node)) found.set(step.node, [step.gradient, 1, 1]);
      for (const s of step.sent) found.set(s.node, [s.so_far, s.received, s.expected]);
    });
    return found;
  }

  function show(n, follow = true) {
    at = Math.max(0, Math.min(steps.length, n));
    const step = at ? steps[at - 1] : null;
    const done = new Set(steps.slice(0, at).map((s) => s.node));
    for (const [row, g] of shapes) {
      g.classList.toggle("current", step !== null && row === step.node);
      g.classList.toggle("done", done.has(row) && row !== step.node);
    }
    const now = new Set(step ? step.sent.map((s) => s.node) : []);
    data.edges.forEach((edge, i) => {
      const active = step !== null && edge.target === step.node && now.has(edge.source);
      wires[i].classList.toggle("active", active);
      wires[i].classList.toggle("passed", !active && edge.grad && done.has(edge.target));
    });
    badges.replaceChildren();
    for (const [row, [it, received, expected]] of held(at)) {
      const part = received < expected ? ` (${received} of ${expected})` : "";
      badge(row, (it ? it.short.replace(/\s+/g, " ") : "none") + part, now.has(row));
    }
    describe(step);
    $("counter").textContent = steps.length ? `step ${at} of ${steps.length}` : "no steps";
    $("slider").value = at;
    $("back").disabled = $("reset").disabled = at === 0;
    $("forward").disabled = at === steps.length;
    document.body.dataset.step = at;
    [...$("steps").querySelectorAll("button")].forEach((button, i) => {
      if (i === at - 1) {
        button.setAttribute("aria-current", "step");
        if (follow) button.scrollIntoView({ block: "nearest" });
      } else button.removeAttribute("aria-current");
    });
    if (step) {
      select(step.node);
      if (follow) bringIntoView(step.node);
    }
    if (at === steps.length) pause();
  }

  function describe(step) {
    const part = $("step");
    part.replaceChildren();
    if (!step) {
      if (steps.length) {
        part.append(element("h2", "Backward pass"),
          element("p", "Press the right arrow: the pass begins at the root and takes, at each step, the"
            + " newest node that has all its gradients.", { class: "note" }));
      }
      return;
    }
    const node = nodes.get(step.node);
    part.append(element("h2", `Step ${at} of ${steps.length}`), element("h3", `${called(node)}, row ${step.node}`));
    const several = data.edges.some((e) => e.source === step.node && nodes.get(e.target).op === "output");
    value(part, "gradient that has arrived", step.gradient, "gradient", several ? "one for each output" : "none");
    if (node.kind === "leaf") {
      part.append(element("p", "A leaf: it is added to .grad.", { class: "note" }));
    }
    for (const s of step.sent) {
      const to = nodes.get(s.node);
      const part2 = element("div", undefined, { class: "sent", "data-sent": s.node });
      const count = s.expected > 1 ? `, ${s.received} of ${s.expected} gradients so far` : "";
      value(part2, `sent to ${called(to)}, row ${s.node}${count}`, s.so_far, null,
        node.op === "output" ? "kept until all outputs have theirs" : "none");
      part.append(part2);
    }
  }

  function pause() {
    clearInterval(timer);
    timer = null;
    $("play").setAttribute("aria-label", "Play");
  }
  function play() {
    if (timer) return pause();
    if (at === steps.length) show(0);
    $("play").setAttribute("aria-label", "Pause");
    timer = setInterval(() => show(at + 1), 900);
    show(at + 1);
  }
  function move(n) {
    pause();
    show(n);
  }
  steps.forEach((step, i) => {
    const node = nodes.get(step.node);
    const button = element("button", undefined, { type: "button" });
    button.append(element("span", `${called(node)} #${step.node}`),
      element("span", step.gradient ? step.gradient.short.replace(/\s+/g, " ") : "none"));
    button.addEventListener("click", () => move(i + 1));
    const item = element("li");
    item.append(button);
    $("steps").append(item);
  });
  $("slider").max = steps.length;
  $("slider").disabled = $("play").disabled = !steps.length;
  $("slider").addEventListener("input", () => move(Number($("slider").value)));
  if (data.stopped) {
    $("stopped").hidden = false;
    $("stopped").textContent = `It stops here: ${data.stopped}`;
  }

  // ---------------------------------------------------------------- search
  let hits = [];
  let hit = -1;
  const searchable = data.nodes.map((node) => [node.row, [
    node.name, node.kind, node.dtype, shapeOf(node), `row ${node.row}`, `#${node.row}`, ...node.marks,
    ...(node.kind === "op" ? [node.op, node.grad_fn] : []),
  ].join("\n").toLowerCase()]);
  function search(text) {
    const wanted = text.trim().toLowerCase();
    for (const g of shapes.values()) g.classList.remove("hit");
    hits = wanted ? searchable.filter(([, words]) => words.includes(wanted)).map(([row]) => row) : [];
    // A number is a row number first of all.
    if (/^\d+$/.test(wanted) && nodes.has(Number(wanted))) hits = [Number(wanted)];
    for (const row of hits) shapes.get(row).classList.add("hit");
    svg.classList.toggle("searching", hits.length > 0);
    hit = -1;
    $("hits").textContent = wanted ? "no node" : "";
    if (hits.length) next(1);
  }
  function next(by) {
    if (!hits.length) return;
    hit = (hit + by + hits.length) % hits.length;
    $("hits").textContent = `${hit + 1} of ${hits.length}`;
    select(hits[hit]);
    centre(hits[hit]);
  }
  $("search").addEventListener("input", () => search($("search").value));
  $("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter") next(event.shiftKey ? -1 : 1);
    else if (event.key === "Escape") {
      $("search").value = "";
      search("");
      $("search").blur();
    } else return;
    event.preventDefault();
  });

  // ---------------------------------------------------------------- buttons and keys
  const actions = {
    "zoom-in": () => zoom(1.3), "zoom-out": () => zoom(1 / 1.3), fit, play,
    reset: () => move(0), back: () => move(at - 1), forward: () => move(at + 1),
  };
  for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", action);
  const keys = {
    ArrowRight: actions.forward, ArrowLeft: actions.back, Home: actions.reset, End: () => move(steps.length),
    " ": () => steps.length && play(), "+": actions["zoom-in"], "=": actions["zoom-in"],
    "-": actions["zoom-out"], 0: fit, "/": () => $("search").focus(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT") return;
    if (event.key === " " && event.target.tagName === "BUTTON") return;
    const action = keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });

  fit();
  show(0);
  const root = data.nodes.findLast((node) => node.root);
  // A large graph shown whole cannot be read: begin at the root, where backward begins.
  if (view.scale < 0.3) centre(root.row);
  select(root.row);
})();
