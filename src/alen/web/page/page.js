// The page: uploads what is dropped, asks how far it is, shows what became of it. It talks to its own server alone.
"use strict";

const list = document.getElementById("frames");
const template = document.getElementById("frame");
const drop = document.getElementById("drop");
const picker = document.getElementById("files");
const problem = document.getElementById("problem");
const cards = new Map(); // by id of the frame
const removed = new Set(); // ids, by this page
const uploads = []; // files that wait for those before them
const ahead = 8; // frames that wait at the server, at most: they take room there
let uploading = false;
let waiting = 0; // frames that do
let largest = Infinity;
let asking = null;

function settings() {
  const query = new URLSearchParams();
  const ratio = document.getElementById("ratio").value.trim().replace(",", ".");
  query.set("ratio", ratio === "" ? "auto" : ratio);
  query.set("look", document.querySelector("input[name=look]:checked").value);
  return query;
}

function complain(message) {
  problem.textContent = message;
  problem.hidden = !message;
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is “alen serve” still running?");
  }
  const answer = response.status === 204 ? null : await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error || `The server answered ${response.status}.`);
  return answer;
}

function card(id, name) {
  const element = template.content.firstElementChild.cloneNode(true);
  element.querySelector("h2").textContent = name;
  list.prepend(element);
  if (id) cards.set(id, element);
  return element;
}

function exposure(facts) {
  const parts = [];
  if (facts.exposure_time_s) parts.push(facts.exposure_time_s < 0.3 ? `1/${Math.round(1 / facts.exposure_time_s)} s` : `${+facts.exposure_time_s.toPrecision(3)} s`);
  if (facts.iso) parts.push(`ISO ${Math.round(facts.iso)}`);
  return parts.join(", ");
}

function words(facts) {
  if (facts.state === "waiting") return "Waiting for the frames before it.";
  if (facts.state === "failed") return facts.error;
  if (facts.state === "working") {
    const left = facts.seconds_left;
    if (facts.share >= 1) return "Making previews …";
    return left === null || left === undefined ? "Enhancing …" : `Enhancing: ${Math.round(facts.share * 100)} %, about ${Math.max(1, Math.round(left))} s left.`;
  }
  const ratio = `ratio ${+facts.ratio.toPrecision(3)} (${facts.ratio_is_estimated ? "estimated" : "given"})`;
  return [facts.camera, exposure(facts), `${facts.width} × ${facts.height}`, ratio, `${facts.seconds.toFixed(1)} s`].filter(Boolean).join(" · ");
}

function show(facts) {
  const element = cards.get(facts.id) || connect(card(facts.id, facts.name), facts.id);
  const before = element.dataset.state;
  element.dataset.state = facts.state;
  element.classList.toggle("failed", facts.state === "failed");
  const status = element.querySelector(".status");
  const text = words(facts);
  status.ariaLive = facts.state === "working" ? "off" : "polite"; // not every percent is read out
  if (status.textContent !== text) status.textContent = text; // what is set is read out
  const bar = element.querySelector("progress");
  bar.hidden = facts.state !== "working";
  if (facts.share > 0 && facts.share < 1) bar.value = facts.share;
  else bar.removeAttribute("value");
  element.querySelector(".result").hidden = facts.state !== "done";
  element.querySelector(".again").hidden = facts.state !== "done" && facts.state !== "failed";
  if (facts.state === "done" && before !== "done") reveal(element, facts);
}

function reveal(element, facts) {
  const stamp = Date.now(); // it may have been enhanced again
  const name = facts.name;
  const images = { before: element.querySelector(".before"), after: element.querySelector(".after") };
  images.before.src = `frames/${facts.id}/before.jpg?${stamp}`;
  images.before.alt = `${name}, merely brightened`;
  images.after.alt = `${name}, enhanced`;
  element.querySelector(".warnings").replaceChildren(...facts.warnings.map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  }));
  element.refresh();
}

