"""The configuration of each daemon as a function of settings: what matters for safety, by table."""

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from thurn.delivery.providers import PROVIDERS
from thurn.settings import SERVICES
from thurn.stack import caddy, dovecot, postfix_mx, postfix_out, postgres, redis, rspamd, supervisor
from thurn.stack.files import File
from thurn.stack.out_plan import Egress, Override, Plan, Relay, load_plan
from thurn.stack.postfix import Service, inner_door
from thurn.stack.prepare import database_url, fqdn
from thurn.stack.supervisor import Program

STATE = Path("/srv/thurn")
EVERYWHERE = "0.0.0.0"  # noqa: S104 - rendered, not bound
PORTS = {service: 2501 + i for i, service in enumerate(SERVICES)}
ONE = Plan()
THREE = Plan(
    (
        Egress("e1"),
        Egress("four", bind4="192.0.2.4", helo="four.example"),
        Egress("six", bind6="2001:db8::6", helo="six.example"),
    ),
    (Override("", "google", connections=7), Override("six", "google", connections=2, per_connection=9)),
)


def mx(
    *, listen: str = "127.0.0.1", simulate: bool = True, smtp: int = 2501, people: Egress | None = None
) -> dict[str, str]:
    return by_path(
        postfix_mx.render(
            STATE,
            PORTS | {"smtp": smtp},
            hostname="mail.example",
            listen=listen,
            database="postgresql://thurn_postfix:pw@/thurn?host=/srv/thurn/db/run",
            retry_first=300,
            simulate=simulate,
            people=people,
        )
    )


def out(
    *,
    listen: str = "127.0.0.1",
    simulate: bool = True,
    smtp: int = 2501,
    retry_first: int = 300,
    plan: Plan = ONE,
) -> dict[str, str]:
    ports = PORTS | {"smtp": smtp}
    rendered = postfix_out.render(
        STATE,
        ports,
        hostname="mail.example",
        retry_first=retry_first,
        retry_hours=48,
        simulate=simulate,
        plan=plan,
    )
    return by_path([*rendered, *postfix_out.first_files(ports, plan, listen=listen, simulate=simulate)])


def by_path(files: list[File]) -> dict[str, str]:
    return {file.path: file.text for file in files}


def parameter(text: str, name: str) -> str:
    """The value of a parameter of main.cf."""
    found = re.findall(rf"(?m)^{re.escape(name)} = ?(.*)$", text)
    assert len(found) == 1, f"{name} stands {len(found)} times"
    return str(found[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mynetworks", ""),
        ("mydestination", ""),
        ("relayhost", f"[127.0.0.1]:{PORTS['sim_smtp']}"),
        ("smtp_dns_support_level", "disabled"),
        ("smtpd_sasl_auth_enable", "no"),
        ("smtpd_tls_auth_only", "yes"),
        ("smtpd_tls_protocols", ">=TLSv1.2"),
        ("smtpd_relay_restrictions", "permit_sasl_authenticated, reject_unauth_destination"),
        ("smtpd_milters", f"inet:127.0.0.1:{PORTS['milter']}"),
        ("milter_default_action", "tempfail"),
        ("maillog_file", "/srv/thurn/log/mx.mail.log"),
        ("queue_directory", "/srv/thurn/mx/queue"),
    ],
)
def test_mx_trusts_nobody_and_stays_on_the_machine_in_a_simulation(name: str, value: str) -> None:
    assert parameter(mx()["mx/etc/main.cf"], name) == value


def test_mx_without_simulation_asks_dns_and_delivers_itself() -> None:
    main = mx(simulate=False)["mx/etc/main.cf"]
    assert parameter(main, "relayhost") == ""
    assert "smtp_dns_support_level" not in main


