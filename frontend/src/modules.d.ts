declare module "@alpinejs/csp" {
  interface AlpineStatic {
    data<T extends object>(name: string, factory: () => T & ThisType<T>): void;
    start(): void;
  }
  const Alpine: AlpineStatic;
  export default Alpine;
}
declare module "htmx.org/dist/ext/hx-sse.js";
