// Builds the static files of the web interface: styles and fonts, the theme switch that runs before the first paint,
// and the page script. Names carry a hash of the content; manifest.json maps `app.css` to the name it got.
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "../thurn/web/static/build");
mkdirSync(dirname(target), { recursive: true });
const fresh = mkdtempSync(join(dirname(target), ".build-"));
chmodSync(fresh, 0o755); // the web role reads it as another user

try {
  const tailwind = join(here, "node_modules/@tailwindcss/cli/dist/index.mjs");
  const styles = join(fresh, "tailwind.css");
  execFileSync(process.execPath, [tailwind, "--input", join(here, "src/app.css"), "--output", styles, "--minify"], {
    cwd: here,
    stdio: ["ignore", "ignore", "pipe"],
  });

  const result = await esbuild.build({
    absWorkingDir: here,
    stdin: { contents: `@import "./src/fonts.css"; @import ${JSON.stringify(styles)};`, loader: "css", resolveDir: here, sourcefile: "app.css" },
    bundle: true,
    minify: true,
    metafile: true,
    outdir: fresh,
    entryNames: "app-[hash]",
    assetNames: "fonts/[name]-[hash]",
    loader: { ".woff2": "file", ".woff": "empty" },
    legalComments: "none",
    target: "es2023",
  });
  const scripts = await esbuild.build({
    absWorkingDir: here,
    entryPoints: ["src/app.ts", "src/theme.ts"],
    bundle: true,
    minify: true,
    metafile: true,
    outdir: fresh,
    entryNames: "[name]-[hash]",
    legalComments: "eof",
    format: "iife",
    target: "es2023",
  });

  const manifest = {};
  for (const outputs of [result.metafile.outputs, scripts.metafile.outputs])
    for (const path of Object.keys(outputs)) {
      const name = path.split("/").at(-1);
      const plain = name.match(/^(app|theme)-[A-Z0-9]+\.(css|js)$/);
      if (plain) manifest[`${plain[1]}.${plain[2]}`] = name;
    }
  rmSync(styles);
  writeFileSync(join(fresh, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);

  // Swapped in whole, so that a page never meets half a build.
  rmSync(target, { recursive: true, force: true });
  renameSync(fresh, target);
  for (const name of readdirSync(target)) console.log(`thurn/web/static/build/${name}`);
} catch (error) {
  rmSync(fresh, { recursive: true, force: true });
  throw error;
}
