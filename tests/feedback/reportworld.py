"""Reports as others write them, and the mails they come in."""

import base64
import gzip
import io
import json
import zipfile
from typing import Any

DAY = 1_763_942_400  # 24 November 2025, 00:00 UTC


def record(
    ip: str = "203.0.113.9",
    count: int = 3,
    *,
    dkim: str = "",
    spf: str = "",
    aligned: str = "none",
    override: str = "",
    disposition: str = "none",
    header_from: str = "brotzeit.example",
    selector: str = "s1",
) -> str:
    """A row. `dkim`, `spf`: domains that passed; `aligned`: dkim, spf, both or none."""
    signed = f"<dkim><domain>{dkim}</domain><selector>{selector}</selector><result>pass</result></dkim>" if dkim else ""
    checked = f"<spf><domain>{spf}</domain><scope>mfrom</scope><result>pass</result></spf>" if spf else ""
    verdict = {name: "pass" if aligned in (name, "both") else "fail" for name in ("dkim", "spf")}
    reason = f"<reason><type>{override}</type><comment>x</comment></reason>" if override else ""
    return f"""<record><row><source_ip>{ip}</source_ip><count>{count}</count><policy_evaluated>
      <disposition>{disposition}</disposition><dkim>{verdict["dkim"]}</dkim><spf>{verdict["spf"]}</spf>{reason}
      </policy_evaluated></row>
      <identifiers><header_from>{header_from}</header_from><envelope_from>x.example</envelope_from></identifiers>
      <auth_results>{signed}{checked}</auth_results></record>"""


def aggregate(
    *records: str,
    org: str = "receiver.example",
    email: str = "",
    report_id: str = "r1",
    domain: str = "brotzeit.example",
    day: int = 0,
    policy: str = "none",
    prolog: str = "",
    root: str = "<feedback>",
) -> bytes:
    """A DMARC report of the day so many days after DAY."""
    begin = DAY + 86_400 * day
    return f"""<?xml version="1.0"?>{prolog}
    {root}<report_metadata><org_name>{org}</org_name><email>{email or "dmarc@" + org}</email>
    <report_id>{report_id}</report_id><date_range><begin>{begin}</begin><end>{begin + 86_399}</end></date_range>
    </report_metadata><policy_published><domain>{domain}</domain><adkim>r</adkim><aspf>r</aspf><p>{policy}</p>
    <sp>none</sp><pct>100</pct></policy_published>{"".join(records or (record(),))}</feedback>""".encode()


def tls(**changes: Any) -> bytes:
    """A TLS report with one failure of two sessions."""
    report = {
        "organization-name": "Receiver", "contact-info": "tls@receiver.example", "report-id": "t1",
        "date-range": {"start-datetime": "2025-11-24T00:00:00Z", "end-datetime": "2025-11-24T23:59:59Z"},
        "policies": [
            {
                "policy": {"policy-type": "sts", "policy-domain": "brotzeit.example"},
                "summary": {"total-successful-session-count": 98, "total-failure-session-count": 2},
                "failure-details": [
                    {"result-type": "certificate-expired", "failed-session-count": 2,
                     "receiving-mx-hostname": "mail.thurn.example", "sending-mta-ip": "203.0.113.9"},
                ],
            }
        ],
    }  # fmt: skip
    return json.dumps(report | changes).encode()


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return held.getvalue()


def mail(
    data: bytes, kind: str = "application/gzip", *, proof: str = "dmarc=pass header.from=receiver.example"
) -> bytes:
    """A mail as our mx hands it on, with what Rspamd said of it."""
    head = f"Authentication-Results: mail.thurn.example;\r\n\t{proof}\r\n" if proof else ""
    body = base64.encodebytes(data).decode().replace("\n", "\r\n")
    return (
        f"{head}From: dmarc@receiver.example\r\nSubject: Report Domain: brotzeit.example\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nA report.\r\n"
        f"--b\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n\r\n{body}\r\n--b--\r\n"
    ).encode()


def packed(data: bytes) -> bytes:
    return gzip.compress(data)


FAILURE = b"""From: dmarc@receiver.example\r
Content-Type: multipart/report; report-type=feedback-report; boundary=b\r
\r
--b\r
Content-Type: text/plain\r
\r
One mail failed.\r
--b\r
Content-Type: message/feedback-report\r
\r
Feedback-Type: auth-failure\r
Version: 1\r
Original-Rcpt-To: <resi@receiver.example>\r
Source-IP: 203.0.113.66\r
Reported-Domain: brotzeit.example\r
Auth-Failure: dmarc\r
Delivery-Result: reject\r
DKIM-Domain: evil.example\r
DKIM-Selector: s1\r
\r
--b\r
Content-Type: text/rfc822-headers\r
\r
From: "Anna" <anna@brotzeit.example>\r
To: resi@receiver.example\r
Subject: Very private\r
\r
--b--\r
"""