function connect(element, id) {
  const ev = element.querySelector(".ev");
  const format = element.querySelector("select");
  const compare = element.querySelector(".compare");
  const split = element.querySelector(".split");
  const after = element.querySelector(".after");
  let pending = null;
  element.refresh = () => {
    const value = Number(ev.value);
    element.querySelector("output").textContent = `${value > 0 ? "+" : ""}${value} EV`;
    element.querySelector(".save").href = `frames/${id}/picture?format=${format.value}&ev=${value}`;
    element.querySelector(".view").href = `frames/${id}/picture?format=jpg&ev=${value}&view=1`;
    clearTimeout(pending); // not for every step of a slider that moves
    pending = setTimeout(() => { after.src = `frames/${id}/after.jpg?ev=${value}&${Date.now()}`; }, 120);
  };
  ev.addEventListener("input", element.refresh);
  format.addEventListener("change", element.refresh);
  split.addEventListener("input", () => compare.style.setProperty("--split", `${split.value}%`));
  element.querySelector(".remove").addEventListener("click", async () => {
    try {
      await request(`frames/${id}`, { method: "DELETE" });
    } catch (error) {
      complain(error.message);
    }
    removed.add(id); // what was asked before may still tell of it
    cards.delete(id);
    element.remove();
  });
  element.querySelector(".again").addEventListener("click", async () => {
    try {
      show(await request(`frames/${id}/again?${settings()}`, { method: "POST" }));
      complain("");
      ask();
    } catch (error) {
      complain(error.message);
    }
  });
  return element;
}

async function ask() {
  clearTimeout(asking);
  const before = [...cards]; // not what comes while the answer is on its way
  let answer;
  try {
    answer = await request("frames");
  } catch (error) {
    complain(error.message);
    asking = setTimeout(ask, 3000);
    return;
  }
  if (problem.textContent.startsWith("The server does not answer")) complain("");
  largest = answer.max_upload_bytes;
  const known = new Set(answer.frames.map((facts) => facts.id));
  for (const [id, element] of before) {
    if (cards.has(id) && !known.has(id)) {
      cards.delete(id);
      element.remove();
      const name = element.querySelector("h2").textContent;
      complain(`${name} has been removed: to make room for newer frames, or in another window.`);
    }
  }
  answer.frames.filter((facts) => !removed.has(facts.id)).forEach(show);
  waiting = answer.frames.filter((facts) => facts.state === "waiting").length;
  const busy = answer.frames.some((facts) => facts.state === "waiting" || facts.state === "working");
  asking = setTimeout(ask, busy ? 400 : 5000);
  upload();
}

function take(files) {
  complain("");
  for (const file of files) {
    const element = card(null, file.name);
    element.querySelector(".status").textContent = "Waiting to be read.";
    element.querySelector(".remove").addEventListener("click", () => element.remove());
    uploads.push({ file, element, query: settings() });
  }
  upload();
}

async function upload() {
  if (uploading) return;
  uploading = true;
  while (uploads.length && waiting < ahead) {
    const { file, element, query } = uploads.shift();
    if (!element.isConnected) continue; // removed
    query.set("name", file.name);
    element.querySelector(".status").textContent = "Being read …";
    try {
      if (file.size > largest) throw new Error(`${file.name}: is larger than the ${Math.round(largest / 1e6)} MB that are allowed.`);
      await file.slice(0, 1).arrayBuffer().catch(() => { throw new Error(`${file.name}: cannot be read. Drop files, not folders.`); });
      const facts = await request(`frames?${query}`, { method: "POST", body: file });
      if (!element.isConnected) { // removed meanwhile
        await request(`frames/${facts.id}`, { method: "DELETE" });
        continue;
      }
      waiting += 1; // until it is asked for
      cards.get(facts.id)?.remove(); // if it was asked for already
      cards.set(facts.id, connect(element, facts.id));
      show(facts);
      ask();
    } catch (error) {
      element.classList.add("failed");
      element.querySelector(".status").textContent = error.message;
    }
  }
  uploading = false;
}

picker.addEventListener("change", () => {
  take(picker.files);
  picker.value = "";
});
document.getElementById("settings").addEventListener("submit", (event) => event.preventDefault());
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault(); // else the browser would open the file in place of the page
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files);
  });
}
ask();
