// Runs in <head> before the first paint, so that a page does not flash in the other theme.
export {};

const root = document.documentElement;
try {
  const chosen = localStorage.getItem("thurn.theme");
  if (chosen === "thurn" || chosen === "thurn-night") root.dataset.theme = chosen;
} catch {
  // Storage may be forbidden; then the theme follows the system.
}
root.dataset.script = "on";
