"""Ceph's object gateway, an S3 server, with a store in memory: one monitor, one OSD, one gateway.

Memory: some 200 MiB and what the objects hold, at most 4 GiB.
"""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import subprocess
import uuid
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode

import boto3
import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from .server_process import (
    ServerError,
    free_port,
    library_path,
    run_tool,
    running,
    server_folder,
    servers_home,
    wait_until,
)

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["ADMIN", "Rgw", "S3User", "http_status", "rgw", "s3_client"]

_REGION = "us-east-1"
ADMIN = "desilt-admin"
_ROLES = "rgw_s3_auth_use_sts = true\nrgw_sts_key = 0123456789abcdef\n"
_CAPS = "users=*;buckets=*;metadata=*;usage=*;user-policy=*;roles=*"
_PARTS = ("auth", "memstore", "monc", "ms", "objecter", "osd", "rados", "rgw", "throttle")


@dataclass(frozen=True, slots=True)
class S3User:
    """A user of the store and the keys of its requests."""

    name: str
    access_key: str
    secret_key: str


@dataclass(frozen=True, slots=True)
class Rgw:
    """A running gateway and the keys of its administrator, who owns what tests make by default."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str = _REGION

    def client(self, user: S3User | None = None, *, endpoint: str | None = None) -> S3Client:
        """A boto3 client of the administrator or the given user, maybe through another endpoint."""
        access, secret = (self.access_key, self.secret_key)
        if user is not None:
            access, secret = user.access_key, user.secret_key
        return s3_client(endpoint or self.endpoint, access, secret, self.region)

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """What AWS clients look for, for a process that speaks to it as the administrator."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
        }

    def paimon_options(
        self, bucket: str, user: S3User | None = None, *, endpoint: str | None = None
    ) -> dict[str, str]:
        """A Paimon catalog's options for a warehouse in a bucket, in files alone."""
        keys = user or S3User("", self.access_key, self.secret_key)
        return {
            "warehouse": f"s3://{bucket}/warehouse",
            "s3.endpoint": endpoint or self.endpoint,
            "s3.access-key": keys.access_key,
            "s3.secret-key": keys.secret_key,
            "s3.path.style.access": "true",
        }

    def make_user(self, name: str, *, max_buckets: int = 1000) -> S3User:
        """A new user, who may do nothing in the buckets of others until a policy lets it."""
        query: dict[str, object] = {"uid": name, "display-name": name, "max-buckets": max_buckets}
        made = self.admin("PUT", "/admin/user", query)
        keys = made["keys"][0]
        return S3User(name, keys["access_key"], keys["secret_key"])

    def set_quota(
        self, user: S3User, *, max_size: int = -1, max_objects: int = -1, enabled: bool = True
    ) -> None:
        """Limits the bytes and the objects of all of a user's buckets; -1 is no limit."""
        # As parameters: of bodies the gateway takes signatures of version 4 only where S3 has them.
        query: dict[str, object] = {"quota": "", "uid": user.name, "quota-type": "user"}
        limits = {"max-size": max_size, "max-objects": max_objects, "enabled": str(enabled).lower()}
        self.admin("PUT", "/admin/user", {**query, **limits})

    def put_user_policy(self, user: S3User, name: str, policy: Mapping[str, Any]) -> None:
        """Gives a user an IAM policy (PutUserPolicy)."""
        self._post(
            Action="PutUserPolicy",
            UserName=user.name,
            PolicyName=name,
            PolicyDocument=json.dumps(policy),
        )

    def delete_user_policy(self, user: S3User, name: str) -> None:
        """Takes an IAM policy away from a user (DeleteUserPolicy)."""
        self._post(Action="DeleteUserPolicy", UserName=user.name, PolicyName=name)

    def make_role(self, name: str, who: S3User, policy: Mapping[str, Any]) -> str:
        """A new role with an IAM policy, which a user may take on; its name in full."""
        principal = {"AWS": [f"arn:aws:iam:::user/{who.name}"]}
        statement = {"Effect": "Allow", "Principal": principal, "Action": ["sts:AssumeRole"]}
        trust = {"Version": "2012-10-17", "Statement": [statement]}
        self._post(Action="CreateRole", RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
        document = json.dumps(policy)
        self._post(
            Action="PutRolePolicy", RoleName=name, PolicyName="desilt", PolicyDocument=document
        )
        return f"arn:aws:iam:::role/{name}"

    def role_client(self, who: S3User) -> Any:
        """A boto3 client by which the user takes on roles."""
        untyped = cast("Any", boto3)  # there are no stubs of this service
        return untyped.client(
            "sts",
            endpoint_url=self.endpoint,
            aws_access_key_id=who.access_key,
            aws_secret_access_key=who.secret_key,
            region_name=self.region,
        )

    def fresh_bucket(self, prefix: str = "test", *, user: S3User | None = None) -> str:
        """A new empty bucket of the administrator or the given user."""
        name = f"{prefix}-{uuid.uuid4().hex[:12]}"
        self.client(user).create_bucket(Bucket=name)
        return name

    def empty_bucket(self, name: str) -> None:
        """Deletes all objects, versions and unfinished uploads of the administrator's bucket."""
        client = self.client()
        for upload in client.list_multipart_uploads(Bucket=name).get("Uploads", []):
            client.abort_multipart_upload(
                Bucket=name, Key=upload.get("Key", ""), UploadId=upload.get("UploadId", "")
            )
        for page in client.get_paginator("list_object_versions").paginate(Bucket=name):
            found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            if found:
                client.delete_objects(
                    Bucket=name,
                    Delete={
                        "Objects": [
                            {"Key": one.get("Key", ""), "VersionId": one.get("VersionId", "")}
                            for one in found
                        ],
                        "Quiet": True,
                    },
                )

    def admin(self, method: str, path: str, query: Mapping[str, object]) -> Any:
        """A request of the gateway's admin API; the answer's JSON, None when it has none."""
        url = f"{self.endpoint}{path}?{urlencode({**query, 'format': 'json'})}"
        answer = self._signed(method, url)
        return json.loads(answer) if answer.strip() else None

    def _post(self, **query: str) -> None:
        self._signed("POST", f"{self.endpoint}/?{urlencode(query, quote_via=quote)}")

    def _signed(self, method: str, url: str) -> bytes:
        request = AWSRequest(method=method, url=url)
        credentials = Credentials(self.access_key, self.secret_key)
        S3SigV4Auth(credentials, "s3", self.region).add_auth(request)
        headers = {key: str(value) for key, value in request.headers.items()}
        with urllib3.PoolManager(retries=False, timeout=30) as pool:
            answer = pool.request(method, url, headers=headers)
        if answer.status >= 300:
            raise ServerError(f"{method} {url} status={answer.status} {answer.data[:500]!r}")
        return answer.data


def s3_client(endpoint: str, access_key: str, secret_key: str, region: str = _REGION) -> S3Client:
    """A boto3 client for a store that is no cloud's: path style, no retries, 64 connections."""
    config = Config(
        retries={"total_max_attempts": 1},
        s3={"addressing_style": "path"},
        max_pool_connections=64,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=region,
        config=config,
    )


def http_status(error: ClientError) -> int:
    """The status of the answer that boto3 made an error of."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


# --------------------------------------------------------------------- start


@contextlib.contextmanager
def rgw(*, roles: bool = False) -> Generator[Rgw, None, None]:
    """A gateway with an empty store, as long as the block lasts.

    Args:
        roles: they can be taken on; then it does not tell an unknown key from one without rights.
    """
    cluster = _Cluster(servers_home("ceph"), free_port(), free_port(), roles)
    with server_folder("rgw") as folder, contextlib.ExitStack() as stack:
        start = functools.partial(_start, stack, cluster, folder)
        (folder / "ceph.conf").write_text(cluster.config(folder))
        _make_monitor(cluster, folder)
        start("ceph-mon", "-i", "a")
        _make_osd(cluster, folder)
        start("ceph-osd", "-i", "0")
        process, log = start("radosgw", "-n", "client.rgw")
        wait_until(lambda: _listening(cluster.port), process, log)
        yield _administrator(cluster, folder)


@dataclass(frozen=True, slots=True)
class _Cluster:
    home: Path
    monitor_port: int
    port: int
    roles: bool

    def program(self, name: str) -> str:
        return str(self.home / "usr" / "bin" / name)

    @property
    def python(self) -> str:
        """Debian's Python, which the modules of the packages are made for."""
        own = Path(self.program("python3"))
        return str(own if own.exists() else "/usr/bin/python3")

    @property
    def env(self) -> dict[str, str]:
        return {"LD_LIBRARY_PATH": library_path(self.home)}

    @property
    def monitor(self) -> str:
        return f"v2:127.0.0.1:{self.monitor_port}/0"

    def config(self, folder: Path) -> str:
        """ceph.conf: no authentication between the parts, one copy, all in memory.

        Without tcp_nodelay every answer to a client that keeps its connection takes 40 ms. Debug
        lines are gathered in memory unless they are turned off, which is a third of a request.
        """
        plugins = next((self.home / "usr" / "lib").glob("*-linux-gnu"))
        classes = next(self.home.glob("usr/lib/**/rados-classes"))
        quiet = "\n".join(f"debug_{part} = 0/0" for part in _PARTS)
        return f"""[global]
fsid = {uuid.uuid4()}
mon_host = {self.monitor}
public_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_mon_client_mode = crc
run_dir = {folder}
admin_socket =
log_file =
log_to_stderr = true
err_to_stderr = true
log_to_file = false
mon_cluster_log_to_file = false
erasure_code_dir = {plugins}/ceph/erasure-code
plugin_dir = {plugins}/ceph
osd_class_dir = {classes}
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
osd_enable_op_tracker = false
{quiet}
[mon]
mon_data = {folder}/mon
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
mon_data_avail_crit = 1
mon_data_avail_warn = 1
[osd]
osd_data = {folder}/osd
osd_objectstore = memstore
memstore_device_bytes = 4294967296
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{self.port} tcp_nodelay=1
rgw_thread_pool_size = 128
rgw_enable_usage_log = false
rgw_gc_obj_min_wait = 1
rgw_gc_processor_period = 5
rgw_gc_processor_max_time = 5
{_ROLES if self.roles else ""}"""


def _make_monitor(cluster: _Cluster, folder: Path) -> None:
    conf, monmap = str(folder / "ceph.conf"), str(folder / "monmap")
    fsid = _conf_value(folder, "fsid")
    address = f"[{cluster.monitor}]"
    tool = [cluster.program("monmaptool"), "--create", "--clobber", "--fsid", fsid]
    run_tool([*tool, "--addv", "a", address, monmap], env=cluster.env)
    mkfs = [cluster.program("ceph-mon"), "-c", conf, "--mkfs", "-i", "a", "--monmap", monmap]
    run_tool(mkfs, env=cluster.env)


def _conf_value(folder: Path, key: str) -> str:
    """A key's value in ceph.conf."""
    lines = (folder / "ceph.conf").read_text().splitlines()
    return next(line.split(" = ", 1)[1] for line in lines if line.startswith(f"{key} = "))


def _make_osd(cluster: _Cluster, folder: Path) -> None:
    conf, own = str(folder / "ceph.conf"), str(uuid.uuid4())
    (folder / "osd").mkdir()
    command = [cluster.python, cluster.program("ceph"), "-c", conf, "osd", "new", own]
    modules = str(cluster.home / "usr" / "lib" / "python3" / "dist-packages")
    run_tool(command, env={**cluster.env, "PYTHONPATH": modules})
    mkfs = [cluster.program("ceph-osd"), "-c", conf, "-i", "0", "--mkfs", "--osd-uuid", own]
    run_tool(mkfs, env=cluster.env)


def _start(
    stack: contextlib.ExitStack, cluster: _Cluster, folder: Path, name: str, *args: str
) -> tuple[subprocess.Popen[bytes], Path]:
    log = folder / f"{name}.log"
    command = [cluster.program(name), "-c", str(folder / "ceph.conf"), "-f", *args]
    return stack.enter_context(running(command, log, env=cluster.env)), log


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _administrator(cluster: _Cluster, folder: Path) -> Rgw:
    tool = [cluster.program("radosgw-admin"), "-c", str(folder / "ceph.conf"), "-n", "client.rgw"]
    make = ["user", "create", f"--uid={ADMIN}", f"--display-name={ADMIN}", f"--caps={_CAPS}"]
    keys = json.loads(run_tool([*tool, *make], env=cluster.env))["keys"][0]
    endpoint = f"http://127.0.0.1:{cluster.port}"
    return Rgw(endpoint, keys["access_key"], keys["secret_key"])
