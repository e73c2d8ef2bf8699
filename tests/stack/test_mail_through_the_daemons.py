"""Real Postfix, Dovecot, Rspamd, Redis and PostgreSQL, as `thurn up` starts them."""

import poplib
import smtplib
import socket
import ssl
import uuid
from pathlib import Path

import psycopg
import pytest
from stackworld import (
    APOSTROPHE,
    DOMAIN,
    PASSWORD,
    RESI,
    STRANGER,
    XAVER,
    Outside,
    add_mailbox,
    fetch,
    from_now_on,
    imap,
    message,
    plain_token,
    queue_is_empty,
    read_until_ok,
    send,
    signed_in,
    smtp,
    trusting,
    wait_for,
)

from tests.feedback.reportworld import aggregate, mail, packed
from thurn.db.connect import conninfo
from thurn.feedback.reports import proven
from thurn.feedback.reports_read import read
from thurn.settings import Settings

pytestmark = pytest.mark.stack


def test_mail_from_outside_passes_rspamd_and_lies_in_the_mailbox(stack: Settings) -> None:
    mark = send(stack, STRANGER, RESI)
    mail = fetch(stack, RESI, mark)
    assert b"Authentication-Results: mail.thurn.example" in mail
    assert b"Delivered-To: resi@brotzeit.example" in mail


@pytest.mark.parametrize("recipient", ["wirt@brotzeit.example", "resi+bier@brotzeit.example", "RESI@Brotzeit.Example"])
def test_other_ways_to_write_an_address_reach_the_same_mailbox(stack: Settings, recipient: str) -> None:
    assert fetch(stack, RESI, send(stack, STRANGER, recipient))


def test_mail_lies_in_a_folder_of_this_mailbox_not_of_its_address(stack: Settings) -> None:
    """Who gets the address later, in another workspace perhaps, must not find it."""
    fetch(stack, RESI, send(stack, STRANGER, RESI))
    with psycopg.connect(conninfo(stack, "system")) as db:
        row = db.execute("SELECT id FROM mailbox WHERE address = %s", [RESI]).fetchone()
    assert row is not None
    folders = [folder.name for folder in (stack.state / "mail" / "brotzeit.example").glob("resi.*")]
    assert folders == [f"resi.{row[0]}"]


def test_an_address_with_an_apostrophe_is_no_sql(stack: Settings) -> None:
    assert fetch(stack, APOSTROPHE, send(stack, STRANGER, APOSTROPHE))


@pytest.mark.parametrize(
    "recipient",
    [
        "nobody@brotzeit.example",
        "acb@brotzeit.example",
        "a%b@brotzeit.example",
        "%@brotzeit.example",
        "x' OR '1'='1@brotzeit.example",
    ],
)
def test_unknown_recipients_are_refused_while_the_sender_waits(stack: Settings, recipient: str) -> None:
    with smtp(stack) as client:
        client.mail(STRANGER)
        code, words = client.rcpt(recipient)
    assert code in {501, 550, 554}, words


def test_mail_to_a_bounce_host_goes_to_the_feedback_service(stack: Settings, feedback: Outside) -> None:
    send(stack, "<>", f"b.e1.google.Abc-123@bounce.{DOMAIN}")
    send(stack, STRANGER, f"fbl@bounce.{DOMAIN}")
    wait_for(lambda: len(feedback.received) == 2)
    assert sorted(message[1][0] for message in feedback.received) == [
        f"b.e1.google.Abc-123@bounce.{DOMAIN}",
        f"fbl@bounce.{DOMAIN}",
    ]


@pytest.mark.parametrize(("sender", "domain"), [("dmarc@friend.example", "friend.example"), (STRANGER, "")])
def test_who_sent_a_report_is_what_rspamd_found_and_not_what_the_mail_claims(
    stack: Settings, feedback: Outside, sender: str, domain: str
) -> None:
    report = mail(packed(aggregate(org=domain or "receiver.example")), proof="dmarc=pass header.from=google.com")
    raw = report.replace(b"dmarc@receiver.example\r\nSubject", sender.encode() + b"\r\nSubject", 1)
    with smtp(stack) as client:
        client.sendmail(sender, [f"dmarc@bounce.{DOMAIN}"], raw)
    wait_for(lambda: feedback.received)
    received = feedback.received[0][2]
    assert b"google.com" not in received.partition(b"\r\n\r\n")[0]
    assert proven(received) == domain
    (reading,) = read(received)
    assert reading.report is not None


