"""What may follow the `?` of a Redis store's URL about TLS: redis-py's words, or Celery's for the same."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

#: redis-py's options that can be said in a URL, and what they say.
TLS_OPTIONS = {
    "ssl_ca_certs": "a file with the certificates that vouch for the server's; where neither this nor another is named, "
    "the system's do",
    "ssl_ca_path": "a folder of such files",
    "ssl_ca_data": "such certificates themselves",
    "ssl_cert_reqs": "`required`, the default; `none` trusts whoever answers",
    "ssl_check_hostname": "`false` takes a certificate for another host",
    "ssl_certfile": "the file with this client's own certificate, where the server asks for one",
    "ssl_keyfile": "the file with its key",
    "ssl_password": "the password of that key",
    "ssl_min_version": "the number of the oldest version that will do: 771 is TLS 1.2, 772 TLS 1.3",
    "ssl_ciphers": "the ciphers that will do, in OpenSSL's words",
}
_REQUIREMENTS = ("required", "optional", "none")
_CELERYS = "cert_"


def as_the_client_takes_them(options: Mapping[str, str]) -> dict[str, str]:
    """The options, with Celery's `ssl_cert_reqs=CERT_REQUIRED` as redis-py writes it.

    Raises:
        ValueError: a value that cannot be meant; the text says why.
    """
    taken = dict(options)
    if "ssl_cert_reqs" in taken:
        wanted = taken["ssl_cert_reqs"].lower().removeprefix(_CELERYS)
        if wanted not in _REQUIREMENTS:
            raise ValueError(f"option ssl_cert_reqs={options['ssl_cert_reqs']!r} is none of {', '.join(_REQUIREMENTS)}")
        taken["ssl_cert_reqs"] = wanted
    if not taken.get("ssl_min_version", "0").isdigit():
        raise ValueError(
            f"option ssl_min_version={taken['ssl_min_version']!r} is no number; 771 is TLS 1.2, 772 TLS 1.3"
        )
    return taken


def unknown(name: str, known: Mapping[str, object], *, tls: bool) -> str:
    """Why an option cannot be taken, and what may be meant."""
    if not tls and name.startswith(("ssl", "tls")):
        return f"option {name!r} is about TLS, for which rediss+streams:// asks, with a second s"
    names = [*known, *(TLS_OPTIONS if tls else ())]
    close = get_close_matches(name, names, 1)
    return f"unknown option {name!r}; " + (f"did you mean {close[0]!r}?" if close else f"there is: {', '.join(names)}")