def test_every_query_of_postfix_compares_whole_values() -> None:
    files = mx()
    maps = {path: text for path, text in files.items() if path.endswith(".cf") and "query" in text}
    assert len(maps) == 9
    for text in maps.values():
        query = next(line for line in text.splitlines() if line.startswith("query"))
        assert re.search(r"(= lower\('%s'\)|FROM mta\.\w+\(lower\('%s'\)\))$", query), query
        assert "LIKE" not in query.upper()
        assert " mta." in query


def test_files_with_a_password_are_closed_to_others() -> None:
    rendered = [
        *postfix_mx.render(
            STATE, PORTS, hostname="h.example", listen="", database="d://u:SECRET@/", retry_first=1, simulate=False
        ),
        *dovecot.render(
            STATE,
            PORTS,
            hostname="h.example",
            listen="",
            database="password=SECRET",
            controller_password="SECRET",
            released="SECRET",
            guard_secret="SECRET",
            nonce="SECRET",
        ),
        *redis.render(STATE, 1, "SECRET"),
        *rspamd.render(
            STATE,
            PORTS,
            redis_password="SECRET",
            controller_password="SECRET",
            nameservers=[],
            simulate=False,
            guard_secret="SECRET",
        ),
    ]
    holders = [file for file in rendered if "SECRET" in file.text]
    assert len(holders) == 20
    assert [file.path for file in holders if file.mode & 0o007] == []


@pytest.mark.parametrize(
    ("listen", "smtp", "lines"),
    [
        ("127.0.0.1", 2501, ["127.0.0.1:2501 inet"]),
        ("127.0.0.1", 25, ["127.0.0.1:25 inet", "127.0.0.2:25 inet"]),
        (EVERYWHERE, 25, ["25 inet"]),
        ("192.0.2.1", 25, ["192.0.2.1:25 inet"]),
    ],
)
def test_mx_listens_where_it_is_told_and_where_out_finds_it(listen: str, smtp: int, lines: list[str]) -> None:
    master = mx(listen=listen, smtp=smtp)["mx/etc/master.cf"]
    assert re.findall(rf"(?m)^\S*\b{smtp} inet", master) == lines
    host = inner_door(listen, smtp)
    assert f"[{host}]:{smtp}\n" in out(listen=listen, smtp=smtp)["out/lanes/transports"]
    assert listen == EVERYWHERE or f"{host}:{smtp} inet" in lines
    assert smtp != 25 or host != "127.0.0.1", "Postfix would call this a loop"


def test_submission_is_the_only_place_to_sign_in() -> None:
    sections = re.split(r"(?m)^(?=\S)", mx()["mx/etc/master.cf"])
    signing = [section for section in sections if "smtpd_sasl_auth_enable = yes" in section]
    webmail = f"127.0.0.1:{PORTS['webmail_smtp']}"
    assert [section.split()[0] for section in signing] == ["127.0.0.1:2502", "127.0.0.1:2503", webmail]
    for section in signing:
        assert (
            "receives_only.cf, reject_authenticated_sender_login_mismatch, permit_sasl_authenticated, reject}"
            in section
        )
        assert "smtpd_client_restrictions = $guard_door" in section
        tls = "smtpd_tls_security_level = encrypt" in section or "smtpd_tls_wrappermode = yes" in section
        assert tls or (section.startswith(webmail) and "smtpd_sasl_service = webmail" in section)


def test_webmails_door_for_sending_is_on_loopback_wherever_mx_listens() -> None:
    for listen in ("", EVERYWHERE, "192.0.2.1"):
        master = mx(listen=listen)["mx/etc/master.cf"]
        assert re.findall(rf"(?m)^(\S*)\b{PORTS['webmail_smtp']} inet", master) == ["127.0.0.1:"]


def transport(sender: str, plan: Plan = ONE, suspended: tuple[tuple[str, str], ...] = (), **more: bool) -> str | None:
    """What Postfix makes of an envelope sender by the table."""
    simulate = more.get("simulate", False)
    table = postfix_out.transports(PORTS, plan, listen="127.0.0.1", simulate=simulate, suspended=suspended)
    return looked_up(sender, table)