def test_a_bounce_host_has_no_other_addresses(stack: Settings) -> None:
    with smtp(stack) as client:
        client.mail(STRANGER)
        assert client.rcpt(f"resi@bounce.{DOMAIN}")[0] == 550


@pytest.mark.parametrize(
    ("sender", "recipient"),
    [
        (STRANGER, "victim@far.example"),
        (RESI, "victim@far.example"),
        ("", "victim@far.example"),
        (STRANGER, "victim%far.example@brotzeit.example"),
        (STRANGER, "victim%far.example@[127.0.0.1]"),
        (STRANGER, "victim@far.example@brotzeit.example"),
        (STRANGER, '"victim@far.example"@brotzeit.example'),
        (STRANGER, '"victim@far.example"'),
        (STRANGER, '"victim%far.example"'),
        (STRANGER, "@brotzeit.example:victim@far.example"),
        (STRANGER, "@mail.thurn.example,@brotzeit.example:victim@far.example"),
        (STRANGER, "far.example!victim@brotzeit.example"),
        (STRANGER, "far.example!victim"),
        (STRANGER, "victim@far.example@"),
        (STRANGER, "root@[127.0.0.1]"),
        (STRANGER, "root@localhost"),
        (STRANGER, "root@mail.thurn.example"),
        (STRANGER, "root"),
        (f"b.e1.other.x@bounce.{DOMAIN}", "victim@far.example"),
        ("root@mail.thurn.example", "victim@far.example"),
    ],
)
def test_mx_relays_for_nobody(stack: Settings, sender: str, recipient: str) -> None:
    with smtp(stack) as client:
        client.docmd(f"MAIL FROM:<{sender}>")
        code, words = client.docmd(f"RCPT TO:<{recipient}>")
    assert 500 <= code < 600, words


def test_port_25_offers_no_sign_in_before_or_after_tls(stack: Settings) -> None:
    with smtp(stack) as client:
        assert not client.has_extn("auth")
        client.starttls(context=trusting(stack))
        client.ehlo()
        assert not client.has_extn("auth")
        assert client.docmd("AUTH", "PLAIN AHgAeQ==")[0] == 503


@pytest.mark.parametrize("service", ["submission", "submissions"])
def test_people_who_signed_in_may_write_to_the_world(stack: Settings, outside: Outside, service: str) -> None:
    with signed_in(stack, service) as client:
        client.sendmail(RESI, ["gast@far.example"], message("to the world"))
    wait_for(lambda: len(outside.received) == 1)
    assert outside.received[0][:2] == (RESI, ["gast@far.example"])


def test_submission_wants_tls_before_a_password(stack: Settings) -> None:
    with smtplib.SMTP("127.0.0.1", stack.port["submission"], "pc.example") as client:
        client.ehlo()
        assert not client.has_extn("auth")
        assert client.docmd("AUTH", "PLAIN AHgAeQ==")[0] == 530


def test_a_wrong_password_is_refused(stack: Settings) -> None:
    with pytest.raises(smtplib.SMTPAuthenticationError), signed_in(stack, "submissions", password="falsch"):
        pass


@pytest.mark.parametrize("sender", [XAVER, STRANGER, f"postmaster@{DOMAIN}"])
def test_nobody_may_send_as_somebody_else(stack: Settings, sender: str) -> None:
    with signed_in(stack, "submissions") as client:
        client.mail(sender)
        code, words = client.rcpt("gast@far.example")
    assert code == 553, words


def test_submission_without_signing_in_takes_nothing(stack: Settings) -> None:
    with smtplib.SMTP_SSL("127.0.0.1", stack.port["submissions"], context=trusting(stack)) as client:
        client.ehlo("pc.example")
        client.mail(RESI)
        assert client.rcpt(RESI)[0] == 554


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_tls_is_refused(stack: Settings) -> None:
    context = trusting(stack)
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    for service in ("imaps", "submissions"):
        with socket.create_connection(("127.0.0.1", stack.port[service])) as link, pytest.raises(ssl.SSLError):
            context.wrap_socket(link, server_hostname="localhost")


