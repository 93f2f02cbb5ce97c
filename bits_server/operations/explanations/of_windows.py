"""What the client's own machine says [SDK: BITS Return Values; WinHTTP Error Messages].

In our own words, for uploads. ``WINDOWS`` has HRESULTs; ``ALSO`` what those can mean on a Windows
machine that this server says too.
"""

from __future__ import annotations

from bits_server.operations.explanations.codes import WIN32
from bits_server.operations.explanations.model import Meaning, windows

_NETWORK = "Test-NetConnection HOST -Port PORT on the client shows whether anything answers."
_TRUST = (
    "Give the server the whole chain of its certificate, and the client the authority's "
    "certificate in the store of the machine, not only of the user."
)
_POLICY = "See the Group Policy for BITS (Network, Background Intelligent Transfer Service)."

WINDOWS: dict[int, tuple[str, Meaning]] = {
    0x80200001: (
        "BG_E_NOT_FOUND",
        windows("The job does not exist on the client.", "List them: bitsadmin /list /allusers."),
    ),
    0x80200002: (
        "BG_E_INVALID_STATE",
        windows(
            "The job is in a state in which this cannot be done to it.",
            "Look at its state; a job with an error is resumed or cancelled.",
        ),
    ),
    0x80200003: (
        "BG_E_EMPTY",
        windows("The job has no file yet.", "Add the file before the job is resumed."),
    ),
    0x80200010: (
        "BG_E_NETWORK_DISCONNECTED",
        windows(
            "The client has no network now; all its jobs wait.",
            "Nothing on the server: the job goes on when the network is back.",
        ),
    ),
    0x80200011: (
        "BG_E_MISSING_FILE_SIZE",
        windows(
            "An answer came without Content-Length. In uploads that concerns the reply.",
            "Keep proxies from compressing or chunking replies: gzip off.",
        ),
    ),
    0x80200012: (
        "BG_E_INSUFFICIENT_HTTP_SUPPORT",
        windows(
            "The answer was not HTTP/1.1.",
            "Let the proxy in front speak HTTP/1.1 to its clients.",
        ),
    ),
    0x80200013: (
        "BG_E_INSUFFICIENT_RANGE_SUPPORT",
        windows(
            "A range was asked for and not given; in uploads that concerns the reply. A proxy may "
            "take Content-Range away.",
            "Let the proxy pass ranges; where an application names its own reply URL, that server "
            "must know ranges.",
        ),
    ),
    0x80200014: (
        "BG_E_REMOTE_NOT_SUPPORTED",
        windows(
            "BITS was used from a remote session in a way that it does not allow.",
            "Make the job in the session of a user who is logged on, or as a service.",
        ),
    ),
    0x8020001C: (
        "BG_E_TOO_MANY_FILES",
        windows("An upload job has one file only.", "Make one job for each file."),
    ),
    0x8020001D: (
        "BG_E_LOCAL_FILE_CHANGED",
        windows(
            "The file was written to after its upload began.",
            "Upload a copy that nobody changes; cancel this job and start another.",
        ),
    ),
    0x80200024: (
        "BG_E_NO_PROGRESS",
        windows(
            "No byte came through for the job's no-progress time-out, 14 days by default.",
            "Look at the error that the job met last, resume it, and see that the server answers.",
        ),
    ),
    0x80200021: (
        "BG_E_STRING_TOO_LONG",
        windows("A name, URL or description is too long.", "Shorten it: a URL has 2 200 at most."),
    ),
    0x80200022: (
        "BG_E_CLIENT_SERVER_PROTOCOL_MISMATCH",
        windows(
            "Client and server found no protocol in common: what answers is no BITS server, or a "
            "proxy takes its header fields away.",
            "Let BITS-* header fields pass in both directions; see 'bits-server doctor URL'.",
        ),
    ),
    0x80200023: (
        "BG_E_SERVER_EXECUTE_ENABLED",
        windows(
            "IIS refuses uploads into a directory that may execute. This server never says so.",
            "The job still goes to an IIS: look at host and port of the URL.",
        ),
    ),
    0x80200027: (
        "BG_E_INVALID_AUTH_TARGET",
        windows("The job's credentials are for neither server nor proxy.", "Set the target."),
    ),
    0x80200028: (
        "BG_E_INVALID_AUTH_SCHEME",
        windows("The job names a way to log in that BITS does not know.", "Use Negotiate."),
    ),
    0x8020003E: (
        "BG_E_BLOCKED_BY_POLICY",
        windows("A Group Policy keeps background jobs from running now.", _POLICY),
    ),
    0x8020003F: (
        "BG_E_INVALID_PROXY_INFO",
        windows("The job's list of proxies is wrong.", "Correct it, or use the system's."),
    ),
    0x80200040: (
        "BG_E_INVALID_CREDENTIALS",
        windows("The job's credentials are not of a form that BITS takes.", "Set them anew."),
    ),
    0x80200049: (
        "BG_E_TOO_MANY_JOBS_PER_USER",
        windows("The user has more jobs than MaxJobsPerUser allows.", _POLICY),
    ),
    0x80200050: (
        "BG_E_TOO_MANY_JOBS_PER_MACHINE",
        windows("The machine has more jobs than MaxJobsPerMachine allows.", _POLICY),
    ),
    0x80200053: (
        "BG_E_VALIDATION_FAILED",
        windows(
            "An answer was not what BITS takes for one.",
            "See the client's event log Microsoft-Windows-Bits-Client/Operational, and "
            "'bits-server doctor URL'.",
        ),
    ),
    WIN32 + 32: (
        "ERROR_SHARING_VIOLATION",
        windows(
            "Another program has the local file open.",
            "Close it, or upload a copy or a snapshot.",
        ),
    ),
    WIN32 + 1058: (
        "ERROR_SERVICE_DISABLED",
        windows("The service BITS is disabled on the client.", "sc config bits start= demand"),
    ),
    WIN32 + 1245: (
        "ERROR_NOT_LOGGED_ON",
        windows(
            "The owner of the job is not logged on: the job waits.",
            "Let a service account that is always there own the job.",
        ),
    ),
    WIN32 + 12002: (
        "ERROR_WINHTTP_TIMEOUT",
        windows(
            "No answer came in time.",
            "See whether the server application is slow (notification_timeout) and whether "
            "anything in front holds requests back. " + _NETWORK,
        ),
    ),
    WIN32 + 12005: (
        "ERROR_WINHTTP_INVALID_URL",
        windows("The URL is not one.", "Correct the remote name."),
    ),
    WIN32 + 12006: (
        "ERROR_WINHTTP_UNRECOGNIZED_SCHEME",
        windows("The URL is neither http nor https.", "Correct the remote name."),
    ),
    WIN32 + 12007: (
        "ERROR_WINHTTP_NAME_NOT_RESOLVED",
        windows(
            "The name of the server, or of a proxy, does not resolve on the client.",
            "Resolve-DnsName HOST on the client. BITS runs as a service: its proxy settings may "
            "be others than the user's.",
        ),
    ),
    WIN32 + 12015: (
        "ERROR_WINHTTP_LOGIN_FAILURE",
        windows("The server did not take the credentials.", "Correct the job's credentials."),
    ),
    WIN32 + 12029: (
        "ERROR_WINHTTP_CANNOT_CONNECT",
        windows(
            "No connection: nobody listens there, or a firewall is between.",
            "See that bits-server and nginx run and listen on this address, not on loopback only. "
            + _NETWORK,
        ),
    ),
    WIN32 + 12030: (
        "ERROR_WINHTTP_CONNECTION_ERROR",
        windows(
            "The connection was cut, or reset, in the middle.",
            "If it recurs: a proxy that refuses large bodies or times out; see 'bits-server "
            "doctor URL'.",
        ),
    ),
    WIN32 + 12037: (
        "ERROR_WINHTTP_SECURE_CERT_DATE_INVALID",
        windows(
            "The certificate of the server has expired, or is not valid yet.",
            "Renew it; look at the clock of the client.",
        ),
    ),
    WIN32 + 12038: (
        "ERROR_WINHTTP_SECURE_CERT_CN_INVALID",
        windows(
            "The certificate is for another name.",
            "Use the name in the certificate, or one that has this name.",
        ),
    ),
    WIN32 + 12044: (
        "ERROR_WINHTTP_CLIENT_AUTH_CERT_NEEDED",
        windows(
            "The server wants a certificate of the client.",
            "Give the job one (bitsadmin /SetClientCertificateByID), or ask for none.",
        ),
    ),
    WIN32 + 12045: (
        "ERROR_WINHTTP_SECURE_INVALID_CA",
        windows("The client does not trust who signed the certificate.", _TRUST),
    ),
    WIN32 + 12152: (
        "ERROR_WINHTTP_INVALID_SERVER_RESPONSE",
        windows(
            "The answer was no HTTP that the client understands.",
            "Look at scheme and port: https to a port for http, or another service.",
        ),
    ),
    WIN32 + 12156: (
        "ERROR_WINHTTP_REDIRECT_FAILED",
        windows("A redirection could not be followed.", "Give the job the final URL."),
    ),
    WIN32 + 12157: (
        "ERROR_WINHTTP_SECURE_CHANNEL_ERROR",
        windows(
            "TLS could not be agreed on: no version or cipher in common.",
            "Let nginx offer TLS 1.2 (ssl_protocols); old Windows must have it switched on.",
        ),
    ),
    WIN32 + 12175: (
        "ERROR_WINHTTP_SECURE_FAILURE",
        windows("The certificate of the server was not accepted.", _TRUST),
    ),
}

ALSO: dict[int, Meaning] = {
    WIN32 + 2: windows(
        "With context 0x4 (local file): the file to upload is not there.",
        "Look at the local name of the job.",
    ),
    WIN32 + 3: windows(
        "With context 0x4 (local file): the folder of the file is not there.",
        "Look at the local name; network drives belong to a user and not to the service.",
    ),
    WIN32 + 5: windows(
        "With context 0x4 (local file): the owner of the job may not read the file.",
        "Look at the rights of the file, and at who owns the job.",
    ),
    WIN32 + 87: windows(
        "Before anything was sent: a wrong name of a proxy, or empty credentials.",
        "Look at the proxy settings of the client, and at the job's credentials.",
    ),
    WIN32 + 112: windows(
        "With context 0x4 (local file): the client's own disk is full, for instance for a reply.",
        "Make room on the client.",
    ),
}
