// What every page can do without asking the server: switch the theme, open and close dialogs and the menu, copy a
// value, keep a form from being sent twice. Everything hangs on the document, so swapped fragments need no set-up.

export {};

const root = document.documentElement;

function dark(): boolean {
  if (root.dataset.theme) return root.dataset.theme === "thurn-night";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

function switchTheme(): void {
  root.dataset.theme = dark() ? "thurn" : "thurn-night";
  try {
    localStorage.setItem("thurn.theme", root.dataset.theme);
  } catch {
    // Not kept, but switched.
  }
}

function open(name: string): void {
  const dialog = document.getElementById(name);
  if (!(dialog instanceof HTMLDialogElement)) return;
  if (name === "menu" && !dialog.firstElementChild) {
    const side = document.querySelector(".side-in");
    if (side) dialog.append(side.cloneNode(true));
  }
  dialog.showModal();
}

async function copy(button: Element): Promise<void> {
  const value = button.parentElement?.querySelector("code")?.textContent?.trim() ?? "";
  const label = button.querySelector("span");
  if (!label) return;
  const was = label.dataset.was ?? label.textContent ?? "";
  label.dataset.was = was;
  button.setAttribute("aria-live", "polite");
  try {
    await navigator.clipboard.writeText(value);
    label.textContent = "Copied";
  } catch {
    label.textContent = "Select and copy";
  }
  setTimeout(() => (label.textContent = was), 1600);
}

document.addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target : null;
  if (!target) return;
  if (target.matches("dialog.menu-panel")) (target as HTMLDialogElement).close();
  const button = target.closest<HTMLElement>("[data-theme-toggle],[data-open],[data-close],[data-copy]");
  if (!button) {
    if (target.closest("[aria-disabled=true]")) event.preventDefault();
    return;
  }
  if (button.hasAttribute("data-theme-toggle")) switchTheme();
  if (button.dataset.open) {
    event.preventDefault();
    open(button.dataset.open);
  }
  if (button.hasAttribute("data-close")) {
    event.preventDefault();
    button.closest("dialog")?.close();
  }
  if (button.hasAttribute("data-copy")) void copy(button);
});

// A form is sent once: its button goes busy after 150 ms and cannot be pressed again.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement) || form.method === "dialog" || event.defaultPrevented) return;
  const button = event.submitter;
  if (button?.getAttribute("aria-disabled") === "true" || form.dataset.sent) {
    event.preventDefault();
    return;
  }
  if (form.method === "get") return;
  form.dataset.sent = "yes";
  setTimeout(() => button?.setAttribute("aria-busy", "true"), 150);
});

// Back and forward may bring a sent form back from the page cache.
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll<HTMLFormElement>("form[data-sent]")) delete form.dataset.sent;
  for (const button of document.querySelectorAll("form [aria-busy=true]")) button.removeAttribute("aria-busy");
});

// The first thing wrong in a form that came back gets the focus.
document.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();

// A dialog that the server wants answered at once.
for (const dialog of document.querySelectorAll<HTMLDialogElement>("dialog[data-autoshow]")) dialog.showModal();