def looked_up(sender: str, table: str) -> str | None:
    """By Postfix's own reading. It fills $1 in here, and skips such a line where a transport is chosen."""
    assert "$" not in table
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "main.cf").touch()
        (Path(folder) / "table").write_text(table)
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


def services(text: str) -> dict[str, str]:
    return {part.split()[0]: part for part in re.split(r"(?m)^(?=\S)", text) if part and not part.startswith("#")}


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


def test_peoples_mail_may_have_an_egress_of_its_own() -> None:
    found = services(mx(people=THREE.egresses[1])["mx/etc/master.cf"])
    for client in ("smtp", "relay"):
        assert "{smtp_bind_address = 192.0.2.4}" in found[client]
    assert "smtp_bind_address" not in found["inner"], "doors of our own are on loopback"
    assert "inner:[127.0.0.1]" in mx()["mx/etc/forward_transports"]
    assert "smtp_bind_address" not in "".join(services(mx()["mx/etc/master.cf"]).values())


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


def test_no_service_of_postfix_is_chrooted() -> None:
    columns = str(Service("smtp", "unix", "smtp", options={"syslog_name": "a b"})).splitlines()
    assert columns == ["smtp unix - - n - - smtp", "  -o {syslog_name = a b}"]


def test_a_simulation_disables_what_asks_the_internet_but_checks_signatures() -> None:
    def rendered(simulate: bool) -> dict[str, str]:
        files = rspamd.render(
            STATE,
            PORTS,
            redis_password="r",
            controller_password="c",
            nameservers=[("127.0.0.1", PORTS["sim_dns"])],
            simulate=simulate,
            guard_secret="g",
        )
        return {path.removeprefix("rspamd/etc/local.d/"): text for path, text in by_path(files).items()}

    simulated, real = rendered(True), rendered(False)
    for module in ("rbl", "fuzzy_check", "surbl", "asn", "phishing", "neural"):
        assert simulated[f"{module}.conf"] == "enabled = false;\n"
        assert f"{module}.conf" not in real
    for module in ("spf", "dkim", "dmarc", "greylist"):
        assert "check_local = true;" in simulated[f"{module}.conf"]
        assert "check_local" not in real.get(f"{module}.conf", "")
    assert f'dns {{ nameserver = ["127.0.0.1:{PORTS["sim_dns"]}:1"]; }}\n' in simulated["options.inc"]
    assert real["greylist.conf"] == "timeout = 300s;\n"


def test_postgresql_is_reached_through_its_socket_only() -> None:
    files = by_path(postgres.render(STATE))
    assert "listen_addresses = ''" in files["db/postgresql.conf"]
    assert "trust" not in files["db/pg_hba.conf"]
    assert files["db/pg_hba.conf"].splitlines() == ["local all postgres peer map=admin", "local all all scram-sha-256"]
    assert "ssl" not in files["db/postgresql.conf"]


def test_postgresql_lets_machines_in_by_tls_and_nobody_else() -> None:
    files = by_path(postgres.render(STATE, "192.0.2.1", 5433))
    for line in (
        "listen_addresses = '192.0.2.1'",
        "port = '5433'",
        "ssl = 'on'",
        "ssl_min_protocol_version = 'TLSv1.3'",
    ):
        assert line in files["db/postgresql.conf"].splitlines(), line
    assert files["db/pg_hba.conf"].splitlines()[2:] == ["hostssl thurn +thurn_node all scram-sha-256"]
    certificate, key = postgres.certificate("mail.example")
    assert (key.mode, key.owner) == (0o600, "postgres:postgres")
    assert "PRIVATE" not in certificate.text


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


