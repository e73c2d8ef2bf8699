"""Dynamic updates (RFC 2136) signed with TSIG (RFC 8945): one message, all of it or nothing."""

import base64
import binascii
import ipaddress
from collections.abc import Mapping, Sequence

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.update

from thurn.dns.authority import text_of
from thurn.dns.changes import Change
from thurn.dns.findings import Answers
from thurn.dns.records import data
from thurn.problems import Conflict, Invalid

ALGORITHMS = ("hmac-sha256", "hmac-sha512", "hmac-sha384", "hmac-sha224")
_PATIENCE = 10.0


class Rfc2136Publisher:
    """A zone at its primary name server.

    `inside`: the server may be at an address that is not public; `outside`: it may be another machine.
    """

    types: tuple[str, ...] = ("TXT", "MX", "CNAME", "SRV", "CAA", "A", "AAAA", "TLSA")
    title = "this name server"

    def __init__(
        self,
        zone: str,
        server: str,
        port: int,
        key: dns.tsig.Key,
        *,
        resolver: dns.asyncresolver.Resolver | None,
        inside: bool,
        outside: bool,
    ) -> None:
        self._zone, self._server, self._port, self._key = zone, server, port, key
        self._resolver, self._inside, self._outside = resolver, inside, outside

    @classmethod
    def of(
        cls,
        zone: str,
        access: Mapping[str, str],
        *,
        resolver: dns.asyncresolver.Resolver | None = None,
        inside: bool = False,
        outside: bool = True,
    ) -> "Rfc2136Publisher":
        """From what an operator gave; `Invalid` with the field."""
        algorithm = access.get("algorithm", ALGORITHMS[0])
        if algorithm not in ALGORITHMS:
            raise Invalid("algorithm", f"Known are {', '.join(ALGORITHMS)}.")
        port = access.get("port", "53")
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise Invalid("port", "A port is a number from 1 to 65535; name servers use 53.")
        try:
            secret = base64.b64decode(access["key_secret"], validate=True)
            name = dns.name.from_text(access["key_name"])
        except binascii.Error as error:
            raise Invalid("key_secret", "The secret is base64, as tsig-keygen or keymgr prints it.") from error
        except dns.exception.DNSException as error:
            raise Invalid("key_name", "The key’s name is a name such as thurn-key.") from error
        server = access["server"]
        if not server.isascii() or not server.isprintable() or any(c in server for c in " /@"):
            raise Invalid("server", "Give the name or the address of the primary name server.")
        key = dns.tsig.Key(name, secret, f"{algorithm}.")
        return cls(zone, server, int(port), key, resolver=resolver, inside=inside, outside=outside)

    async def current(self, name: str, kind: str) -> Answers:
        """What the primary says."""
        reply = await self._ask(self._signed(dns.message.make_query(name, kind)))
        if reply.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise Conflict(self._refusal(reply.rcode()))
        found = [rdata for rrset in reply.answer if rrset.rdtype == dns.rdatatype.from_text(kind) for rdata in rrset]
        if not found:
            return Answers("no-name" if reply.rcode() == dns.rcode.NXDOMAIN else "nothing")
        return Answers("found", tuple(sorted(map(text_of, found))))

    async def apply(self, wanted: Sequence[Change]) -> None:
        """All changes in one update, which the server takes only if what goes is still there."""
        update = dns.update.UpdateMessage(self._zone, keyring=self._key)
        for change in wanted:
            name = dns.name.from_text(change.record.name)
            for rdata in await self._exactly(change):  # the whole set must still be as it was (RFC 2136, 2.4.2)
                update.present(name, rdata)
                if text_of(rdata) in change.remove:
                    update.delete(name, rdata)
            for value in change.add:
                update.add(
                    name,
                    change.record.ttl,
                    dns.rdata.from_text(dns.rdataclass.IN, change.record.type, data(change.record.type, value)),
                )
        reply = await self._ask(update)
        if reply.rcode() != dns.rcode.NOERROR:
            raise Conflict(self._refusal(reply.rcode()))

    async def _exactly(self, change: Change) -> list[dns.rdata.Rdata]:
        """What is there, in its very form: text may be cut into strings anywhere. Nothing when nothing goes."""
        if not change.remove:
            return []
        reply = await self._ask(self._signed(dns.message.make_query(change.record.name, change.record.type)))
        return [rdata for rrset in reply.answer for rdata in rrset]

    def _signed(self, query: dns.message.Message) -> dns.message.Message:
        query.use_tsig(self._key)
        return query

    async def _ask(self, message: dns.message.Message) -> dns.message.Message:
        try:
            address = await self._address()
            return await dns.asyncquery.tcp(message, address, _PATIENCE, self._port)
        except dns.tsig.PeerBadKey as error:
            raise Conflict("The name server does not know a key of this name.") from error
        except dns.tsig.PeerBadSignature as error:
            raise Conflict("The name server knows the key’s name, but not this secret.") from error
        except dns.tsig.PeerBadTime as error:
            raise Conflict("The clocks of the name server and of this machine differ too much.") from error
        except (dns.exception.DNSException, OSError, EOFError) as error:
            raise Conflict(f"The name server {self._server} did not answer ({type(error).__name__}).") from error

    async def _address(self) -> str:
        try:
            address = str(ipaddress.ip_address(self._server.strip("[]")))
        except ValueError:
            try:
                answer = await (self._resolver or dns.asyncresolver.get_default_resolver()).resolve_name(self._server)
                address = next(answer.addresses(), "")
            except dns.exception.DNSException as error:
                raise Conflict(f"The name server {self._server} has no address.") from error
        if not self._outside and not ipaddress.ip_address(address).is_loopback:
            raise Conflict("This installation is a simulation: it asks no name server outside of this machine.")
        if not self._inside and not ipaddress.ip_address(address).is_global:
            raise Conflict(f"{self._server} is not a public address. Only who runs this server may use such ones.")
        return address

    def _refusal(self, code: dns.rcode.Rcode) -> str:
        reasons = {
            dns.rcode.REFUSED: "it refuses this key; allow it to update and to read the zone",
            dns.rcode.NOTAUTH: f"it is not responsible for the zone {self._zone}, or does not take this key",
            dns.rcode.NOTZONE: f"a record does not lie in the zone {self._zone}",
            dns.rcode.NXRRSET: "somebody changed a record meanwhile; look again",
        }
        why = reasons.get(code, f"it says {dns.rcode.to_text(code)}")
        return f"The name server did not take it: {why}. Nothing was changed."
