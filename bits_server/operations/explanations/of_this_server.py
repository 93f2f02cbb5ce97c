"""What this server's own refusals mean: one entry for each row of ``ERROR_TABLE``.

Status, HRESULT and context are those of the class, and not repeated here.
"""

from __future__ import annotations

from bits_server.operations.explanations.model import Meaning, application, server
from bits_server.protocol import errors

LOG = "The log of the server names the session and the reason."

REFUSALS: dict[type[errors.BitsError], Meaning] = {
    errors.SessionNotFound: server(
        "The session is not known: it expired, was cancelled or closed, belongs to another user or "
        "another destination, or another server has answered. The client begins again by itself.",
        "Nothing, if it happens once. If it recurs: see that all packets reach servers with the "
        "same folder, that BITS-Sessions is left alone, and that session_timeout is long enough. "
        "'bits-server sessions list' shows what there is.",
    ),
    errors.AccessDenied: server(
        "The destination exists and allow_overwrites is off, or the user may not upload: he is "
        "not named in allow, or his credentials cannot be taken, as those of Basic without TLS.",
        LOG + " Remove the file, upload to another name, or set allow_overwrites = true; "
        "name the user, or a group, in allow; then resume the job.",
    ),
    errors.AuthenticationRequired: server(
        "The client sent no credentials, or wrong ones. The first packet of a client has none, and "
        "is answered so; it then comes again with them.",
        LOG + " Give the job credentials (bitsadmin /setcredentials, Start-BitsTransfer "
        "-Credential); for Kerberos the name in the URL must be that of the server's key. NTLM and "
        "Digest are not taken.",
    ),
    errors.UploadsNotEnabled: server(
        "Uploads to this virtual directory are off.",
        "Set upload_enabled = true for it; then resume the job.",
    ),
    errors.FragmentOutOfOrder: server(
        "A Fragment began after the next expected byte; the answer says which that is.",
        "Nothing: it is part of going on after a lost connection.",
    ),
    errors.MalformedPacket: server(
        "Something in the packet is not as the protocol has it: a destination that is a folder or "
        "has a refused name (backslash, .., control character, over 255 bytes, BITS-Sessions), a "
        "file whose length changed, or header fields that a proxy changed.",
        LOG + " Correct the remote name, or let the proxy pass header fields unchanged.",
    ),
    errors.LengthRequired: server(
        "A Fragment came without its length.",
        "Look at what stands in front: it has taken Content-Length away.",
    ),
    errors.EntityTooLarge: server(
        "The file is larger than maximum_upload_size.",
        "Raise maximum_upload_size, or cancel the job.",
    ),
    errors.FragmentTooLarge: server(
        "One Fragment has more than maximum_fragment_size.",
        "Nothing for Windows clients. For others raise maximum_fragment_size, and with it "
        "client_max_body_size of nginx ('bits-server nginx-config' prints it).",
    ),
    errors.DiskFull: server(
        "The disk of the server is full, or a quota or reserve is reached.",
        "Make room, or move the folder; see 'df' and 'bits-server cleanup --dry-run'. What was "
        "received stays, and clients go on by themselves.",
    ),
    errors.PathNotFound: server(
        "No virtual directory has this URL, or the folder of the destination does not exist.",
        "Compare the URL with 'bits-server check-settings FILE'; make the folder, or set "
        "create_folders = true; then resume the job.",
    ),
    errors.EntityVanished: server(
        "Every byte had come, and the file vanished from BITS-Sessions before it was published.",
        "Find out what deletes or moves files there; cancel the job and start it again.",
    ),
    errors.ServiceUnavailable: server(
        "A limit that passes by itself: too many sessions or notifications at a time, a client "
        "that fell silent in the middle of a Fragment, or wrong passwords again and again from its "
        "address.",
        LOG + " If it recurs, raise the limit that it names, or look at the network.",
    ),
    errors.UnexpectedFailure: server(
        "A failure that has no code of its own: a defect, or a folder that the server may not "
        "write to any more.",
        "The log has a traceback with the session id. 'bits-server check-settings FILE', run as "
        "the server's user, finds folders that cannot be written.",
    ),
    errors.ApplicationRefused: application(
        "The server application answered the notification with a status that is no success. The "
        "upload is kept; the application is called again with the next packet, except after 403.",
        "Look at the application's log. 'bits-server sessions show ID' has its answer, and "
        "'bits-server sessions notify ID' calls it again.",
    ),
    errors.ApplicationAnswerMalformed: application(
        "The answer has a BITS-Static-Response-URL that is relative or over 2 200 characters.",
        "Correct the application: the URL must be absolute.",
    ),
    errors.ApplicationBroken: application(
        "The answer to the notification is no HTTP, was cut off, or is over maximum_reply_size.",
        "Look at the application and what stands before it; see maximum_reply_size.",
    ),
    errors.ApplicationUnreachable: application(
        "The server application could not be reached.",
        "Start it; compare notification_url with where it listens, and notification_ca_file with "
        "its certificate.",
    ),
    errors.ApplicationTimedOut: application(
        "The server application gave no whole answer within notification_timeout.",
        "Make it answer first and work later. A longer notification_timeout is of little use: the "
        "client gives up after 5 minutes.",
    ),
}