@pytest.mark.parametrize(
    ("made_by", "installed", "chosen"),
    [(None, ["9.6", "15", "17"], "17"), ("15", ["15", "17"], "15")],
)
def test_a_cluster_is_run_by_the_version_that_made_it(
    tmp_path: Path, made_by: str | None, installed: list[str], chosen: str
) -> None:
    for version in installed:
        (tmp_path / "pg" / version / "bin").mkdir(parents=True)
        (tmp_path / "pg" / version / "bin" / "postgres").touch()
    if made_by:
        (tmp_path / "db" / "cluster").mkdir(parents=True)
        (tmp_path / "db" / "cluster" / "PG_VERSION").write_text(f"{made_by}\n")
    assert postgres.binaries(tmp_path, tmp_path / "pg") == tmp_path / "pg" / chosen / "bin"


def test_a_cluster_of_a_version_that_is_gone_is_named(tmp_path: Path) -> None:
    (tmp_path / "db" / "cluster").mkdir(parents=True)
    (tmp_path / "db" / "cluster" / "PG_VERSION").write_text("13\n")
    with pytest.raises(FileNotFoundError, match="postgresql-13"):
        postgres.binaries(tmp_path, tmp_path / "pg")


def dovecot_text() -> dict[str, str]:
    return by_path(
        dovecot.render(
            STATE,
            PORTS,
            hostname="mail.example",
            listen="127.0.0.1",
            database="d",
            controller_password="c",
            released="r",
            guard_secret="g",
            nonce="n",
        )
    )


def test_dovecot_takes_the_address_as_a_path_only_without_slashes() -> None:
    text = dovecot_text()
    characters = re.search(r"(?m)^auth_username_chars = (.*)$", text["dovecot/etc/dovecot.conf"])
    assert characters is not None
    assert not set("/%\\\"' \t") & set(characters[1]) - {"'"}
    assert "SELECT '/srv/thurn/mail/' || home AS home" in text["dovecot/etc/sql.conf"]


def test_dovecot_notes_which_password_opens_a_session() -> None:
    text = dovecot_text()
    assert (
        "mta.note_session('%{session_pid}', address, '%{passdb:opened_by}', 'dovecot')" in text["dovecot/etc/sql.conf"]
    )
    assert all("opened_by" in text[f"dovecot/etc/{name}.conf"] for name in ("sql", "app-passwords"))


def test_scripts_that_run_before_are_numbered_without_a_gap() -> None:
    """Dovecot looks no further than the first number that is missing; of two with the same it takes the last."""
    numbers = re.findall(r"(?m)^ *sieve_before(\d*) =", dovecot_text()["dovecot/etc/dovecot.conf"])
    assert sorted(numbers, key=lambda n: int(n or 1)) == ["", *map(str, range(2, len(numbers) + 1))]


def test_programs_give_up_root_before_they_start() -> None:
    sender = Program("sender", ("/v/python", "-m", "x", "100%"), ".", "thurn", ("thurn", "postdrop"))
    text = supervisor.render(STATE, [sender, Program("mx", ("/m",), "mx")]).text
    assert (
        'exec "$@"\' sh /usr/bin/setpriv --reuid=thurn --regid=thurn --no-new-privs --groups=thurn,postdrop '
        "--pdeathsig=TERM -- /v/python -m x 100%%\n"
    ) in text
    assert 'exec "$@"\' sh /usr/bin/setpriv --pdeathsig=TERM -- /m' in text
    assert f'/proc/$$/stat)" >> {STATE}/run/ctl/groups' in text, "its process group can be found after a kill"
    assert text.count("autostart = false") == 2


@pytest.mark.parametrize(("given", "name"), [("mail.example", "mail.example"), ("laptop", "laptop.localdomain")])
def test_postfix_gets_a_name_with_a_dot(given: str, name: str) -> None:
    assert fqdn(given) == name


def test_postfix_gets_the_database_as_a_url() -> None:
    assert (
        database_url("host=/srv/thurn/db/run port=5432 dbname=thurn user=thurn_postfix password='a/b @:c'")
        == "postgresql://thurn_postfix:a%2Fb%20%40%3Ac@/thurn?host=/srv/thurn/db/run&port=5432"
    )


