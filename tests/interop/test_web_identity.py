"""Credentials of a role that a Kubernetes service account takes on: fetched, renewed, refused.

A stand-in for the server of identities hands out what the object gateway gives for its own roles;
the gateway checks their session token, and what the role may do.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.builders import catalog, keyed_table, kv, rows_of, upserts
from support.iam import documented, policy_for
from support.proxy import HttpProxy
from support.proxy_faults import Delay, Match
from support.s3_stores import ATTEMPTS, impatient, keyed_on, uploaded
from support.servers import Rgw
from support.sts import Sts, StsAnswer, refusal, web_identities

from desilt.daemon.config_catalog import CatalogConfig, S3Config
from desilt.daemon.engine import Rewriter, TableEngine
from desilt.daemon.outcome import Next, after_failure
from desilt.daemon.supervisor import Supervisor, SupervisorOptions
from desilt.table.decision import PlanOptions
from desilt.table.errors import StorageUnavailable
from desilt.table.storage import StoreOptions
from desilt.table.storage.s3 import S3Storage

TOKEN = "eyJ-first-token"
NONE_GIVEN = "no credentials for the store"
SOON = timedelta(seconds=30)
"""So little is left that botocore asks for new ones before each request."""


@dataclass(frozen=True, slots=True)
class Place:
    """An identity, and a bucket that only its role may use, below ``lake``."""

    server: Rgw
    bucket: str
    sts: Sts
    token_file: Path

    @property
    def root(self) -> str:
        return f"s3://{self.bucket}/lake"

    @property
    def options(self) -> StoreOptions:
        """Without any keys: they come from the environment."""
        return replace(impatient(self.server), access_key=None, secret_key=None)

    def store(self) -> S3Storage:
        return S3Storage(self.bucket, self.options)


@pytest.fixture
def place(role_server: Rgw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    bucket = role_server.fresh_bucket()
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    user = role_server.make_user(f"web-{bucket}")
    role = role_server.make_role(f"role-{bucket}", user, policy_for(documented()[0], bucket))
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    with web_identities(role_server, user, role, TOKEN) as sts:
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.endpoint)
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token_file))
        monkeypatch.setenv("AWS_ROLE_ARN", role)
        yield Place(role_server, bucket, sts, token_file)


def test_a_role_is_taken_on_once_and_may_do_what_it_may(place: Place) -> None:
    with HttpProxy(place.server.endpoint) as proxy:
        store = S3Storage(place.bucket, replace(place.options, endpoint=proxy.endpoint))
        assert place.sts.tokens == [], "not before somebody asks the store"
        table = keyed_on(store, place.root)
        table.write(upserts(3, "old"))
        table.write(kv((0, "again")))
        table.compact("full")
        assert table.expire(retain_max=1, retain_min=1).snapshots == 2
        assert rows_of(table) == [(0, "again"), (1, "old1"), (2, "old2")]
        with pytest.raises(StorageUnavailable, match="reason=access is denied"):
            store.overwrite(f"s3://{place.bucket}/elsewhere", b"")
        assert all("x-amz-security-token" in seen.request.headers for seen in proxy.seen())
    assert place.sts.tokens == [TOKEN]


def test_many_threads_take_it_on_once(place: Place) -> None:
    store = place.store()
    store_of_owner = S3Storage(place.bucket, impatient(place.server))
    store_of_owner.overwrite(f"{place.root}/x", b"x")
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(store.exists, [f"{place.root}/x"] * 32))
    assert found == [True] * 32
    assert len(place.sts.tokens) == 1


def test_new_credentials_are_fetched_with_the_token_of_then(place: Place) -> None:
    store, path = place.store(), f"{place.root}/x"
    place.sts.lifetime = SOON
    store.overwrite(path, b"1")
    place.token_file.write_text("eyJ-second-token")
    place.sts.token = "eyJ-second-token"
    assert store.read(path) == b"1"
    place.sts.lifetime = timedelta(hours=1)
    for _ in range(3):
        assert store.exists(path)

    assert place.sts.tokens == [TOKEN, "eyJ-second-token", "eyJ-second-token"]
    assert len(set(place.sts.given)) == 3


def test_good_credentials_outlive_the_server_of_identities(place: Place) -> None:
    store, path = place.store(), f"{place.root}/x"
    place.sts.lifetime = timedelta(minutes=12)
    store.overwrite(path, b"1")
    place.sts.always = refusal(503, "ServiceUnavailable")
    asked = len(place.sts.tokens)

    assert store.read(path) == b"1"

    assert len(place.sts.tokens) > asked, "new ones are asked for a quarter of an hour ahead"


HTML = StsAnswer(200, "<html>busy")
EMPTY = StsAnswer(
    200,
    '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
    "<AssumeRoleWithWebIdentityResult/></AssumeRoleWithWebIdentityResponse>",
)
Use = Callable[[S3Storage, str], object]
USES: dict[str, Use] = {
    "exists": lambda store, root: store.exists(f"{root}/x"),
    "read": lambda store, root: store.read(f"{root}/x"),
    "list": lambda store, root: store.list(root),
    "create": lambda store, root: store.create(f"{root}/made", b"x"),
    "delete": lambda store, root: store.delete([f"{root}/gone", f"{root}/too"]),
    "source": lambda store, root: store.open_source(f"{root}/x"),
}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (refusal(403, "AccessDenied"), "AccessDenied.*AssumeRoleWithWebIdentity"),
        (refusal(400, "InvalidIdentityToken"), "InvalidIdentityToken"),
        (refusal(400, "ExpiredTokenException"), "ExpiredTokenException"),
        # Codes that mean something of an object, had the store said so.
        (refusal(404, "NotFound"), "NotFound"),
        (refusal(412, "PreconditionFailed"), "PreconditionFailed"),
        (refusal(500, "InternalFailure"), "InternalFailure"),
        (HTML, "Unable to parse response"),
        (EMPTY, "KeyError: 'Credentials'"),
    ],
    ids=["denied", "token", "expired", "404", "412", "500", "html", "empty"],
)
def test_a_refusal_is_named_and_is_none_of_the_stores(
    place: Place, answer: StsAnswer, reason: str
) -> None:
    owner = S3Storage(place.bucket, impatient(place.server))
    owner.overwrite(f"{place.root}/x", b"x")
    store = place.store()
    place.sts.always = answer
    for name, use in USES.items():
        with pytest.raises(StorageUnavailable, match=reason) as caught:
            use(store, place.root)
        assert caught.value.message == NONE_GIVEN, name
        assert "in_doubt" not in caught.value.context, name
        assert after_failure(caught.value) is Next.RETRY
    again = answer.status >= 500 or answer is HTML
    assert len(place.sts.tokens) == len(USES) * (ATTEMPTS if again else 1)

    place.sts.always = None
    for use in USES.values():
        use(store, place.root)
    assert store.read(f"{place.root}/made") == b"x"


def test_what_fails_for_a_moment_is_asked_again(place: Place) -> None:
    place.sts.answers = [refusal(503, "ServiceUnavailable"), refusal(400, "Throttling"), HTML]
    store = place.store()
    assert store.create(f"{place.root}/x", b"x")
    assert len(place.sts.tokens) == 4


def test_a_server_of_identities_that_is_away_is_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HttpProxy(place.sts.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", proxy.endpoint)
        store = place.store()
        with proxy.away(), pytest.raises(StorageUnavailable, match="Could not connect") as caught:
            store.create(f"{place.root}/x", b"x")
        assert caught.value.message == NONE_GIVEN
        assert "in_doubt" not in caught.value.context
        assert store.create(f"{place.root}/x", b"x")


def test_a_server_of_identities_that_is_silent_is_waited_for_as_long_as_a_store(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HttpProxy(place.sts.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", proxy.endpoint)
        proxy.on(Match(), Delay(60), times=2)
        store = S3Storage(place.bucket, replace(place.options, read_seconds=0.2, attempts=2))
        with pytest.raises(StorageUnavailable, match="Read timeout") as caught:
            store.list(place.root)
    assert caught.value.message == NONE_GIVEN


def test_credentials_that_are_over_when_they_come_are_named(place: Place) -> None:
    place.sts.lifetime = timedelta(seconds=-5)
    store = place.store()
    with pytest.raises(StorageUnavailable, match="still expired") as caught:
        store.list(place.root)
    assert caught.value.message == NONE_GIVEN
    place.sts.lifetime = timedelta(hours=1)
    assert store.list(place.root) == ()


def test_a_token_that_is_not_there_is_named(place: Place) -> None:
    store = place.store()
    for spoil, reason in (
        (place.token_file.unlink, "No such file.*token"),
        (place.token_file.touch, "WebIdentityToken"),
    ):
        spoil()
        with pytest.raises(StorageUnavailable, match=reason) as caught:
            store.exists(f"{place.root}/x")
        assert caught.value.message == NONE_GIVEN
    place.token_file.write_text(TOKEN)
    assert not store.exists(f"{place.root}/x")


def test_a_token_without_a_role_is_refused_at_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ROLE_ARN")
    with pytest.raises(StorageUnavailable, match=r"no client for the store.*AWS_ROLE_ARN"):
        place.store()


def test_the_token_is_never_told(place: Place) -> None:
    place.token_file.write_text("eyJ-secret")
    place.sts.always = refusal(400, "InvalidIdentityToken")
    with pytest.raises(StorageUnavailable) as caught:
        place.store().list(place.root)
    assert "eyJ" not in str(caught.value)


def test_a_profile_may_name_the_role(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(os.environ["AWS_CONFIG_FILE"]).write_text(
        f"[profile lake]\nrole_arn = {place.sts.role}\nregion = eu-north-1\n"
        f"web_identity_token_file = {place.token_file}\n"
    )
    monkeypatch.delenv("AWS_WEB_IDENTITY_TOKEN_FILE")
    monkeypatch.delenv("AWS_ROLE_ARN")
    with pytest.raises(StorageUnavailable, match="Unable to locate credentials"):
        place.store().list(place.root)
    by_option = S3Storage(place.bucket, replace(place.options, profile="lake"))
    assert by_option.list(place.root) == ()
    monkeypatch.setenv("AWS_PROFILE", "lake")
    assert place.store().list(place.root) == ()
    assert place.sts.tokens == [TOKEN, TOKEN]


def test_workers_take_on_the_role_themselves(
    place: Place, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    local = keyed_table(tmp_path)
    for value in "ab":
        local.write(kv((1, value)))
    owner = S3Storage(place.bucket, impatient(place.server))
    uploaded(local, owner, f"{place.root}/db.db/t")
    supervisor = Supervisor(SupervisorOptions(workers=1, threads=1, rss_bytes_max=2**31))
    supervisor.start()
    request.addfinalizer(supervisor.stop)
    engine = TableEngine(Rewriter(supervisor, "full"))
    s3 = S3Config(endpoint=place.server.endpoint, region=place.server.region)
    opened = engine.open(CatalogConfig(name="lake", warehouse=place.root, s3=s3), "db.t")
    opened.observer.refresh()
    plan = opened.observer.plan("", 0, str(uuid.uuid4()), PlanOptions(mode="full"))
    assert plan is not None
    before = len(place.sts.tokens)

    result = engine.rewrite(plan, 2**28)

    assert len(place.sts.tokens) == before + 1
    engine.commit(plan, result)
    assert rows_of(catalog(place.root, storage=place.store()).table("db.t")) == [(1, "b")]
