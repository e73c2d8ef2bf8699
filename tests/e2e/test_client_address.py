"""Who the guard counts, through Caddy."""

import re

import e2e_house as furniture
import httpx
from e2e_house import House


async def test_nobody_tells_caddy_where_they_come_from(main: House):
    """Neither to have somebody else banned nor to get around a ban."""
    login, claimed = "nobody@spoof.example", "203.0.113.99"
    async with httpx.AsyncClient(base_url=main.settings.url, trust_env=False, timeout=furniture.PATIENCE) as stranger:
        door = await stranger.get("/sign-in")
        token = re.search(r'name="csrf"[^>]*value="([^"]+)"', door.text)
        assert token is not None
        headers = {
            "X-Forwarded-For": claimed, "Forwarded": f"for={claimed}", "X-Real-IP": claimed, "X-Thurn-Edge": "guess",
            "X-Client-IP": claimed,
        }  # fmt: skip
        answer = await stranger.post(
            "/sign-in", data={"csrf": token[1], "email": login, "password": "wrong"}, headers=headers
        )
        assert answer.status_code == 422
    counted = await main.row("SELECT host(client) AS client FROM guard_failure WHERE login = %s", [login])
    assert counted == {"client": "127.0.0.1"}
