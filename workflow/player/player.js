// The page: state, controls and the draw loop. Draws only when something changed.

const $ = (id) => document.getElementById(id);
const about = JSON.parse($("about").textContent);
const shaders = Object.fromEntries(
  [...document.querySelectorAll("script[data-shader]")].map((item) => [item.dataset.shader, item.textContent]),
);

const SPEEDS = [0.1, 0.25, 0.5, 1, 1.5, 2, 4];
const LOOPS = { loop: "Loop", pingpong: "Ping-pong", once: "Once" };
const MODES = { wipe: "Wipe", beside: "Beside", first: "First", second: "Second" };
const BACKGROUNDS = ["theme", "white", "grey", "black", "checker"];
// More than two device pixels a CSS pixel cost more than they show.
const SHARPEST = 2;
// Shares of that resolution: a slow machine lowers it while something moves, rest restores it.
const SHARES = [1, 0.7, 0.5, 0.35];
const SLOW_MS = 50;
const REST_MS = 200;
const ORBIT_DEG_PER_PIXEL = 0.4;
const ORBIT_DEG_PER_KEY = 5;
const PAN_PIXELS_PER_KEY = 24;
const ZOOM_PER_KEY = 1.1;
const ZOOM_PER_WHEEL = 0.0012;
const FLIGHT_MS = 450;
const IDLE_MS = 2500;
// CSS pixels that the names and the controls take; a low window is given to the picture alone.
const TOP_INSET = 40;
const BOTTOM_INSET = 30;
const SMALLEST_HEIGHT_WITH_INSETS = 420;

const ICONS = {
  play: '<path class="solid" d="M8 5.5v13l10.5-6.5z"/>',
  pause: '<path d="M8.5 6v12M15.5 6v12" stroke-width="3"/>',
  cameras: '<path d="M3.5 8.5h3l1.5-2.5h8l1.5 2.5h3v10.5h-17z"/><circle cx="12" cy="13" r="3.3"/>',
  background: '<rect x="4" y="4" width="16" height="16" rx="3"/><path class="solid" d="M4 12h8v8H7a3 3 0 0 1-3-3zM12 4h5a3 3 0 0 1 3 3v5h-8z"/>',
  theme: '<circle cx="12" cy="12" r="7.5"/><path class="solid" d="M12 4.5a7.5 7.5 0 0 1 0 15z"/>',
  full: '<path d="M4.5 9V4.5H9M15 4.5h4.5V9M19.5 15v4.5H15M9 19.5H4.5V15"/>',
  help: '<path d="M9 9.2a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.1-1.5 2.2M12 17.3v.2"/>',
};
const icon = (name) => `<svg viewBox="0 0 24 24" aria-hidden="true">${ICONS[name]}</svg>`;

const home = new OrbitCamera({ ...about.camera, ...about.cameras[0] });
const state = {
  camera: home.copy(),
  frame: 0,
  // Where the clip is between frames, in frames, and which way it runs.
  position: 0,
  direction: 1,
  playing: false,
  speed: 1,
  loop: about.loop,
  mode: about.sequences.length > 1 ? "wipe" : "first",
  wipe: 0.5,
  background: about.background,
  // Without names and controls.
  bare: false,
  // Whether a slow machine may draw with fewer pixels while something moves.
  adaptive: true,
};
let renderer = null;
let items = [];
let flight = null;
let dirty = true;
let before = 0;
// Index into SHARES, the smoothed time between pictures, when the last was drawn and whether the screen refresh before
// drew one too: only then is the time between two pictures what drawing takes.
let share = 0;
let interval = 0;
let drawn = -Infinity;
let streak = false;

// ------------------------------------------------------------------ drawing

const frames = () => (items.length ? items[0].sequence.frames : 1);

// The frame of each sequence at the current moment: equal times, not equal indices.
function frameOf(item) {
  if (item === items[0]) return state.frame;
  return item.sequence.nearest(items[0].sequence.times[state.frame]);
}

