// The picture with its box: what is dragged, typed or dropped becomes an event for the server.
// `element`, `props`, `trigger` and `watch` are given by gradio.
const find = (name) => element.querySelector(`[data-${name}]`);
const stage = find("stage"), seen = find("seen"), boxMark = find("box"), patchMark = find("patch");
const boxFields = find("box-fields"), patchFields = find("patch-fields");
const limit = @LARGEST_FILE@;
const WAIT = 90; // milliseconds between two boxes that are sent while one drags
// Events may overtake each other on their way: each says when it was made.
const tell = (what, data) => trigger(what, { ...data, sent: performance.timeOrigin + performance.now() });
let grid = null, box = null, patch = null, sent = "", timer = 0;

const numbersOf = (fields) =>
  Object.fromEntries([...fields.querySelectorAll("input")].map((field) =>
    [field.name, field.value === "" ? null : Number(field.value)]));
const write = (fields, numbers) => fields.querySelectorAll("input").forEach((field) => {
  if (field !== document.activeElement || Number(field.value) !== numbers[field.name])
    field.value = numbers[field.name];
  field.removeAttribute("aria-invalid");
});
const place = (mark, { row, column, height = 1, width = 1 }) => Object.assign(mark.style, {
  top: `${(100 * (row - 1)) / grid.rows}%`, left: `${(100 * (column - 1)) / grid.columns}%`,
  height: `${(100 * height) / grid.rows}%`, width: `${(100 * width) / grid.columns}%`,
});
const say = (problem) => { find("problem").textContent = problem || ""; };

function draw() {
  place(boxMark, box);
  place(patchMark, patch);
  boxMark.setAttribute("aria-label", `Hidden box: rows ${box.row} to ${box.row + box.height - 1}, ` +
    `columns ${box.column} to ${box.column + box.width - 1}`);
}
function send() {
  clearTimeout(timer);
  timer = 0;
  if (JSON.stringify(box) === sent) return;
  sent = JSON.stringify(box);
  tell("box", { ...box });
}
function moveTo(next, last) {
  box = next;
  write(boxFields, box);
  draw();
  say("");
  if (last) send();
  else if (!timer) timer = setTimeout(send, WAIT);
}

// The keyboard: numbers that are typed go out as they are; the server says what is wrong with them.
boxFields.addEventListener("input", () => {
  const typed = numbersOf(boxFields);
  const whole = Object.values(typed).every((n) => Number.isInteger(n) && n >= 1);
  const fits = whole && typed.row + typed.height - 1 <= grid.rows &&
    typed.column + typed.width - 1 <= grid.columns;
  boxFields.querySelectorAll("input").forEach((field) => field.setAttribute("aria-invalid", !fits));
  if (fits) { box = typed; draw(); say(""); }
  clearTimeout(timer);
  timer = setTimeout(() => { timer = 0; sent = JSON.stringify(typed); tell("box", typed); }, 3 * WAIT);
});
// Numbers that cannot be are left behind: the fields tell again what is looked at.
for (const [fields, looked] of [[boxFields, () => box], [patchFields, () => patch]])
  fields.addEventListener("focusout", (event) => {
    if (grid && !fields.contains(event.relatedTarget)) write(fields, looked());
  });
patchFields.addEventListener("input", () => {
  const typed = numbersOf(patchFields);
  const fits = typed.row >= 1 && typed.row <= grid.rows && typed.column >= 1 && typed.column <= grid.columns;
  if (fits) { patch = typed; draw(); say(""); }
  tell("patch", typed);
});
boxMark.addEventListener("keydown", (event) => {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!step || !grid) return;
  event.preventDefault();
  const next = { ...box };
  if (event.shiftKey) {
    next.height = within(box.height + step[0], 1, grid.rows - box.row + 1);
    next.width = within(box.width + step[1], 1, grid.columns - box.column + 1);
  } else {
    next.row = within(box.row + step[0], 1, grid.rows - box.height + 1);
    next.column = within(box.column + step[1], 1, grid.columns - box.width + 1);
  }
  moveTo(next, false);
});

