// The study: one scene at a time, one answer a question, everything kept in this browser until it is saved.

const $ = (id) => document.getElementById(id);
const about = JSON.parse($("about").textContent);
const QUESTIONS = Object.keys(about.questions);
const LETTERS = "ABCDEFGHI";
const LARGEST_SEED = 0xffffffff;
// As in stages/lib/studies.py, which checks the order of saved answers.
const WARM_UP = 8;
// More columns than this are too small to judge; then the videos stand in rows.
const MOST_COLUMNS = 5;
const NOTICE_MS = 3500;
const INTRO = -1;

// ------------------------------------------------------------------ order

// Marsaglia's xorshift32; `below(n)` draws an integer from 0 to n - 1.
function draws(seed) {
  let state = seed >>> 0;
  const below = (count) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return Math.floor((state / (LARGEST_SEED + 1)) * count);
  };
  for (let index = 0; index < WARM_UP; index++) below(1);
  return below;
}

function shuffled(items, below) {
  const drawn = [...items].sort();
  for (let last = drawn.length - 1; last > 0; last--) {
    const other = below(last + 1);
    [drawn[last], drawn[other]] = [drawn[other], drawn[last]];
  }
  return drawn;
}

// Scenes in a participant's order, each with its clips by place.
function orders(seed) {
  const below = draws(seed);
  return shuffled(Object.keys(about.scenes), below).map((id) => ({ id, clips: shuffled(about.scenes[id], below) }));
}

// ------------------------------------------------------------------ state

const STORE = `study ${about.study}`;

function fresh() {
  const [seed, high, low] = crypto.getRandomValues(new Uint32Array(3));
  const hex = (number) => number.toString(16).padStart(8, "0");
  return { participant: hex(high) + hex(low), seed: seed || 1, place: INTRO, chosen: {}, seconds: {}, saved: false };
}

// What this browser kept of the study, if it is whole; else a new participant.
function resumed() {
  try {
    const kept = JSON.parse(localStorage.getItem(STORE));
    const whole = kept && /^[0-9a-f]{16}$/.test(kept.participant) && kept.seed >= 1 && kept.seed <= LARGEST_SEED &&
      Number.isInteger(kept.place) && kept.place >= INTRO && kept.place <= Object.keys(about.scenes).length &&
      kept.chosen && kept.seconds;
    return whole ? kept : null;
  } catch {
    return null;
  }
}

function keep() {
  try {
    localStorage.setItem(STORE, JSON.stringify(state));
  } catch {
    say("This browser keeps nothing: please answer in one go, without reloading the page.");
  }
}

let state = resumed() || fresh();
let scenes = orders(state.seed);
// The question that keys answer, by index.
let current = 0;
let playing = true;
let since = null;

const shown = () => scenes[state.place];
const chosenIn = (scene) => state.chosen[scene.id] || {};
const answered = (scene) => QUESTIONS.filter((name) => scene.clips.includes(chosenIn(scene)[name])).length;
const complete = (scene) => answered(scene) === QUESTIONS.length;
const firstOpen = () => scenes.findIndex((scene) => !complete(scene));

// Seconds are counted while a scene is in view.
function stopClock() {
  if (since === null) return;
  const { id } = shown();
  state.seconds[id] = (state.seconds[id] || 0) + (performance.now() - since) / 1000;
  since = null;
  keep();
}

function startClock() {
  if (shown() && document.visibilityState === "visible") since = performance.now();
}

// ------------------------------------------------------------------ videos

let urls = [];

// Where the video of an id is: inside the page as text, or beside it as a file.
function address(id) {
  const held = $(`clip-${id}`);
  if (!held) return `clips/${id}.mp4`;
  const bytes = Uint8Array.from(atob(held.textContent), (letter) => letter.charCodeAt(0));
  const url = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
  urls.push(url);
  return url;
}

const videos = () => [...$("videos").querySelectorAll("video")];

function figure(id, label, source) {
  const item = document.createElement("figure");
  const video = document.createElement("video");
  const caption = document.createElement("figcaption");
  item.className = source ? "source" : "clip";
  Object.assign(video, { muted: true, playsInline: true, preload: "auto", disablePictureInPicture: true, src: address(id) });
  video.setAttribute("aria-label", source ? "Input video" : `Video ${label}`);
  video.addEventListener("click", togglePlaying);
  video.addEventListener("loadedmetadata", () => {
    video.style.aspectRatio = `${video.videoWidth} / ${video.videoHeight}`;
  });
  // All are equally long and start over together, so that they stay at the same moment.
  video.addEventListener("ended", () => {
    if (videos().every((one) => one.ended)) restart();
  });
  video.addEventListener("error", () => {
    // One whose scene was left while it was loading fails too.
    if (video.isConnected) say("A video cannot be shown. Is the folder “clips” beside this page, and the browser a current one?");
  });
  caption.textContent = label;
  item.append(video, caption);
  return item;
}