// Left, bottom, width, height of what the controls leave free, in device pixels.
function free() {
  const { width, height } = renderer.canvas;
  const scale = height / innerHeight;
  const roomy = !state.bare && innerHeight > SMALLEST_HEIGHT_WITH_INSETS;
  const [top, bottom] = roomy ? [TOP_INSET, $("dock").offsetHeight + BOTTOM_INSET] : [0, 0];
  return [0, bottom * scale, width, height - (top + bottom) * scale];
}

// Two free halves, first and second; a tall window stacks them.
function halves([left, bottom, width, height]) {
  if (stacked()) return [[left, bottom + height / 2, width, height / 2], [left, bottom, width, height / 2]];
  return [[left, bottom, width / 2, height], [left + width / 2, bottom, width / 2, height]];
}

const stacked = () => innerHeight > innerWidth;

function draw() {
  const { width, height } = renderer.canvas;
  renderer.clear();
  const whole = [0, 0, width, height];
  const open = free();
  const paint = (item, cut, part) => renderer.draw(item, frameOf(item), state.camera, whole, cut, part);
  if (state.mode === "wipe") {
    const edge = Math.round(state.wipe * width);
    paint(items[0], [0, 0, edge, height], open);
    paint(items[1], [edge, 0, width - edge, height], open);
  } else if (state.mode === "beside") {
    const parts = halves(open);
    const edge = Math.round(stacked() ? parts[0][1] : parts[1][0]);
    paint(items[0], stacked() ? [0, edge, width, height - edge] : [0, 0, edge, height], parts[0]);
    paint(items[1], stacked() ? [0, 0, width, edge] : [edge, 0, width - edge, height], parts[1]);
  } else {
    paint(items[state.mode === "second" ? 1 : 0], whole, open);
  }
}

function shownItems() {
  if (state.mode === "first") return items.slice(0, 1);
  return state.mode === "second" ? items.slice(1) : items;
}

function advance(seconds) {
  const last = frames() - 1;
  if (last < 1) return;
  state.position += seconds * about.fps * state.speed * state.direction;
  // A frame lasts as long as any other, also the last one; ping-pong shows both ends once.
  if (state.loop === "loop") {
    state.position = ((state.position % (last + 1)) + last + 1) % (last + 1);
  } else if (state.loop === "pingpong") {
    const period = 2 * last;
    const along = state.direction > 0 ? state.position : period - state.position;
    const folded = ((along % period) + period) % period;
    state.direction = folded < last ? 1 : -1;
    state.position = folded < last ? folded : period - folded;
  } else if (state.position >= last) {
    state.position = last;
    play(false);
  }
  const frame = state.loop === "pingpong" ? Math.round(state.position) : Math.floor(state.position);
  if (frame !== state.frame) setFrame(frame, state.position);
}

function tick(now) {
  const seconds = Math.min(0.25, (now - before) / 1000);
  before = now;
  if (flight) {
    const at = Math.min(1, (now - flight.start) / FLIGHT_MS);
    state.camera = OrbitCamera.between(flight.from, flight.to, at * at * (3 - 2 * at));
    if (at === 1) flight = null;
    dirty = true;
  }
  if (state.playing) advance(seconds);
  if (dirty) {
    dirty = false;
    if (state.adaptive && streak) adapt(now - drawn);
    streak = true;
    fit(SHARES[state.adaptive ? share : 0]);
    drawn = now;
    draw();
    update();
  } else {
    streak = false;
    if (now - drawn > REST_MS && fit(1)) draw();
  }
  requestAnimationFrame(tick);
}

// Choose the share from the milliseconds that the last picture took.
function adapt(taken) {
  interval = interval ? 0.6 * interval + 0.4 * taken : taken;
  const sharper = share > 0 ? (SHARES[share - 1] / SHARES[share]) ** 2 : Infinity;
  if (interval > SLOW_MS && share < SHARES.length - 1) share++;
  else if (sharper * interval < 0.7 * SLOW_MS) share--;
  else return;
  interval = 0;
  // Blurring what is behind the controls costs a software renderer as much as a picture.
  document.body.classList.toggle("slow", share > 0);
}

// Give the canvas its size; returns whether that changed it, which empties it.
function fit(part) {
  const scale = part * Math.min(window.devicePixelRatio || 1, SHARPEST);
  return renderer.resize(Math.round(innerWidth * scale), Math.round(innerHeight * scale));
}