def test_imap_without_tls_takes_no_password(stack: Settings) -> None:
    # Dovecot trusts a connection from an address to itself, so ask from another.
    with socket.create_connection(("127.0.0.1", stack.port["imap"]), source_address=("127.0.0.2", 0)) as link:
        link.recv(1000)
        link.sendall(f'a LOGIN {RESI} "{PASSWORD}"\r\n'.encode())
        answer = link.recv(1000)
    assert answer.startswith((b"a NO [PRIVACYREQUIRED]", b"* BAD [ALERT]")), answer


def test_pop3s_shows_the_same_mailbox(stack: Settings) -> None:
    fetch(stack, RESI, send(stack, STRANGER, RESI))
    client = poplib.POP3_SSL("127.0.0.1", stack.port["pop3s"], context=trusting(stack))
    client.user(RESI)
    client.pass_(PASSWORD)
    assert client.stat()[0] >= 1
    client.quit()


def test_a_sieve_script_put_by_managesieve_files_mail(stack: Settings) -> None:
    address = add_mailbox(stack, "sorts")  # the script stays
    script = (
        b'require ["fileinto", "mailbox"];\nif header :contains "subject" "Rechnung" { fileinto :create "Buch"; }\n'
    )
    with socket.create_connection(("127.0.0.1", stack.port["managesieve"])) as plain:
        read_until_ok(plain)
        plain.sendall(b"STARTTLS\r\n")
        read_until_ok(plain)
        with trusting(stack).wrap_socket(plain, server_hostname="localhost") as link:
            read_until_ok(link)
            link.sendall(f'AUTHENTICATE "PLAIN" "{plain_token(address)}"\r\n'.encode())
            read_until_ok(link)
            link.sendall(b'PUTSCRIPT "main" {%d+}\r\n%s\r\nSETACTIVE "main"\r\n' % (len(script), script))
            read_until_ok(link, times=2)
    mark = send(stack, STRANGER, address, subject="Rechnung")
    assert fetch(stack, address, mark, folder="Buch")


def test_a_mailbox_has_its_folders_and_its_quota(stack: Settings) -> None:
    with imap(stack, add_mailbox(stack, "fresh")) as client:
        folders = b"\n".join(line for line in client.list()[1] if isinstance(line, bytes))
        assert all(use in folders for use in (b"\\Drafts", b"\\Sent", b"\\Junk", b"\\Trash"))
        quota = client.getquotaroot("INBOX")[1][1][0]
    assert b"STORAGE" in quota
    assert b" 5242880)" in quota  # KiB: 5 GiB


def test_out_chooses_the_transport_by_the_envelope_sender(stack: Settings, outside: Outside) -> None:
    log = from_now_on(stack.state / "log" / "out.mail.log")
    mark = uuid.uuid4().hex
    with smtplib.SMTP("127.0.0.1", stack.port["out"], "sender") as client:
        for provider in ("google", "gmx", "local"):
            client.sendmail(
                f"b.e1.{provider}.tok@bounce.{DOMAIN}",
                [RESI if provider == "local" else f"kunde@{provider}.example"],
                message(f"by {provider} {mark}"),
            )
    wait_for(lambda: len(outside.received) == 2)
    for provider in ("google", "gmx", "local"):
        wait_for(lambda wanted=provider: f"postfix/e1-{wanted}/smtp" in log())
    assert {message[1][0] for message in outside.received} == {"kunde@google.example", "kunde@gmx.example"}
    assert b"by local" in fetch(stack, RESI, mark)


def test_out_writes_no_bounce_mail_for_what_is_refused(stack: Settings, outside: Outside) -> None:
    outside.refuse.add("weg@far.example")
    log = from_now_on(stack.state / "log" / "out.mail.log")
    with smtplib.SMTP("127.0.0.1", stack.port["out"], "sender") as client:
        client.sendmail(f"b.e1.other.gone@bounce.{DOMAIN}", ["weg@far.example"], message("gone"))
    wait_for(lambda: "status=bounced" in log())
    wait_for(lambda: "discard: header" in log())
    wait_for(lambda: queue_is_empty(stack))
    assert f"to=<b.e1.other.gone@bounce.{DOMAIN}>, relay" not in log()
    assert outside.received == []


def test_out_listens_on_loopback_only(stack: Settings) -> None:
    listening = {
        line.split()[1]
        for path in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(path).read_text().splitlines()[1:]
    }
    suffix = f":{stack.port['out']:04X}"
    assert {address for address in listening if address.endswith(suffix)} == {"0100007F" + suffix}