def caddyfile(tls: caddy.Tls | None = None, **how: Any) -> str:
    return caddy.render(STATE, PORTS, listen="127.0.0.1", secret="S", guard_secret="G", tls=tls, **how)[0].text


def test_caddy_without_tls_gets_no_certificates_and_hands_everything_to_the_web() -> None:
    text = caddyfile()
    assert "auto_https off" in text
    assert "acme" not in text
    assert re.findall(r"(?m)^(http\S+) \{$", text) == [f"http://:{PORTS['http']}", f"http://:{PORTS['webmail']}"]
    web, roundcube = text.split(f"\nhttp://:{PORTS['webmail']} ")
    assert set(re.findall(r"reverse_proxy (\S+)", web)) == {f"127.0.0.1:{PORTS['web']}"}
    assert set(re.findall(r"reverse_proxy (\S+)", roundcube)) == {f"unix/{STATE}/webmail/run/fpm.sock"}


def test_webmail_behind_a_proxy_is_told_by_its_name() -> None:
    text = caddyfile(webmail_host="webmail.example", webmail_https=True)
    assert f"\nhttp://webmail.example:{PORTS['http']} {{\n" in text
    assert "env HTTPS on" in text
    assert "Strict-Transport-Security" in text
    assert f":{PORTS['webmail']}" not in text


@pytest.mark.parametrize(
    ("account", "mail_host", "sites"),
    [
        (False, "mail.example", ["https://thurn.example", "http://"]),
        (
            True,
            "mail.example",
            ["https://thurn.example", "http://", "https://mail.example", "https://", "https://w.example"],
        ),
        (True, "thurn.example", ["https://thurn.example", "http://", "https://", "https://w.example"]),
        (True, "laptop", ["https://thurn.example", "http://", "https://", "https://w.example"]),
    ],
)
def test_caddy_asks_for_one_certificate_until_it_has_an_account(
    account: bool, mail_host: str, sites: list[str]
) -> None:
    tls = caddy.Tls("thurn.example", mail_host, "https://acme.example/dir", account=account)
    text = caddyfile(tls, webmail_host="w.example")
    assert re.findall(r"(?m)^(https?://\S*) \{$", text) == sites
    assert text.count("on_demand\n") == 2 * sites.count("https://"), "for webmail and the hosts of domains only"


def test_caddy_asks_guard_about_every_other_host_and_its_file_is_closed_to_others() -> None:
    tls = caddy.Tls("thurn.example", "mail.example", "https://acme.example/dir", "ops@x.example", own_root=True)
    (file,) = caddy.render(STATE, PORTS, listen="", secret="S", guard_secret="G", tls=tls, webmail_host="w.example")
    assert f"ask http://127.0.0.1:{PORTS['guard']}/edge/known-host?key=G\n" in file.text
    assert "acme_ca https://acme.example/dir\n" in file.text
    assert f"acme_ca_root {STATE}/edge/acme-root.pem\n" in file.text
    assert file.mode == 0o640
    assert "bind" not in file.text


@pytest.mark.parametrize(
    ("directory", "folder"),
    [
        ("https://acme-v02.api.letsencrypt.org/directory", "acme-v02.api.letsencrypt.org-directory"),
        ("https://127.0.0.1:14000/dir", "127.0.0.1-14000-dir"),
    ],
)
def test_caddy_s_account_is_found_where_it_keeps_it(tmp_path: Path, directory: str, folder: str) -> None:
    assert not caddy.has_account(tmp_path, directory)
    users = tmp_path / "edge/data/acme" / folder / "users/default"
    users.mkdir(parents=True)
    assert not caddy.has_account(tmp_path, directory)
    (users / "default.json").write_text("{}")
    assert caddy.has_account(tmp_path, directory)
