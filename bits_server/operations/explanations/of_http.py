"""What an HTTP status means that does not come from this server, or not as an answer to a packet.

BITS makes the HRESULT 0x80190000 + status of it [SDK, BITS Return Values].
"""

from __future__ import annotations

from bits_server.operations.explanations.model import Meaning, front

_METHOD = (
    "Let the method BITS_POST pass: firewalls and proxies often know a fixed list of methods. "
    "'bits-server doctor URL' shows what passes."
)
_REDIRECT = (
    "Give the job the URL that the redirection leads to; often only https or a slash differ."
)
_DOWN = "See that bits-server runs, and that nginx and it agree on the socket; look at both logs."

STATUSES: dict[int, Meaning] = {
    301: front("The URL has moved for good.", _REDIRECT),
    302: front("The URL has moved; often to a page where people log in.", _REDIRECT),
    307: front("The URL has moved for the time being.", _REDIRECT),
    308: front("The URL has moved for good.", _REDIRECT),
    400: front(
        "The request was not understood; from nginx often: header fields too large, or plain HTTP "
        "to a port for HTTPS.",
        "Raise large_client_header_buffers as config/nginx.conf has it; look at the scheme and "
        "port of the URL.",
    ),
    401: front(
        "A user name is wanted, and the client has none that is accepted.",
        "Give the job credentials, or let the proxy ask for none at this URL. A Kerberos ticket "
        "that is too large can also end so.",
    ),
    403: front(
        "Somebody forbids this request: a proxy, a firewall, or a rule for the client's address.",
        "Look at the log of what stands in front. Where the error is 0x80070005 instead, it was "
        "this server.",
    ),
    404: front(
        "Another server, or another location of the proxy, has answered. IIS 7 also says so where "
        "uploads are off, or the file is too large.",
        "Compare host, port and path of the URL; see that the proxy passes this path on.",
    ),
    405: front("The method is not allowed: something in front does not know BITS_POST.", _METHOD),
    407: front(
        "A proxy between the client and the server wants a user name.",
        "Give the job proxy credentials, or let the proxy pass this host.",
    ),
    408: front(
        "The request took too long to arrive.",
        "Raise the time-out for request bodies in front (nginx: client_body_timeout, Apache: "
        "RequestReadTimeout): slow lines need minutes for a Fragment.",
    ),
    409: front(
        "A conflict: often a WebDAV or storage server that is not this one.",
        "Compare host, port and path of the URL.",
    ),
    411: front(
        "A length is wanted: the server behind does not take what was sent.",
        "Look at what stands in front: it has taken Content-Length away.",
    ),
    413: front(
        "One request is too large for the proxy; nginx takes 1 MB unless it is told otherwise.",
        "Raise client_max_body_size to 64m. Windows clients send smaller Fragments meanwhile; "
        "'bits-server doctor URL' finds what passes.",
    ),
    414: front(
        "The URL is too long.",
        "Upload to a shorter name, or raise large_client_header_buffers of nginx.",
    ),
    416: front(
        "The range is refused. For the reply of an upload-reply job: it is not what the client "
        "saw before.",
        "Look whether a cache or another server answers for this URL.",
    ),
    417: front(
        "Something does not understand 'Expect: 100-continue'.",
        "Let the proxy pass or ignore the header field Expect.",
    ),
    431: front(
        "Header fields are too large; from gunicorn: it was started without our configuration.",
        "Start it with 'bits-server serve', or with -c config/gunicorn.conf.py. A Kerberos "
        "Authorization may have 64 KB.",
    ),
    500: front(
        "A failure inside something in front, or in another server.",
        "Look at its log. This server's own failures carry an HRESULT.",
    ),
    501: front("The method is not implemented: something in front knows no BITS_POST.", _METHOD),
    502: front("The proxy does not reach the server behind it, or got no whole answer.", _DOWN),
    503: front("The proxy has no server behind it at the moment, or limits the rate.", _DOWN),
    504: front(
        "The proxy has waited too long for the server behind it.",
        "Raise proxy_read_timeout above notification_timeout, as 'bits-server nginx-config' "
        "prints it.",
    ),
    505: front(
        "The version of HTTP is not taken; BITS needs HTTP/1.1.",
        "Look at what stands in front.",
    ),
}
