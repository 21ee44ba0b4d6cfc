"""Stands in for the server of web identities: AssumeRoleWithWebIdentity for one token at a time.

The credentials that it gives are real ones of the object gateway, by its own AssumeRole, so the
gateway checks what the client makes of them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from .servers import Rgw, S3User

__all__ = ["Sts", "StsAnswer", "refusal", "web_identities"]

_GIVEN = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>{access}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>
<SessionToken>{token}</SessionToken><Expiration>{until}</Expiration></Credentials>
<AssumedRoleUser><Arn>{role}/{session}</Arn><AssumedRoleId>AROA:{session}</AssumedRoleId>
</AssumedRoleUser></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
_REFUSED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>
<Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"""


@dataclass(frozen=True, slots=True)
class StsAnswer:
    """What is answered whoever asks."""

    status: int
    body: str


def refusal(status: int, code: str, message: str = "by the stand-in") -> StsAnswer:
    """An error as AWS words it."""
    return StsAnswer(status, _REFUSED.format(code=code, message=message))


class Sts:
    """Gives the role to whoever shows the token; `answers` come first, one request each."""

    def __init__(self, store: Rgw, user: S3User, role: str, token: str) -> None:
        self.role, self.token = role, token
        self.lifetime = timedelta(hours=1)
        """What is said of the credentials; the gateway's own are good for a quarter of an hour."""
        self.answers: list[StsAnswer] = []
        self.always: StsAnswer | None = None
        self.given: list[str] = []
        """Access keys, in order."""
        self.tokens: list[str] = []
        """What was shown, in order."""
        self.port = 0
        self._client = store.role_client(user)
        self._mutex = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, form: dict[str, str]) -> StsAnswer:
        """One request's answer."""
        with self._mutex:
            self.tokens.append(form.get("WebIdentityToken", ""))
            if self.answers:
                return self.answers.pop(0)
            if self.always is not None:
                return self.always
            if form.get("Action") != "AssumeRoleWithWebIdentity":
                return refusal(400, "InvalidAction")
            if form.get("RoleArn") != self.role:
                return refusal(403, "AccessDenied", "Not authorized to perform this")
            if form.get("WebIdentityToken") != self.token:
                return refusal(400, "InvalidIdentityToken", "No such token")
            return self._given(form["RoleSessionName"])

    def _given(self, session: str) -> StsAnswer:
        answer = self._client.assume_role(
            RoleArn=self.role, RoleSessionName=session, DurationSeconds=900
        )
        lease = answer["Credentials"]
        self.given.append(lease["AccessKeyId"])
        until = datetime.now(UTC) + self.lifetime
        return StsAnswer(
            200,
            _GIVEN.format(
                access=lease["AccessKeyId"],
                secret=lease["SecretAccessKey"],
                token=lease["SessionToken"],
                until=until.strftime("%Y-%m-%dT%H:%M:%SZ"),
                role=self.role,
                session=session,
            ),
        )


@contextlib.contextmanager
def web_identities(store: Rgw, user: S3User, role: str, token: str) -> Generator[Sts]:
    """The stand-in, listening as long as the block lasts."""
    sts = Sts(store, user, role, token)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            form = parse_qs(self.rfile.read(length).decode(), keep_blank_values=True)
            answer = sts.answer({name: values[0] for name, values in form.items()})
            body = answer.body.encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sts.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield sts
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