// ------------------------------------------------------------------ what the controls do

function setFrame(frame, position = frame) {
  state.frame = Math.max(0, Math.min(frames() - 1, frame));
  state.position = position;
  dirty = true;
}

function step(by) {
  play(false);
  setFrame((state.frame + by + frames()) % frames());
}

function play(on) {
  state.playing = on && frames() > 1;
  if (state.playing && state.loop === "once" && state.frame === frames() - 1) setFrame(0);
  if (state.playing && state.loop !== "pingpong") state.direction = 1;
  dirty = true;
}

function look(camera, at_once = false) {
  const still = at_once || matchMedia("(prefers-reduced-motion: reduce)").matches;
  flight = still ? null : { from: state.camera.copy(), to: camera, start: performance.now() };
  if (still) state.camera = camera.copy();
  dirty = true;
}

function preset(index) {
  const chosen = about.cameras[index];
  if (chosen) look(new OrbitCamera({ ...about.camera, ...chosen }));
}

function next(list, current) {
  return list[(list.indexOf(current) + 1) % list.length];
}

function set(name, value) {
  state[name] = value;
  if (name === "loop" && value !== "pingpong") state.direction = 1;
  dirty = true;
}

function changeSpeed(by) {
  const at = SPEEDS.indexOf(state.speed) + by;
  set("speed", SPEEDS[Math.max(0, Math.min(SPEEDS.length - 1, at))]);
}

function dark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function toggleTheme() {
  document.documentElement.dataset.theme = dark() ? "light" : "dark";
}

function toggleFull() {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.documentElement.requestFullscreen?.().catch(() => {});
}

function toggle(panel) {
  for (const name of ["cameras", "help"]) {
    const open = name === panel && $(name).hidden;
    $(name).hidden = !open;
    $(`${name}-button`).setAttribute("aria-expanded", String(open));
  }
}

// ------------------------------------------------------------------ what the controls show

function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

function update() {
  const many = frames();
  const slider = $("time");
  slider.value = state.frame;
  slider.style.setProperty("--done", `${(100 * state.frame) / Math.max(1, many - 1)}%`);
  text($("frame"), `${state.frame + 1} / ${many}`);
  const shown = state.playing ? "pause" : "play";
  if ($("play").dataset.icon !== shown) {
    $("play").dataset.icon = shown;
    $("play").innerHTML = icon(shown);
    $("play").setAttribute("aria-label", state.playing ? "Pause" : "Play");
  }
  $("speed").value = state.speed;
  text($("loop"), LOOPS[state.loop]);
  text($("mode"), MODES[state.mode]);
  $("stage").dataset.background = state.background;
  document.body.classList.toggle("bare", state.bare);
  $("stage").classList.toggle("stacked", state.mode === "beside" && stacked());
  $("wipe").hidden = state.mode !== "wipe";
  $("wipe").style.left = `${100 * state.wipe}%`;
  const titles = about.sequences.map((sequence) => sequence.title);
  text($("title0"), state.mode === "second" ? titles[1] : titles[0]);
  text($("scene"), about.scene);
  text($("name1"), state.mode === "wipe" || state.mode === "beside" ? titles[1] : "");
  const empty = shownItems().every((item) => item.sequence.shown[frameOf(item)] === 0);
  $("notice").hidden = !empty;
  text($("notice"), empty ? "No gaussians in this frame" : "");
  for (const [index, button] of [...$("cameras").querySelectorAll("button")].entries()) {
    const to = about.cameras[index];
    const turn = Math.abs((((state.camera.azimuth - to.azimuth) % 360) + 540) % 360 - 180);
    const here = turn < 0.01 && Math.abs(state.camera.elevation - to.elevation) < 0.01;
    button.setAttribute("aria-pressed", String(here));
  }
}

