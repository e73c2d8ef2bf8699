"""The configuration of `out`, which sends: by which address, by which lane, and nothing else."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from renderworld import ONE, PORTS, STATE, THREE, by_path, mx, out, parameter, services

from thurn.delivery.providers import PROVIDERS
from thurn.stack import postfix_out
from thurn.stack.out_plan import Egress, Plan, Relay, load_plan


def transport(sender: str, plan: Plan = ONE, suspended: tuple[tuple[str, str], ...] = (), **more: bool) -> str | None:
    """What Postfix makes of an envelope sender by the table."""
    simulate = more.get("simulate", False)
    table = postfix_out.transports(PORTS, plan, listen="127.0.0.1", simulate=simulate, suspended=suspended)
    return looked_up(sender, table)


def looked_up(sender: str, table: str) -> str | None:
    """By Postfix's own reading. It fills $1 in here, and skips such a line where a transport is chosen."""
    assert "$" not in table
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("main.cf", ""), ("table", table)):
            (Path(folder) / name).write_text(text)
            os.utime(Path(folder) / name, (1, 1))  # Postfix reads what is younger than a second again and again
        done = subprocess.run(
            ["postmap", "-c", folder, "-q", sender, f"regexp:{folder}/table"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert not done.stderr
    return done.stdout.rstrip("\n") or None


@pytest.mark.parametrize(
    ("sender", "next_hop"),
    [
        ("b.e1.google.Ab-_1@bounce.x.example", "e1-google:"),
        ("b.four.other.Ab@bounce.x.example", "four-other:"),
        ("b.six.google.Ab@bounce.x.example", "six-google:"),
        ("b.e9.google.Ab@bounce.x.example", "e1-google:"),  # an egress that is gone: the first one carries it
        ("b.e1.nobody.Ab@bounce.x.example", None),  # default_transport
        ("b.e1x.google", None),
        ("resi@x.example", None),
        ("x@b.e1.google.Ab@bounce.x.example", None),
    ],
)
def test_the_envelope_sender_names_the_transport(sender: str, next_hop: str | None) -> None:
    assert transport(sender, THREE) == next_hop
    door = "[::1]" if sender.startswith("b.six") else "[127.0.0.1]"
    simulated = next_hop and f"{next_hop}{door}:{PORTS['sim_smtp']}"
    assert transport(sender, THREE, simulate=True) == simulated


@pytest.mark.parametrize("egress", ["e1", "four", "gone"])
def test_mail_for_this_server_goes_to_mx(egress: str) -> None:
    for simulate in (True, False):
        found = transport(f"b.{egress}.local.Ab@bounce.x.example", THREE, simulate=simulate)
        assert found == f"{'e1' if egress == 'gone' else egress}-local:[127.0.0.1]:2501"


def test_a_suspended_lane_waits_and_no_other() -> None:
    suspended = (("e1", "google"),)
    held = transport("b.e1.google.x@b.example", THREE, suspended)
    assert held == "retry:4.7.0 suspended by Thurn: e1 at google"
    assert transport("b.four.google.x@b.example", THREE, suspended) == "four-google:"
    assert transport("b.e1.other.x@b.example", THREE, suspended) == "e1-other:"


def test_out_has_a_transport_with_its_own_cap_for_each_egress_and_provider() -> None:
    files = out(plan=THREE)
    for egress in ("e1", "four", "six"):
        for provider in PROVIDERS:
            assert re.search(rf"(?m)^{egress}-{provider} unix - - n - (\d+) smtp$", files["out/etc/master.cf"])
            name = f"{egress}-{provider}_destination_concurrency_limit"
            assert int(parameter(files["out/etc/main.cf"], name)) > 0


def test_an_egress_leaves_by_its_address_and_name_and_by_no_other_protocol() -> None:
    found = services(out(plan=THREE, simulate=False)["out/etc/master.cf"])
    assert "smtp_bind_address" not in found["e1-google"]
    assert "inet_protocols" not in found["e1-google"]
    assert "{smtp_bind_address = 192.0.2.4}" in found["four-google"]
    assert "{inet_protocols = ipv4}" in found["four-google"]
    assert "{smtp_helo_name = four.example}" in found["four-google"]
    assert "{smtp_bind_address6 = 2001:db8::6}" in found["six-google"]
    assert "{inet_protocols = ipv6}" in found["six-google"]
    assert "{inet_interfaces = all}" in found["six-google"]
    assert "smtp_bind_address" not in found["six-local"], "loopback is no place for it"


def test_an_operators_limit_counts_and_the_narrower_one_more() -> None:
    files = out(plan=THREE)
    found = services(files["out/etc/master.cf"])
    assert [found[f"{egress}-google"].split()[6] for egress in ("e1", "four", "six")] == ["7", "7", "2"]
    assert "{smtp_connection_reuse_count_limit = 9}" in found["six-google"]
    assert parameter(files["out/etc/main.cf"], "six-google_destination_concurrency_limit") == "2"


def test_no_small_server_gets_all_connections_of_the_others() -> None:
    main = out(simulate=False)["out/etc/main.cf"]
    assert parameter(main, "e1-other_destination_concurrency_limit") == "10"


def test_a_relay_has_one_transport_with_a_password_of_its_own_and_tls() -> None:
    plan = Plan((
        Egress("e1"), Egress("r1", relay=Relay("smtp.example.net", 587, "starttls", secret="x", connections=3)),
        Egress("r2", relay=Relay("smtp.example.net", 465, "tls", "ab" * 32, "y")),
        Egress("r3", relay=Relay("inner.example.net", 25, "none")),
    ))  # fmt: skip
    files = out(plan=plan, simulate=False)
    found = services(files["out/etc/master.cf"])
    assert "{smtp_tls_security_level = secure}" in found["r1-relay"]
    assert "{smtp_sasl_password_maps = texthash:$config_directory/password-r1}" in found["r1-relay"]
    assert "wrappermode" not in found["r1-relay"]
    assert "{smtp_tls_wrappermode = yes}" in found["r2-relay"]
    assert "{smtp_tls_security_level = fingerprint}" in found["r2-relay"]
    assert "AB:" in found["r2-relay"].upper()
    assert "sasl_password" not in found["r3-relay"]
    assert not any(name.startswith("r1-") and name != "r1-relay" for name in found)
    assert parameter(files["out/etc/main.cf"], "r1-relay_destination_concurrency_limit") == "3"
    assert "password" not in "".join(text for path, text in files.items() if "master.cf" not in path)


@pytest.mark.parametrize(
    ("sender", "leads_to"),
    [
        ("b.r1.google.t@b.x", "r1-relay:[smtp.example.net]:587"),
        ("b.r2.google.t@b.x", "e1-google:"),
        ("b.r1.local.t@b.x", f"e1-local:[127.0.0.1]:{PORTS['smtp']}"),
        ("b.e1.google.t@b.x", "e1-google:"),
        ("b.r9.google.t@b.x", "e1-google:"),
    ],
)
def test_envelope_senders_lead_to_relays_unless_they_are_broken(sender: str, leads_to: str) -> None:
    plan = Plan((
        Egress("r1", relay=Relay("smtp.example.net", 587, "starttls")), Egress("e1"),
        Egress("r2", relay=Relay("two.example.net", 587, "starttls")),
    ))  # fmt: skip
    table = postfix_out.transports(PORTS, plan, listen="127.0.0.1", simulate=False, instead={"r2": "e1"})
    assert looked_up(sender, table) == leads_to


@pytest.mark.parametrize(
    ("sender", "leads_to"),
    [
        ("b.e1.google.t@b.x", f"e2-google:[::1]:{PORTS['sim_smtp']}"),
        ("b.e1.gmx.t@b.x", "retry:4.7.0 suspended by Thurn: e1 at gmx"),
        ("b.e2.google.t@b.x", f"e2-google:[::1]:{PORTS['sim_smtp']}"),
        ("b.e1.yahoo.t@b.x", f"e1-yahoo:[127.0.0.1]:{PORTS['sim_smtp']}"),
    ],
)
def test_another_egress_carries_what_a_provider_blocks_from_the_first(sender: str, leads_to: str) -> None:
    table = postfix_out.transports(
        PORTS, Plan((Egress("e1"), Egress("e2", bind6="2001:db8::2"))), listen="127.0.0.1", simulate=True,
        suspended=[("e1", "google"), ("e1", "gmx")], moved={("e1", "google"): "e2"},
    )  # fmt: skip
    assert looked_up(sender, table) == leads_to


def test_the_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert load_plan(tmp_path) == ONE
    for plan in (ONE, THREE, Plan(THREE.egresses, (), THREE.egresses[2])):
        (tmp_path / "out/plan.json").write_text(plan.text())
        assert load_plan(tmp_path) == plan


def test_out_has_neither_sql_nor_milters_nor_foreign_clients() -> None:
    files = out()
    text = "".join(files.values())
    assert "pgsql" not in text
    assert "milter" not in text
    assert parameter(files["out/etc/main.cf"], "smtpd_relay_restrictions") == "permit_mynetworks, reject"
    assert parameter(files["out/etc/main.cf"], "mynetworks") == "127.0.0.1/32"
    assert re.findall(r"(?m)^\S+ inet", files["out/etc/master.cf"]) == [f"127.0.0.1:{PORTS['out']} inet"]


@pytest.mark.parametrize(("first", "backoff", "run"), [(2, "2s", "1s"), (300, "300s", "30s"), (900, "900s", "30s")])
def test_out_looks_at_deferred_mail_as_often_as_the_first_retry_wants(first: int, backoff: str, run: str) -> None:
    main = out(retry_first=first)["out/etc/main.cf"]
    assert parameter(main, "minimal_backoff_time") == backoff
    assert parameter(main, "queue_run_delay") == run
    assert parameter(main, "maximal_queue_lifetime") == "48h"
    assert parameter(mx()["mx/etc/main.cf"], "maximal_queue_lifetime") == "5d"


def test_only_bounces_pass_through_the_cleanup_that_discards() -> None:
    sections = re.split(r"(?m)^(?=\S)", out()["out/etc/master.cf"])
    using = [section.split()[0] for section in sections if "cleanup_service_name = cleanup_internal" in section]
    assert sorted(using) == ["bounce", "defer", "trace"]


def test_a_machine_without_mailboxes_sends_mail_to_them_as_to_anybody_from_its_address() -> None:
    plan = Plan((Egress("n2", bind4="192.0.2.7"),))
    table = postfix_out.transports(PORTS, plan, listen="127.0.0.1", simulate=False, people=False)
    assert looked_up("b.n2.local.x@b.example", table) == "n2-local:"
    assert looked_up("b.gone.local.x@b.example", table) == "n2-local:"
    files = by_path(
        postfix_out.render(
            STATE, PORTS, hostname="two.example", retry_first=300, retry_hours=48, simulate=True, plan=plan,
            receivers="192.0.2.1", people=False,
        )
    )  # fmt: skip
    lane = files["out/etc/master.cf"].partition("\nn2-local ")[2].partition("\nn2-")[0]
    assert "smtp_bind_address = 192.0.2.7" in lane
    assert f"relayhost = [192.0.2.1]:{PORTS['sim_smtp']}" in files["out/etc/main.cf"]
