// What the console does in the browser beside htmx: times in the reader's zone,
// the keyboard, dialogs, what is live. Pages work without it.
"use strict";

// Times. The server writes <time datetime title> in UTC; here they are told as
// the reader's clock has them, and what is fresh ages while the page is open.
const exact = new Intl.DateTimeFormat(undefined, {dateStyle: "medium", timeStyle: "long"});
const steps = [["second", 60], ["minute", 60], ["hour", 24], ["day", 7]];

function ago(then, now) {
  let amount = Math.abs(now - then) / 1000, unit = "second";
  for (const [name, size] of steps) {
    unit = name;
    if (amount < size || name === "day") break;
    amount /= size;
  }
  amount = Math.floor(amount);
  if (unit === "second" && amount < 5) return "just now";
  const word = {second: "s", minute: "min", hour: "h", day: amount === 1 ? "day" : "days"}[unit];
  return then <= now ? `${amount} ${word} ago` : `in ${amount} ${word}`;
}

function tellTimes(root) {
  const now = Date.now();
  for (const t of root.querySelectorAll("time[datetime]")) {
    const then = new Date(t.dateTime);
    if (isNaN(then)) continue;
    t.title = exact.format(then);
    if (t.dataset.as === "clock") {
      t.textContent = then.toLocaleTimeString("en-GB", {hour12: false}) + "." + String(then.getMilliseconds()).padStart(3, "0");
    } else if (t.dataset.as === "exact") {
      t.textContent = t.title;
    } else if (Math.abs(now - then) < 7 * 86400e3) {
      t.textContent = ago(then.getTime(), now);
    } else {
      t.textContent = then.toLocaleDateString(undefined, {year: "numeric", month: "short", day: "numeric"});
    }
  }
}

// Dialogs: <button data-opens="id"> opens one, <button data-closes> closes it.
document.addEventListener("click", (e) => {
  const opens = e.target.closest("[data-opens]");
  if (opens) document.getElementById(opens.dataset.opens)?.showModal();
  if (e.target.closest("[data-closes]")) e.target.closest("dialog")?.close();
});

// Choices of a list: <input type=checkbox data-all> ticks those of its form, and
// [data-chosen] tells how many they are. What is [data-needs-choice] waits for one.
function tellChosen(form) {
  const boxes = [...form.querySelectorAll("tbody input[type=checkbox]")];
  const n = boxes.filter((b) => b.checked).length;
  for (const out of form.querySelectorAll("[data-chosen]")) out.textContent = n;
  for (const b of form.querySelectorAll("[data-needs-choice]")) b.disabled = n === 0;
  const all = form.querySelector("[data-all]");
  if (all) { all.checked = n > 0 && n === boxes.length; all.indeterminate = n > 0 && n < boxes.length; }
}
document.addEventListener("change", (e) => {
  const form = e.target.closest("form");
  if (!form || e.target.type !== "checkbox") return;
  if (e.target.matches("[data-all]")) {
    for (const b of form.querySelectorAll("tbody input[type=checkbox]")) b.checked = e.target.checked;
  }
  tellChosen(form);
});

// A <select data-submits> or a checkbox so marked sends its form when it changes.
document.addEventListener("change", (e) => {
  if (e.target.matches("[data-submits]")) e.target.form.requestSubmit();
});

// A form is sent once: a second press while it is under way does nothing.
document.addEventListener("submit", (e) => {
  const form = e.target;
  if (form.hasAttribute("hx-post") || form.method === "dialog" || form.target) return;
  if (form.dataset.sent) { e.preventDefault(); return; }
  form.dataset.sent = "yes";
  setTimeout(() => delete form.dataset.sent, 30000);
});
addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((f) => delete f.dataset.sent));

// What is sent after the session has ended is not done. It is kept in this tab
// until the next page, and where that says so ([data-again]) it is put back into
// its form, for who sent it. Secrets and files are not kept; a secret of several
// lines has no type that says so, but [data-secret].
const whoLooks = () => document.querySelector(".map .end a")?.textContent;
const isSecret = (el) => el.type === "password" || el.hasAttribute("data-secret") || el.type === "hidden" || el.type === "file" || el.name.startsWith("in.");
document.addEventListener("submit", (e) => {
  const form = e.target;
  if (form.method !== "post" || !form.closest("main.page")) return;
  const fields = [...form.elements].filter((el) => el.name && !isSecret(el) && el.matches("input, select, textarea"))
    .map((el) => [el.name, el.matches("[type=checkbox], [type=radio]") ? el.value : null, el.checked ?? false, el.value]);
  try { sessionStorage.setItem("sent", JSON.stringify({who: whoLooks(), page: location.pathname, to: form.getAttribute("action"), fields})); } catch { /* it is not kept, then */ }
});
function putBack() {
  if (!document.querySelector("main.page")) return; // who signs in is on the way
  let sent = null;
  try { sent = JSON.parse(sessionStorage.getItem("sent")); sessionStorage.removeItem("sent"); } catch { return; }
  if (!sent || !document.querySelector("[data-again]") || sent.who !== whoLooks()) return;
  if (!`${sent.page}/`.startsWith(`${location.pathname}/`)) return; // an action's answer can't be opened: one comes back to the page above it
  const form = [...document.forms].find((f) => f.getAttribute("action") === sent.to);
  const left = [...(form?.elements ?? [])].filter((el) => el.name && !isSecret(el));
  for (const [name, choice, checked, value] of sent.fields) {
    const at = left.findIndex((el) => el.name === name && (choice === null || el.value === choice));
    if (at < 0) continue;
    const [el] = left.splice(at, 1);
    if (choice === null) el.value = value; else el.checked = checked;
  }
}