function build() {
  for (const [name, id] of [["cameras", "cameras-button"], ["background", "background"], ["theme", "theme"], ["full", "full"], ["help", "help-button"]])
    $(id).innerHTML = icon(name);
  $("speed").innerHTML = SPEEDS.map((speed) => `<option value="${speed}">${speed}×</option>`).join("");
  $("time").max = frames() - 1;
  document.body.classList.toggle("one-frame", frames() === 1);
  $("mode").hidden = items.length < 2;
  let group = null;
  for (const [index, camera] of about.cameras.entries()) {
    if (camera.kind !== group?.kind) {
      const heading = document.createElement("h2");
      heading.textContent = camera.kind;
      const grid = document.createElement("div");
      grid.className = about.cameras.filter((other) => other.kind === camera.kind).length % 4 ? "grid" : "grid two";
      group = { kind: camera.kind, grid };
      $("cameras").append(heading, grid);
    }
    const button = document.createElement("button");
    const angle = (degrees) => `${Math.round(10 * degrees) / 10}°`.replace("-", "−");
    button.textContent = `${angle(camera.azimuth)} / ${angle(camera.elevation)}`;
    button.title = `azimuth ${angle(camera.azimuth)}, elevation ${angle(camera.elevation)}`;
    button.onclick = () => preset(index);
    group.grid.append(button);
  }
  $("play").onclick = () => play(!state.playing);
  $("time").oninput = (event) => { play(false); setFrame(Number(event.target.value)); };
  $("speed").onchange = (event) => set("speed", Number(event.target.value));
  $("loop").onclick = () => set("loop", next(Object.keys(LOOPS), state.loop));
  $("mode").onclick = () => set("mode", next(Object.keys(MODES), state.mode));
  $("background").onclick = () => set("background", next(BACKGROUNDS, state.background));
  $("theme").onclick = toggleTheme;
  $("full").onclick = toggleFull;
  // A page inside another one may be forbidden to fill the screen, and some browsers cannot.
  $("full").hidden = !document.fullscreenEnabled;
  $("cameras-button").onclick = () => toggle("cameras");
  $("help-button").onclick = () => toggle("help");
}

// ------------------------------------------------------------------ pointer and keys

function cssFocal() {
  const [, , width, height] = state.mode === "beside" ? halves(free())[0] : free();
  return (state.camera.focal(width, height) * innerHeight) / renderer.canvas.height;
}

