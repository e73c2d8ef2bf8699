"""How simulated providers send: over SMTP to our `mx`, again and again while it puts them off."""

import asyncio
import smtplib

# Seconds until the next try, as a sender that means it; ten minutes in all.
_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 180.0, 180.0)
_AT_ONCE = asyncio.Semaphore(4)


class Refused(Exception):
    """`mx` would not have it, for good."""


def _send(port: int, helo: str, sender: str, recipient: str, mail: bytes) -> str:
    with smtplib.SMTP("127.0.0.1", port, local_hostname=helo, timeout=30) as client:
        client.ehlo()
        options = ["BODY=8BITMIME"] if client.has_extn("8bitmime") else []
        for code, reply in (
            client.mail(sender, options),
            client.rcpt(recipient),
            client.data(mail),
        ):
            text = f"{code} {reply.decode('utf-8', 'replace')}"
            if code >= 500:
                raise Refused(text)
            if code >= 400:
                raise ConnectionError(text)
        return text


async def deliver(port: int, *, helo: str, sender: str, recipient: str, mail: bytes) -> tuple[bool, str]:
    """Hand a mail to `mx`; (whether it took it, its last reply). An empty `sender` is the null sender of bounces."""
    for pause in (*_PAUSES, None):
        try:
            async with _AT_ONCE:
                return True, await asyncio.to_thread(_send, port, helo, sender, recipient, mail)
        except (Refused, smtplib.SMTPDataError) as error:
            return False, str(error)
        except (OSError, smtplib.SMTPException) as error:
            status = str(error)
        if pause is None:
            break
        await asyncio.sleep(pause)
    return False, status
