// A live region: `data-live` with an `hx-sse:connect`. Says "Live" while fragments come; after ten seconds of silence
// when it was last right. The server sends a comment line as heartbeat, so silence means a broken line.
const SILENCE = 10_000;
const seen = new WeakMap<Element, number>();

function say(region: Element, live: boolean): void {
  for (const note of document.querySelectorAll<HTMLElement>(`[data-live-note="${region.id}"]`)) {
    const since = seen.get(region);
    const at = since ? new Date(since).toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }) : "";
    const text = live ? "Live" : at ? `Last seen ${at}, reconnecting` : "Reconnecting";
    const label = note.querySelector("[data-label]");
    if (label && label.textContent !== text) label.textContent = text;
    note.dataset.state = live ? "live" : "lost";
    note.hidden = false;
  }
}

function heard(event: Event): void {
  const region = event.target instanceof Element ? event.target.closest("[data-live]") : null;
  if (!region) return;
  seen.set(region, Date.now());
  say(region, true);
}

document.addEventListener("htmx:sse:after:connection", heard);
document.addEventListener("htmx:sse:after:message", heard);
document.addEventListener("htmx:sse:error", (event) => {
  const region = event.target instanceof Element ? event.target.closest("[data-live]") : null;
  if (region) say(region, false);
});
// The server has told that nothing more will come: the note goes, the page stays as it is.
document.addEventListener("htmx:sse:close", (event) => {
  const region = event.target instanceof Element ? event.target.closest("[data-live]") : null;
  if (!region) return;
  region.removeAttribute("data-live");
  for (const note of document.querySelectorAll<HTMLElement>(`[data-live-note="${region.id}"]`)) note.hidden = true;
});
setInterval(() => {
  for (const region of document.querySelectorAll("[data-live]")) {
    const last = seen.get(region);
    if (last !== undefined && Date.now() - last > SILENCE) say(region, false);
  }
}, 1000);