function listen() {
  const canvas = $("canvas");
  const pointers = new Map();
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    flight = null;
    toggle(null);
    canvas.focus({ preventScroll: true });
  });
  canvas.addEventListener("pointermove", (event) => {
    const old = pointers.get(event.pointerId);
    if (!old) return;
    const [dx, dy] = [event.clientX - old.clientX, event.clientY - old.clientY];
    const other = [...pointers.values()].find((pointer) => pointer.pointerId !== event.pointerId);
    if (other) {
      // Two fingers: each moves the picture by half of its own way, and their distance is the zoom.
      const apart = (pointer) => Math.hypot(pointer.clientX - other.clientX, pointer.clientY - other.clientY) || 1;
      state.camera.zoom(apart(old) / apart(event), home.radius);
      state.camera.pan(dx / 2, dy / 2, cssFocal());
    } else if (event.buttons & 2 || event.buttons & 4 || event.shiftKey) {
      state.camera.pan(dx, dy, cssFocal());
    } else {
      state.camera.orbit(-ORBIT_DEG_PER_PIXEL * dx, ORBIT_DEG_PER_PIXEL * dy);
    }
    pointers.set(event.pointerId, event);
    dirty = true;
  });
  for (const end of ["pointerup", "pointercancel"])
    canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("dblclick", () => preset(0));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    // Lines, not pixels, from some mice.
    const pixels = event.deltaMode ? 20 * event.deltaY : event.deltaY;
    flight = null;
    state.camera.zoom(Math.exp(ZOOM_PER_WHEEL * pixels), home.radius);
    dirty = true;
  }, { passive: false });

  const wipe = $("wipe");
  wipe.addEventListener("pointerdown", (event) => wipe.setPointerCapture(event.pointerId));
  wipe.addEventListener("pointermove", (event) => {
    if (wipe.hasPointerCapture(event.pointerId)) set("wipe", Math.max(0, Math.min(1, event.clientX / innerWidth)));
  });

  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  const keys = {
    " ": () => play(!state.playing),
    ",": () => step(-1),
    ".": () => step(1),
    Home: () => { play(false); setFrame(0); },
    End: () => { play(false); setFrame(frames() - 1); },
    "[": () => changeSpeed(-1),
    "]": () => changeSpeed(1),
    "+": () => state.camera.zoom(1 / ZOOM_PER_KEY, home.radius),
    "=": () => state.camera.zoom(1 / ZOOM_PER_KEY, home.radius),
    "-": () => state.camera.zoom(ZOOM_PER_KEY, home.radius),
    l: () => $("loop").click(),
    v: () => items.length > 1 && $("mode").click(),
    b: () => $("background").click(),
    t: toggleTheme,
    f: toggleFull,
    c: () => toggle("cameras"),
    h: () => set("bare", !state.bare),
    "?": () => toggle("help"),
    Escape: () => toggle(null),
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    // A focused control keeps the keys that work it.
    const control = event.target.closest?.("button, select, input");
    if (control && [" ", "Enter", "Home", "End", ...Object.keys(arrows)].includes(event.key)) return;
    if (arrows[event.key]) {
      const [x, y] = arrows[event.key];
      if (event.shiftKey) state.camera.pan(-PAN_PIXELS_PER_KEY * x, PAN_PIXELS_PER_KEY * y, cssFocal());
      else state.camera.orbit(ORBIT_DEG_PER_KEY * x, ORBIT_DEG_PER_KEY * y);
      flight = null;
    } else if (/^[0-9]$/.test(event.key)) preset(Number(event.key));
    else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
    dirty = true;
  });

  let idle = 0;
  const awake = () => {
    document.body.classList.remove("idle");
    clearTimeout(idle);
    idle = setTimeout(() => document.body.classList.toggle("idle", Boolean(document.fullscreenElement)), IDLE_MS);
  };
  for (const kind of ["pointermove", "pointerdown", "keydown"]) addEventListener(kind, awake);
  addEventListener("resize", () => { dirty = true; });
  canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
  canvas.addEventListener("webglcontextrestored", () => {
    renderer = new Renderer(canvas, shaders);
    items = items.map((item) => renderer.add(item.sequence));
    dirty = true;
  });
}

// ------------------------------------------------------------------ start

function fail(message) {
  $("loading").classList.add("failed");
  $("loading-text").textContent = message;
}

async function start() {
  try {
    renderer = new Renderer($("canvas"), shaders);
  } catch (error) {
    fail(error.message === "WebGL2 is missing"
      ? "This player needs WebGL2, which this browser does not offer. Open the file in a current Chrome, Edge, Firefox or " +
        "Safari, or switch on hardware acceleration in the browser's settings."
      : error.message);
    throw error;
  }
  if (typeof DecompressionStream === "undefined") {
    fail("This browser cannot unpack the sequence (DecompressionStream is missing). Open the file in a current browser.");
    throw new Error("DecompressionStream is missing");
  }
  try {
    for (const [index, sequence] of about.sequences.entries()) {
      $("loading-text").textContent = `Loading ${sequence.title}`;
      const element = $(`sequence${index}`);
      const bytes = fromBase64(element.textContent);
      element.remove();
      const decoded = await CompactSequence.read(bytes, async (done) => {
        $("loading-bar").value = (index + done) / about.sequences.length;
      });
      items.push(renderer.add(decoded));
    }
  } catch (error) {
    fail(`The sequence cannot be read: ${error.message}`);
    throw error;
  }
  build();
  listen();
  fit(1);
  setFrame(Math.min(about.frame, frames() - 1));
  draw();
  update();
  $("loading").classList.add("done");
  before = performance.now();
  requestAnimationFrame(tick);
}

// For scripts: `await player.ready`, then look, setFrame, advance by seconds, play, set; draw gives the renderer, which
// has pixels().
globalThis.player = {
  state,
  get items() { return items; },
  look: (angles) => look(new OrbitCamera({ ...about.camera, ...angles }), true),
  setFrame,
  advance,
  play,
  set,
  draw: () => { fit(1); draw(); return renderer; },
  ready: start(),
};
