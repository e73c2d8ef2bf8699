"""What must hold for a page that somebody looks at: axe finds nothing, in both themes, and it is never too wide."""

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
WIDTHS = (1440, 390, 320)  # a desk, a phone, and a desk at 400 %
# Colours fade into each other when the theme changes, an inherited one only when its parent has arrived:
# wait until nothing has moved for three frames.
SETTLED = """async () => {
  const moving = () => document.getAnimations().some(
    (each) => each.playState !== "finished" && each.effect.getComputedTiming().endTime !== Infinity);
  for (let calm = 0; calm < 3; calm = moving() ? 0 : calm + 1) await new Promise(requestAnimationFrame);
}"""


async def too_wide(page: Page) -> list[str]:
    """Where the page must be pushed sideways to be read."""
    found = []
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 800})
        await page.evaluate(SETTLED)  # what slides away as the page becomes narrow still takes its room for a moment
        if await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            found.append(f"{page.url} at {width}")
    return found


async def complaints(page: Page, axe: Axe) -> list[str]:
    """What axe finds, in light and in dark; narrow as it is, and wide."""
    found = []
    for width, scheme in ((1440, "light"), (1440, "dark"), (390, "light")):
        await page.set_viewport_size({"width": width, "height": 800})
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        await page.evaluate(SETTLED)
        result = await axe.run(page, options={"runOnly": RULES, "resultTypes": ["violations"]})
        for each in result.response["violations"]:
            nodes = [node["html"][:160] for node in each["nodes"]][:3]
            found.append(f"{page.url} {scheme} {width}: {each['id']} {nodes}")
    return found


async def walk(page: Page, urls: list[str]) -> list[str]:
    """Open each and collect what is wrong with it."""
    axe, found = Axe(), []
    for url in urls:
        answer = await page.goto(url)
        assert answer is not None
        if not answer.ok:
            found.append(f"{url}: {answer.status}")
            continue
        if "policy" not in " ".join(answer.headers):
            found.append(f"{url} has no content security policy")
        if await page.locator("h1").count() != 1:
            found.append(f"{url} has not one h1")
        found += await too_wide(page)
        found += await complaints(page, axe)
    return found
