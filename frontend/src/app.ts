import Alpine from "@alpinejs/csp";
import htmx from "htmx.org";
import "htmx.org/dist/ext/hx-sse.js";
import "./live";
import "./shell";

// Fragments carry no script, and none is run: the policy forbids it anyway.
htmx.config.transitions = false;

// Small state that lives in the page only. `x-data="name"`, see the CSP build of Alpine.
Alpine.data("unsaved", () => ({
  dirty: false,
  init() {
    addEventListener("beforeunload", (event) => {
      if (this.dirty) event.preventDefault();
    });
  },
  touch() {
    this.dirty = true;
  },
  saved() {
    this.dirty = false;
  },
}));
Alpine.start();
