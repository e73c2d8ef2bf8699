"""What the simulated receivers answer: the wording of a refusal differs by provider, as it does outside.

A reply is a list of lines without line ends; the code stands in each (RFC 5321, 4.2.1). `{rcpt}` is the recipient,
`{id}` a number as servers put it there.
"""

_Words = dict[str, tuple[str, ...]]

_UNKNOWN = {
    "google": (
        "550-5.1.1 The email account that you tried to reach does not exist. Please try",
        "550-5.1.1 double-checking the recipient's email address for typos or",
        "550-5.1.1 unnecessary spaces. For more information, go to",
        "550 5.1.1  https://support.google.com/mail/?p=NoSuchUser {id} - gsmtp",
    ),
    "microsoft": (
        "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302). [{id}.eurprd04.prod.outlook.com]",
    ),
    "yahoo": (
        "554 delivery error: dd This user doesn't have a yahoo.example account ({rcpt}) [0] - {id}.yahoo.example",
    ),
    "apple": ("550 5.1.1 <{rcpt}>: user does not exist",),
    "gmx": (
        "550-Requested action not taken: mailbox unavailable",
        "550 For explanation visit https://postmaster.gmx.example/en/error-messages?c=unknown&i=ip&id={id}",
    ),
    "other": ("550 5.1.1 <{rcpt}>: Recipient address rejected: User unknown in virtual mailbox table",),
}
_FULL = {
    "google": (
        "552-5.2.2 The recipient's inbox is out of storage space. Please direct the recipient to",
        "552 5.2.2  https://support.google.com/mail/?p=OverQuotaPerm {id} - gsmtp",
    ),
    "microsoft": ("552 5.2.2 mailbox full; the recipient's mailbox has reached its storage limit [{id}]",),
    "yahoo": ("552 5.2.2 1 Requested mail action aborted, mailbox is over quota: {rcpt}",),
    "apple": ("552 5.2.2 <{rcpt}>: user is over quota",),
    "gmx": (
        "552-Requested mail action aborted: exceeded storage allocation",
        "552 5.2.2 Quota exceeded for {rcpt} ({id})",
    ),
    "other": ("552 5.2.2 <{rcpt}>: Mailbox is full / Quota exceeded",),
}
_POLICY = {
    "google": (
        "550-5.7.1 [127.0.0.1] Our system has detected that this message is likely",
        "550-5.7.1 unsolicited mail. To reduce the amount of spam sent to Gmail, this message has",
        "550 5.7.1 been blocked. See https://support.google.com/mail/?p=UnsolicitedMessageError {id} - gsmtp",
    ),
    "microsoft": (
        "550-5.7.1 Unfortunately, messages from [127.0.0.1] weren't sent. Please contact your Internet",
        "550 5.7.1 service provider since part of their network is on our block list (S3140). [{id}]",
    ),
    "yahoo": ("553 5.7.1 [BL21] Connections not accepted from servers that violate the sending policy; {id}",),
    "apple": (
        "550 5.7.1 [CS01] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137",
    ),
    "gmx": ("550-Requested action not taken: mailbox policy", "550 5.7.1 Reject due to policy restrictions ({id})"),
    "other": ("550 5.7.1 <{rcpt}>: Recipient address rejected: message refused by local policy",),
}
_GREYLIST = {
    "google": (
        "451-4.7.1 Greylisted: this sender is new to us and mail from it has been",
        "451 4.7.1 temporarily put off. Please try again later {id} - gsmtp",
    ),
    "microsoft": ("451 4.7.1 Server busy. Please try again later from [127.0.0.1]. (S77714) [{id}]",),
    "other": ("451 4.7.1 <{rcpt}>: Recipient address rejected: Greylisted, please try again in a few seconds",),
}
_SPEAKS_LIKE = {"office": "microsoft"}
_INACTIVE = {
    "google": (
        "550-5.2.1 The email account that you tried to reach is inactive. For more",
        "550 5.2.1 information, go to https://support.google.com/mail/?p=DisabledUser {id} - gsmtp",
    ),
    "other": ("550 5.2.1 <{rcpt}>: Recipient address rejected: mailbox is disabled",),
}
_MOVED: _Words = {"other": ("551 5.1.6 <{rcpt}>: User has moved to another address and is no longer here",)}
_SPAM: _Words = {"other": ("554 5.7.1 Spam message rejected; this content looks like spam ({id})",)}
_LARGE: _Words = {"other": ("552 5.3.4 Message size exceeds fixed limit",)}
# What a provider says in a mood (moods.py).
_RATE: _Words = {
    "google": (
        "421-4.7.28 [127.0.0.1] Our system has detected an unusual rate of",
        "421-4.7.28 unsolicited mail originating from your IP address. To protect our",
        "421-4.7.28 users from spam, mail sent from your IP address has been temporarily",
        "421 4.7.28 rate limited. https://support.google.com/mail/?p=UnsolicitedRateLimitError {id} - gsmtp",
    ),
    "microsoft": (
        (
            "451 4.7.650 The mail server [127.0.0.1] has been temporarily rate limited due to IP reputation. For "
            "e-mail delivery information, see https://aka.ms/postmaster (S775) [{id}]"
        ),
    ),
    "gmx": (
        "421-Rate limit reached. Please try again later.",
        "421 For explanation visit https://postmaster.gmx.example/en/error-messages?ip=127.0.0.1&c=rl&id={id}",
    ),
    "other": ("421 4.7.0 Error: too many messages from 127.0.0.1, try again later",),
}
_TEMPFAIL: _Words = {
    "yahoo": (
        (
            "421 4.7.0 [TSS04] Messages from 127.0.0.1 temporarily deferred due to unexpected volume or user "
            "complaints - 4.16.55.1; see https://postmaster.yahooinc.com/error-codes"
        ),
    ),
    "gmx": ("421 Reject due to policy violations ({id})",),
    "other": ("451 4.7.1 Message from 127.0.0.1 temporarily deferred because of its poor reputation",),
}
_BLOCK: _Words = {
    **_POLICY,
    "google": (
        "550-5.7.1 [127.0.0.1] Our system has detected that this message is",
        "550-5.7.1 likely suspicious due to the very low reputation of the sending",
        "550 5.7.1 domain. https://support.google.com/mail/answer/188131 {id} - gsmtp",
    ),
    "gmx": (
        "554-gmx.example (mxgmx007) Nemesis ESMTP Service not available",
        "554-IP address is black listed.",
        "554 For explanation visit https://postmaster.gmx.example/en/error-messages?ip=127.0.0.1&c=bip&id={id}",
    ),
    "other": (
        (
            "554 5.7.1 Service unavailable; Client host [127.0.0.1] blocked using zen.spamhaus.org; "
            "https://www.spamhaus.org/query/ip/127.0.0.1"
        ),
    ),
}
_WORDING: dict[str, _Words] = {
    "rate": _RATE,
    "tempfail": _TEMPFAIL,
    "block": _BLOCK,
    "unknown": _UNKNOWN,
    "full": _FULL,
    "policy": _POLICY,
    "greylist": _GREYLIST,
    "inactive": _INACTIVE,
    "moved": _MOVED,
    "spam": _SPAM,
    "large": _LARGE,
}

# RFC 3463 code of a bounce that comes later by mail.
STATUS = {"unknown": "5.1.1", "full": "5.2.2", "spam": "5.7.1"}


def refusal(kind: str, provider: str, recipient: str, number: int) -> list[str]:
    """Lines of the reply that refuses `recipient` for `kind` (unknown, full, policy, greylist …)."""
    wording = _WORDING[kind]
    lines = wording.get(_SPEAKS_LIKE.get(provider, provider), wording["other"])
    return [line.format(rcpt=recipient, id=f"{number:08x}") for line in lines]