// The pointer: inside the box it moves, at its corner it resizes, elsewhere it draws a new one.
const within = (value, low, high) => Math.min(Math.max(value, low), high);
const under = (event) => {
  const frame = stage.getBoundingClientRect();
  return {
    row: ((event.clientY - frame.top) / frame.height) * grid.rows,
    column: ((event.clientX - frame.left) / frame.width) * grid.columns,
  };
};
const patchAt = ({ row, column }) => ({
  row: within(Math.floor(row) + 1, 1, grid.rows), column: within(Math.floor(column) + 1, 1, grid.columns),
});
const spanned = (from, to) => ({
  row: Math.min(from.row, to.row), column: Math.min(from.column, to.column),
  height: Math.abs(from.row - to.row) + 1, width: Math.abs(from.column - to.column) + 1,
});
let drag = null;
stage.addEventListener("pointerdown", (event) => {
  if (!grid || event.button !== 0) return;
  const corner = event.target === find("corner");
  const inside = boxMark.contains(event.target);
  drag = { how: corner ? "resize" : inside ? "move" : "draw", from: under(event), box: { ...box }, moved: false,
    x: event.clientX, y: event.clientY };
  stage.setPointerCapture(event.pointerId);
  event.preventDefault();
});
stage.addEventListener("pointermove", (event) => {
  if (!drag) return;
  if (!drag.moved && Math.hypot(event.clientX - drag.x, event.clientY - drag.y) < 5) return;
  drag.moved = true;
  const now = under(event), from = drag.from, start = drag.box;
  let next;
  if (drag.how === "move") next = {
    ...start,
    row: within(start.row + Math.round(now.row - from.row), 1, grid.rows - start.height + 1),
    column: within(start.column + Math.round(now.column - from.column), 1, grid.columns - start.width + 1),
  };
  else next = spanned(drag.how === "resize" ? start : patchAt(from), patchAt(now));
  if (JSON.stringify(next) !== JSON.stringify(box)) moveTo(next, false);
});
const release = (event) => {
  if (!drag) return;
  const { moved } = drag;
  drag = null;
  if (moved) return send();
  if (event.type === "pointercancel") return;
  patch = patchAt(under(event));
  write(patchFields, patch);
  draw();
  tell("patch", { ...patch });
};
stage.addEventListener("pointerup", release);
stage.addEventListener("pointercancel", release);

// Pictures: read here, sent as text, never stored.
function give(file) {
  if (!file) return;
  if (file.size > limit)
    return say(`${file.name} is too large: the studio takes files up to ${Math.floor(limit / 1048576)} MB.`);
  const reader = new FileReader();
  reader.onload = () => {
    find("status").textContent = "Reading the picture …";
    tell("picture", { name: file.name, content: reader.result.slice(reader.result.indexOf(",") + 1) });
  };
  reader.onerror = () => say(`${file.name} cannot be read by the browser: choose another.`);
  reader.readAsDataURL(file);
}
find("file").addEventListener("change", (event) => { give(event.target.files[0]); event.target.value = ""; });
// Anywhere on the page: beside the field a browser would leave the page for the file.
for (const name of ["dragenter", "dragover"]) document.body.addEventListener(name, (event) => {
  event.preventDefault();
  find("drop").classList.add("over");
});
for (const name of ["dragleave", "drop"]) document.body.addEventListener(name, (event) => {
  event.preventDefault();
  find("drop").classList.remove("over");
});
document.body.addEventListener("drop", (event) => give(event.dataTransfer.files[0]));
element.querySelectorAll("[data-example]").forEach((button) => button.addEventListener("click", () => {
  find("status").textContent = "Looking …";
  tell("example", { number: Number(button.dataset.example) });
}));

// What the server says.
watch("scene", () => {
  const scene = props.scene;
  if (!scene) return;
  grid = { rows: scene.rows, columns: scene.columns };
  box = scene.box;
  patch = scene.patch;
  sent = JSON.stringify(box);
  seen.src = scene.image;
  stage.style.setProperty("--rows", grid.rows);
  stage.style.setProperty("--columns", grid.columns);
  stage.classList.add("ready");
  find("grid").textContent = `(of ${grid.rows} × ${grid.columns})`;
  write(boxFields, box);
  write(patchFields, patch);
  element.querySelectorAll("[data-example]").forEach((button) =>
    button.setAttribute("aria-pressed", Number(button.dataset.example) === scene.example));
  draw();
});
watch("told", () => {
  find("status").textContent = props.told.status;
  say(props.told.problem);
});