// Playing may be refused by the browser until the page is touched, and is cut off when a scene is left.
function apply() {
  for (const video of videos()) {
    video.playbackRate = $("slow").ariaPressed === "true" ? 0.5 : 1;
    if (!playing) video.pause();
    else if (!video.ended) video.play().catch(() => {});
  }
  $("play").firstChild.textContent = playing ? "Pause " : "Play ";
  $("play").ariaPressed = String(playing);
}

function restart() {
  for (const video of videos()) video.currentTime = 0;
  apply();
}

function togglePlaying() {
  playing = !playing;
  apply();
}

function toggleSlow() {
  $("slow").ariaPressed = String($("slow").ariaPressed !== "true");
  apply();
}

// ------------------------------------------------------------------ one scene

function option(name, id, place) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  const key = document.createElement("kbd");
  Object.assign(input, { type: "radio", name, value: id, checked: chosenIn(shown())[name] === id });
  input.setAttribute("aria-label", `Video ${LETTERS[place]}`);
  input.addEventListener("change", () => choose(name, id));
  input.addEventListener("focus", () => mark(QUESTIONS.indexOf(name)));
  key.textContent = place + 1;
  label.append(input, LETTERS[place], key);
  return label;
}

// Takes the videos away, and what they were read from.
function clear() {
  for (const video of videos()) {
    video.remove();
    video.removeAttribute("src");
    video.load();
  }
  $("videos").replaceChildren();
  for (const url of urls.splice(0)) URL.revokeObjectURL(url);
}

function fill() {
  const { id, clips } = shown();
  $("scene").style.setProperty("--columns", clips.length + 1);
  document.body.classList.toggle("many", clips.length + 1 > MOST_COLUMNS);
  $("videos").append(
    figure(about.sources[id], about.prompts[id] ? `Input: “${about.prompts[id]}”` : "Input", true),
    ...clips.map((clip, place) => figure(clip, LETTERS[place], false)));
  $("questions").replaceChildren(...QUESTIONS.map((name) => {
    const group = document.createElement("fieldset");
    const text = document.createElement("p");
    text.textContent = about.questions[name];
    text.id = `question-${name}`;
    group.setAttribute("aria-labelledby", text.id);
    group.setAttribute("role", "radiogroup");
    group.append(text, ...clips.map((clip, place) => option(name, clip, place)));
    group.addEventListener("click", () => mark(QUESTIONS.indexOf(name)));
    return group;
  }));
  const open = QUESTIONS.findIndex((name) => !chosenIn(shown())[name]);
  mark(open < 0 ? 0 : open);
  playing = true;
  apply();
}

function mark(index) {
  current = Math.max(0, Math.min(QUESTIONS.length - 1, index));
  [...$("questions").children].forEach((group, at) => group.classList.toggle("current", at === current));
}

function choose(name, id) {
  const { id: scene } = shown();
  state.chosen[scene] = { ...state.chosen[scene], [name]: id };
  state.saved = false;
  keep();
  progress();
}

function chooseByKey(place) {
  const clip = shown().clips[place];
  if (!clip) return;
  const name = QUESTIONS[current];
  const input = [...$("questions").elements[name]].find((one) => one.value === clip);
  input.checked = true;
  choose(name, clip);
  document.activeElement.blur();
  mark(current + 1);
}

// ------------------------------------------------------------------ moving

function progress() {
  const inScene = Boolean(shown());
  $("where").textContent = inScene ? `Scene ${state.place + 1} of ${scenes.length}` : "Comparing videos";
  $("steps").hidden = state.place === INTRO;
  [...$("steps").children].forEach((step, index) => {
    const scene = scenes[index];
    const said = complete(scene) ? "done" : answered(scene) ? "part" : "";
    step.className = said;
    step.ariaLabel = `Scene ${index + 1}${said === "done" ? ", answered" : ""}`;
    step.toggleAttribute("aria-current", index === state.place);
  });
  if (inScene) $("next").classList.toggle("waiting", !complete(shown()));
}

