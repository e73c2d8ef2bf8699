"""The configuration of each daemon as a function of settings: what matters for safety, by table."""

import re
from pathlib import Path

import pytest
from renderworld import EVERYWHERE, PORTS, STATE, THREE, by_path, mx, out, parameter, services

from thurn.stack import dovecot, postfix_mx, postgres, redis, rspamd, supervisor
from thurn.stack.postfix import Service, inner_door
from thurn.stack.prepare import database_url, fqdn
from thurn.stack.supervisor import Program


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
        assert "{smtpd_relay_restrictions = $guard_own, check_sasl_access " in section
        tls = "smtpd_tls_security_level = encrypt" in section or "smtpd_tls_wrappermode = yes" in section
        assert tls or (section.startswith(webmail) and "smtpd_sasl_service = webmail" in section)


def test_webmails_door_for_sending_is_on_loopback_wherever_mx_listens() -> None:
    for listen in ("", EVERYWHERE, "192.0.2.1"):
        master = mx(listen=listen)["mx/etc/master.cf"]
        assert re.findall(rf"(?m)^(\S*)\b{PORTS['webmail_smtp']} inet", master) == ["127.0.0.1:"]


def test_peoples_mail_may_have_an_egress_of_its_own() -> None:
    found = services(mx(people=THREE.egresses[1])["mx/etc/master.cf"])
    for client in ("smtp", "relay"):
        assert "{smtp_bind_address = 192.0.2.4}" in found[client]
    assert "smtp_bind_address" not in found["inner"], "doors of our own are on loopback"
    assert "inner:[127.0.0.1]" in mx()["mx/etc/forward_transports"]
    assert "smtp_bind_address" not in "".join(services(mx()["mx/etc/master.cf"]).values())


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
