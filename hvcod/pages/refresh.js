// The open page loads itself again as long as a command rewrites its file.
const every = 1000 * document.body.dataset.every;
const stamp = Number(document.body.dataset.written);
const note = document.getElementById("refresh");
const kept = (history.state || {}).hvcod || {};
// A browser's clock may differ from that of the machine which writes: once the file has changed
// under the reader's eyes, only the time since then counts.
const same = kept.stamp === stamp;
let seen = same ? kept.seen : Date.now();
const moved = same ? kept.moved : kept.stamp !== undefined;
let timer;

function stale() {
  const now = Date.now();
  return now - seen > 3 * every + 5000 || (!moved && now - stamp > 3 * every + 120000);
}

function show() {
  const late = stale();
  document.body.classList.toggle("stale", late);
  note.textContent = late ? note.dataset.stale : note.dataset.fresh;
}

function remember() {
  const open = [...document.querySelectorAll("details")].map((each) => each.open);
  history.replaceState({hvcod: {stamp, seen, moved, open, x: scrollX, y: scrollY}}, "");
}

function restore() {
  history.scrollRestoration = "manual";
  document.querySelectorAll("details").forEach((each, number) => {
    each.open = (kept.open || [])[number] || each.open;
  });
  scrollTo(kept.x || 0, kept.y || 0);
}

async function reachable() {
  if (location.protocol === "file:") return true;
  try {
    // Past the browser's cache: servers name the second in which a file was written, which is too
    // coarse to tell two pages from each other.
    return (await fetch(location.href, {cache: "reload"})).ok;
  } catch {
    return false;  // The page stays: a browser's page about the error would not come back.
  }
}

async function look() {
  clearTimeout(timer);
  if (document.hidden || String(getSelection())) {
    seen = Date.now();  // Nobody reads, or somebody copies: that does not make the page late.
  } else {
    show();
    if (await reachable()) {
      remember();
      location.reload();
      return;
    }
  }
  wait();
}

function wait() {
  clearTimeout(timer);
  timer = setTimeout(look, stale() ? 10 * every : every);
}

document.addEventListener("visibilitychange", () => document.hidden || look());
restore();
show();
wait();