function go(place) {
  stopClock();
  state.place = Math.max(INTRO, Math.min(scenes.length, place));
  keep();
  $("intro").hidden = state.place !== INTRO;
  $("scene").hidden = !shown();
  $("end").hidden = state.place !== scenes.length;
  clear();
  if (shown()) fill();
  if (state.place === scenes.length) conclude();
  progress();
  startClock();
  scrollTo(0, 0);
}

function next() {
  if (shown() && !complete(shown())) {
    const open = QUESTIONS.length - answered(shown());
    mark(QUESTIONS.findIndex((name) => !chosenIn(shown())[name]));
    return say(open === 1 ? "One question is still open." : `${open} questions are still open.`);
  }
  go(state.place + 1);
}

// A step of the bar leads to any scene up to the first open one.
function jump(index) {
  const open = firstOpen();
  if (open < 0 || index <= open) go(index);
  else say("The scenes before it come first.");
}

function conclude() {
  const open = scenes.filter((scene) => !complete(scene)).length;
  $("end-title").textContent = open ? "Not quite done" : "Thank you";
  $("end-text").textContent = open
    ? `${open === 1 ? "One scene is" : `${open} scenes are`} still open.`
    : `All ${scenes.length} scenes are answered. Save your answers and send the file to whoever asked you; you can still go back and change them first.`;
  $("save").firstChild.textContent = open ? "To the first open scene " : state.saved ? "Save again " : "Save answers ";
  $("saved").hidden = $("another-line").hidden = !state.saved || Boolean(open);
  $("saved").textContent = `Saved as ${fileName()}, where your browser puts downloads.`;
}

// ------------------------------------------------------------------ saving

const fileName = () => `study_${about.study}_${state.participant}.json`;

function answers() {
  return {
    kind: "study answers",
    format: about.format,
    study: about.study,
    participant: state.participant,
    seed: state.seed,
    saved: new Date().toISOString(),
    answers: scenes.map((scene) => ({
      scene: scene.id,
      order: scene.clips,
      ...Object.fromEntries(QUESTIONS.map((name) => [name, chosenIn(scene)[name]])),
      seconds: Math.round((state.seconds[scene.id] || 0) * 10) / 10,
    })),
  };
}

function save() {
  if (firstOpen() >= 0) return go(firstOpen());
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(answers(), null, 1) + "\n"], { type: "application/json" }));
  link.download = fileName();
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), NOTICE_MS);
  state.saved = true;
  keep();
  conclude();
}

function another() {
  if (!confirm("The answers in this browser are cleared; the saved file stays. Start anew?")) return;
  state = fresh();
  scenes = orders(state.seed);
  go(INTRO);
}

let fading = 0;
function say(text) {
  $("notice").textContent = text;
  $("notice").classList.add("shown");
  clearTimeout(fading);
  fading = setTimeout(() => $("notice").classList.remove("shown"), NOTICE_MS);
}

// ------------------------------------------------------------------ controls

const KEYS = {
  ArrowLeft: () => state.place > INTRO && go(state.place - 1),
  ArrowRight: () => state.place < scenes.length && next(),
  ArrowUp: () => shown() && mark(current - 1),
  ArrowDown: () => shown() && mark(current + 1),
  " ": () => shown() && togglePlaying(),
  r: () => shown() && restart(),
  s: () => shown() && toggleSlow(),
  Enter: () => (state.place === scenes.length ? save() : next()),
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const { target, key } = event;
  // A button or choice that the tab key led to answers space and enter itself.
  const own = target.matches?.("button, input:not(:checked)") && (key === " " || (key === "Enter" && target.matches("button")));
  if (own) return;
  const action = KEYS[key.length === 1 ? key.toLowerCase() : key];
  if (action) action();
  else if (shown() && /^[1-9]$/.test(key)) chooseByKey(Number(key) - 1);
  else return;
  event.preventDefault();
});

const CLICKS = { begin: next, next, back: () => go(state.place - 1), "end-back": () => go(state.place - 1), play: togglePlaying,
  restart, slow: toggleSlow, save, another };
for (const [id, action] of Object.entries(CLICKS)) $(id).addEventListener("click", action);
$("questions").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("visibilitychange", () => (document.visibilityState === "visible" ? startClock() : stopClock()));
addEventListener("pagehide", stopClock);

const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;
$("count").textContent = plural(scenes.length, "scene", "scenes");
$("choices").textContent = plural(scenes[0].clips.length, "way", "ways");
$("steps").append(...scenes.map((_, index) => {
  const step = document.createElement("button");
  step.addEventListener("click", () => jump(index));
  return step;
}));
go(state.place);
if (shown()) say(`Welcome back: scene ${state.place + 1} of ${scenes.length}.`);