// A form with data-popup opens its answer in a window of its own, and what
// data-goes-on names is gone on to.
document.addEventListener("submit", (e) => {
  if (e.target.matches("form[data-popup]")) window.open("", e.target.target, "popup,width=560,height=720");
});
document.addEventListener("DOMContentLoaded", () => {
  const on = document.querySelector("a[data-goes-on]");
  if (on) location.replace(on.href);
});

// The keyboard: / finds, j and k move between rows, enter opens one, esc goes back.
const rows = () => [...document.querySelectorAll("table[data-keys] tbody tr")].filter((r) => r.querySelector("a[href]"));
function move(by) {
  const list = rows();
  if (list.length === 0) return;
  const at = list.findIndex((r) => r.classList.contains("at"));
  const next = list[Math.min(list.length - 1, Math.max(0, at < 0 ? (by > 0 ? 0 : list.length - 1) : at + by))];
  for (const r of list) r.classList.toggle("at", r === next);
  next.querySelector("a[href]").focus();
}
document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented) return;
  const typing = e.target.matches("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");
  if (e.key === "Escape") {
    if (document.querySelector("dialog[open]")) return;
    if (typing) { e.target.blur(); return; }
    const back = document.querySelector("[data-back]");
    if (back) location.assign(back.href);
    return;
  }
  if (typing) return;
  if (e.key === "/") {
    const find = document.querySelector("main input[type=search]");
    if (find) { e.preventDefault(); find.focus(); find.select(); }
  } else if (e.key === "j") move(1);
  else if (e.key === "k") move(-1);
});

// A button copies what stands in an element.
document.addEventListener("click", async (e) => {
  const button = e.target.closest("[data-copies]");
  const from = button && document.getElementById(button.dataset.copies);
  if (!from) return;
  try {
    await navigator.clipboard.writeText(from.textContent);
    button.textContent = button.dataset.copied;
    announce(button.dataset.copied);
  } catch { // not allowed, or no secure address: it is chosen, to be copied by hand
    getSelection().selectAllChildren(from);
  }
});

// What is live says what has changed to who listens to it.
function announce(text) {
  const live = document.getElementById("announced");
  if (live && text) live.textContent = text;
}

// What a page asks by itself says so: a session that only it uses ends.
document.addEventListener("htmx:configRequest", (e) => {
  if (!e.detail.triggeringEvent) e.detail.headers["Provost-Unattended"] = "true";
});

// After htmx has put something in: times, choices, and what it announces. A
// problem gets the focus, so that nobody misses it.
document.addEventListener("htmx:afterSwap", (e) => {
  const into = e.detail.target;
  if (!into) return;
  tellTimes(into.parentElement ?? into);
  into.querySelectorAll?.("form").forEach(tellChosen);
  announce(into.dataset.announce ?? into.querySelector?.("[data-announce]")?.dataset.announce);
});

// The host may be away for a moment; what is shown stays, and says that it is old.
const away = "The host does not answer. What is shown may be old.";
document.addEventListener("htmx:sendError", () => {
  const told = document.getElementById("problem");
  if (!told || told.childElementCount > 0) return;
  const note = document.createElement("div");
  note.className = "note bad flash";
  note.textContent = away;
  told.replaceChildren(note);
});
document.addEventListener("htmx:afterRequest", (e) => {
  const told = document.getElementById("problem");
  if (e.detail.successful && told?.textContent === away) told.replaceChildren();
});

document.addEventListener("DOMContentLoaded", () => {
  tellTimes(document);
  putBack();
  document.querySelectorAll("form").forEach(tellChosen);
  document.querySelector("[aria-invalid=true]")?.focus();
  document.querySelector(".map [aria-current]")?.scrollIntoView({block: "nearest", inline: "center"}); // narrow, the map is a row
});
setInterval(() => tellTimes(document), 30e3);
